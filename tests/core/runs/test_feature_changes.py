"""Differences between an extractor and the one stored with a run, and their messages."""

from pathlib import Path
from typing import ClassVar

import pytest

from fusion import Extractor
from fusion.core.contracts.errors import RunError
from fusion.core.data.extraction import fingerprint_of, make_extractor
from fusion.core.runs.feature_changes import changes, check_unchanged
from fusion.core.runs.record import FeatureRecord


class Reader(Extractor):
    """Extractor that depends on the content of a model file and of a table."""

    name = "reader"
    sources = ("table",)

    def __init__(self, *, table: str = "t", model: str = "m", sizes: tuple[int, ...] = (1,)):
        self.shape = (sum(sizes),)
        self.digests = {"table": "0", "model": "0"}
        self.sizes = sizes

    def identity(self):
        return {**self.digests, "sizes": self.sizes}


def stored(extractor):
    feature = fingerprint_of(extractor)
    return FeatureRecord.of(feature)


THEN = stored(make_extractor(Reader, {}))


def test_an_equal_extractor_has_no_changes():
    assert changes(make_extractor(Reader, {}), THEN) == []
    check_unchanged(make_extractor(Reader, {"table": "elsewhere"}), THEN, Path("run"))


def test_changed_settings_and_changed_content():
    (result,) = changes(make_extractor(Reader, {"sizes": "1,2"}), THEN)  # changes the shape, too
    assert (result.field, result.stored, result.setting) == ("sizes", [1], True)
    assert result.text == "sizes was [1] and is now [1, 2]"
    extractor = make_extractor(Reader, {"model": "/models/x"})
    extractor.digests = {"table": "1", "model": "1"}
    table, model = changes(extractor, THEN)
    assert table.content and model.content
    assert model.text == "the content of model (/models/x) has changed"
    # A source may differ, a model may not.
    assert changes(extractor, THEN, skip=Reader.sources) == [model]


def test_a_changed_version_and_a_changed_shape(monkeypatch):
    extractor = make_extractor(Reader, {})
    extractor.shape = (4,)
    assert [c.text for c in changes(extractor, THEN)] == ["shape was [1] and is now [4]"]
    monkeypatch.setattr(Reader, "version", "2")
    (result,) = changes(make_extractor(Reader, {}), THEN)
    assert result.text == 'version was "1" and is now "2"'


def test_a_run_with_a_changed_source_is_not_resumed():
    extractor = make_extractor(Reader, {"table": "/x/words.csv"})
    extractor.digests["table"] = "1"
    with pytest.raises(
        RunError, match=r"the content of table \(/x/words.csv\) has changed"
    ) as caught:
        check_unchanged(extractor, THEN, Path("runs/one"))
    assert (
        "The feature reader has changed since the run runs/one was made: " in caught.value.message
    )
    assert "Restore the old content" in caught.value.hint


def test_an_added_parameter_has_its_default_in_older_runs():
    class Before(Extractor):
        name = "level"
        shape = (1,)

        def __init__(self, *, parts: int = 8):
            pass

    class After(Before):
        added_parameters: ClassVar = {"exact": False}

        def __init__(self, *, parts: int = 8, exact: bool = False):
            pass

    then = stored(make_extractor(Before, {}))
    assert changes(make_extractor(After, {}), then) == []
    (result,) = changes(make_extractor(After, {"exact": True}), then)
    assert (result.text, result.stored, result.setting) == (
        "exact was false and is now true",
        False,
        True,
    )
    (result,) = changes(make_extractor(After, {}), stored(make_extractor(After, {"exact": True})))
    assert (result.text, result.stored) == ("exact was true and is now false", True)
