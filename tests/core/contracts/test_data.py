"""Base classes of recordings, corpora, extractors and panels."""

from pathlib import Path

import numpy as np
import pytest

from fusion import Clip, Corpus, Extractor, Recording
from fusion.core.contracts.data import Plugin, default_panels
from fusion.core.contracts.errors import PluginError, RecordingError

ONE, TWO, BAD = (Recording(Path(f"{name}.wav")) for name in ("1", "2", "bad"))


class Number(Extractor):
    """Extracts the number in the file's name, twice."""

    name = "number"
    shape = (2,)

    def extract(self, recording):
        if not recording.path.stem.isdigit():
            raise RecordingError(f"{recording} has no number.")
        return np.full(2, float(recording.path.stem))


# -- recordings and corpora ------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [(0.0, None, "a.wav"), (1.5, None, "a.wav from 1.5 s to its end"),
     (0.0, 2.25, "a.wav from 0 s to 2.25 s"), (1.0, 0.0, "a.wav from 1 s to 0 s")],
)  # fmt: skip
def test_a_recording_is_named_by_its_file_and_part(start, end, text):
    assert str(Recording(Path("a.wav"), start, end)) == text


def test_clips_are_immutable_values():
    clip, again = (Clip(Recording(Path("a.wav")), "a.wav", "sad", "s1", "c") for _ in range(2))
    assert clip == again and (clip.split, clip.fold, clip.attributes) == (None, None, {})
    assert clip.attributes is not again.attributes
    with pytest.raises(AttributeError, match="label"):
        clip.label = "happy"


def test_a_corpus_detects_no_path_by_default(tmp_path):
    class Mine(Corpus):
        name = "mine"

    assert not Mine.detect(tmp_path) and Mine(tmp_path).path == tmp_path
    with pytest.raises(NotImplementedError):
        Mine(tmp_path).clips()


def test_a_plugin_may_inherit_from_a_class_with_keywords():
    class Marked:
        def __init_subclass__(cls, mark=None, **passed):
            super().__init_subclass__(**passed)
            cls.mark = mark

    class Mine(Plugin, Marked, mark="x"):
        name = "mine"

    assert (Mine.mark, Mine.version, Mine.default) == ("x", "1", False)


# -- single and several recordings -----------------------------------------------------


def test_extract_many_returns_errors_in_place_of_arrays():
    result = Number().extract_many([TWO, BAD, ONE])
    assert result[0].tolist() == [2, 2] and result[2].tolist() == [1, 1]
    assert isinstance(result[1], RecordingError) and str(result[1]) == "bad.wav has no number."
    assert Number().extract_many([]) == []


def test_other_errors_than_recording_errors_are_raised():
    class Broken(Number):
        def extract(self, recording):
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        Broken().extract_many([ONE])


class Batched(Extractor):
    name = "batched"
    shape = (2,)

    def extract_many(self, recordings):
        return [
            np.zeros(2) if r.path.stem.isdigit() else RecordingError(f"no number in {r}")
            for r in recordings
        ]


def test_a_single_recording_is_extracted_as_a_batch_of_one():
    assert Batched().extract(ONE).tolist() == [0, 0]
    with pytest.raises(RecordingError, match=r"no number in bad\.wav"):
        Batched().extract(BAD)


def test_an_extractor_without_extract_methods_is_reported():
    class Neither(Extractor):
        name = "neither"

    for ask in (lambda e: e.extract(ONE), lambda e: e.extract_many([ONE])):
        with pytest.raises(NotImplementedError, match="Neither has no method extract"):
            ask(Neither())


def test_all_parameters_identify_an_array_by_default():
    extractor = Number()
    extractor.parameters = {"bins": 3}
    assert extractor.identity() == {"bins": 3} and extractor.processes is None


# -- checks of extracted arrays --------------------------------------------------------


def declared(**attributes):
    return type("Mine", (Number,), attributes)()


def test_an_array_is_converted_to_the_declared_dtype():
    result = Number().check(np.array([1, 2]))
    assert result.dtype == np.float32 and result.tolist() == [1, 2]
    assert Number().check([1.0, 2.0]).tolist() == [1, 2]
    stored = np.ones(2, np.float32)
    assert Number().check(stored) is stored  # neither converted nor copied


@pytest.mark.parametrize(
    ("array", "dtype", "words", "hint"),
    [
        (None, "float32", r" of x returned None\.", "return"),
        (np.ones(3), "float32", r"shape \(2,\), but returned one of shape \(3,\)", "self.shape"),
        (np.ones((1, 2)), "float32", r"one of shape \(1, 2\)", "self.shape"),
        (np.array([1, np.nan]), "float32", "an array with NaN or infinite values", None),
        (np.array([-np.inf, 0]), "float32", "an array with NaN or infinite values", None),
        (np.array([1, -1e5]), "float16", r"values up to 1e\+05, which float16 can't", "--dtype"),
    ],
)
def test_an_undeclared_array_is_refused(array, dtype, words, hint):
    with pytest.raises(PluginError, match=f"Extractor 'number'.*{words}") as error:
        declared(dtype=dtype).check(array, whose=" of x")
    assert hint is None or hint in error.value.hint


# -- panels ----------------------------------------------------------------------------


def kinds(array, **attributes):
    panels = default_panels(declared(**attributes), array)
    return [(p.title, p.kind, p.data[""].tolist(), p.x, p.y) for p in panels]


def test_default_panels_depend_on_the_number_of_axes():
    assert kinds(np.array([1, 2]), axes=("lag",)) == [("", "curve", [1, 2], "lag", "")]
    assert kinds(np.eye(2), axes=("frequency", "time")) == [
        ("", "image", [[1, 0], [0, 1]], "time", "frequency")
    ]
    assert kinds(np.eye(2)) == [("", "image", [[1, 0], [0, 1]], "", "")]
    assert kinds(np.zeros((1, 1, 1, 1))) == kinds(np.array(1.0)) == []


def test_three_axes_give_an_image_per_named_channel():
    array = np.arange(4).reshape(2, 1, 2)
    axes = ("channel", "frequency", "time")
    assert kinds(array, axes=axes, channels=("low", "high")) == [
        ("low", "image", [[0, 1]], "time", "frequency"),
        ("high", "image", [[2, 3]], "time", "frequency"),
    ]
    assert [k[0] for k in kinds(array, axes=axes)] == ["channel 0", "channel 1"]
    # Names for another number of channels are ignored, and so are axes without names.
    assert [k[0] for k in kinds(array, channels=("low",))] == ["channel 0", "channel 1"]


def test_a_single_channel_has_no_title():
    assert kinds(np.arange(2).reshape(1, 1, 2), channels=("only",)) == [
        ("", "image", [[0, 1]], "", "")
    ]


def test_an_extractor_draws_the_default_panels():
    (panel,) = Number().panels(np.ones(2))
    assert (panel.kind, panel.data[""].tolist()) == ("curve", [1, 1])
