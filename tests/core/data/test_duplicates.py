"""Recordings with the same content at several paths, with features looked up by path."""

import numpy as np
import pytest
import soundfile

from fusion import Clip, Extractor, MissingModalityError, Recording
from fusion.cache import FeatureCache, open_workers
from fusion.core.contracts.errors import CorpusError
from fusion.core.data.duplicates import items_by_place
from fusion.core.data.extraction import fingerprint_of, make_extractor
from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.feature_build import build_features

TABLE = Registry().extractor("precomputed")


@pytest.fixture
def clips(tmp_path):
    """Four clips: a, b and c have the same bytes, d is another recording."""
    one, other = np.random.default_rng(0).normal(scale=0.1, size=(2, 800))
    result = []
    for name in "abcd":
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, other if name == "d" else one, 16000)
        result.append(Clip(Recording(path), f"{name}.wav", "x", name, "here"))
    return result


def built(clips, tmp_path, **rows):
    """Build features from a table with these rows; return cache, fingerprint, keys and report."""
    table = tmp_path / "table.csv"
    lines = [f"{name}.wav,{value}" for name, value in rows.items()]
    table.write_text("\n".join(["path,v", *lines]) + "\n")
    extractor = make_extractor(TABLE, {"table": str(table)})
    config = RunConfig(("x",), cache=str(tmp_path / "cache"))
    with open_workers(jobs=1) as on:
        keys, report, *_ = build_features(
            config, {"precomputed": extractor}, clips, on=on, on_progress=None
        )
    return FeatureCache(config.cache), fingerprint_of(extractor), keys, report


@pytest.mark.parametrize("reference", ["a", "b", "c"])
def test_a_row_of_one_recording_applies_to_all_with_the_same_content(clips, tmp_path, reference):
    cache, feature, keys, report = built(clips, tmp_path, **{reference: 7, "d": 2})
    assert keys[0] == keys[1] == keys[2] != keys[3] and not report.absent
    assert cache.open(feature, keys).load().ravel().tolist() == [7, 7, 7, 2]


def test_equal_rows_are_accepted_and_no_row_is_an_absence(clips, tmp_path):
    cache, feature, keys, _ = built(clips, tmp_path, b=7, c=7, d=2)
    assert cache.open(feature, keys).load().ravel().tolist() == [7, 7, 7, 2]
    *_, keys, report = built(clips, tmp_path, d=2)
    assert [item.key for item in report.absent] == [keys[0]]


def test_different_rows_are_refused_and_the_error_names_the_recordings(clips, tmp_path):
    with pytest.raises(CorpusError, match=r"b\.wav and c\.wav have the same content, and") as e:
        built(clips, tmp_path, b=7, c=8, d=2)
    assert "leave one of the two recordings out" in e.value.hint
    # Without its duplicate, each recording has its own row.
    cache, feature, keys, _ = built([clips[1], clips[3]], tmp_path, b=7, c=8, d=2)
    assert cache.open(feature, keys).load().ravel().tolist() == [7, 2]


class Counting(Extractor):
    """Extractor that counts its calls."""

    name = "counting"
    shape = (1,)
    asked = 0

    def extract(self, recording):
        type(self).asked += 1
        raise MissingModalityError("none")


class Placed(Counting):
    by_place = True


def test_only_duplicates_are_looked_up_and_only_for_extractors_that_depend_on_the_path(clips):
    from fusion.cache.builds.work import Item
    from fusion.cache.fingerprint import digest_many

    places = [(c.recording.path, 0.0, None) for c in clips]
    items = [Item(k, c.recording) for k, c in zip(digest_many(places), clips, strict=True)]
    assert items_by_place(Counting(), clips, items) == items and Counting.asked == 0
    assert items_by_place(Placed(), clips[2:], items[2:]) == items[2:] and Placed.asked == 0
    twice = [clips[0], clips[0], clips[3]], [items[0], items[0], items[3]]  # one path
    assert items_by_place(Placed(), *twice) == twice[1] and Placed.asked == 0
    assert items_by_place(Placed(), clips, items) == [items[0]] * 3 + [items[3]]
    assert Placed.asked == 3
