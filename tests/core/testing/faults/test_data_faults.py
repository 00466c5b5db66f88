"""Faults of features and corpora: their effect in numbers."""

from pathlib import Path

import numpy as np
import pytest
from fault_examples import Hundred, Length

from fusion import Recording
from fusion.core.contracts.errors import RecordingError
from fusion.core.data.extraction import fingerprint_of, make_extractor
from fusion.testing import faults

# -- extractors -------------------------------------------------------------------------


def folder_of(tmp_path, speakers=4, each=5):
    for s in range(speakers):
        (tmp_path / f"s{s}").mkdir()
        for i in range(each):
            (tmp_path / f"s{s}" / f"{'x' * (5 * s + i + 1)}.wav").touch()
    return sorted(tmp_path.glob("*/*.wav"))


def test_scaled_and_dead_extractors_change_the_array(tmp_path):
    files = folder_of(tmp_path)
    healthy = [Length().extract(Recording(f)) for f in files]
    created = faults.scaled(Length, 50.0)(offset=1.0)
    for file, array in zip(files, healthy, strict=True):
        assert np.array_equal(created.check(created.extract(Recording(file))), 50 * array)
    dead = faults.dead(Length, 0.5)()
    zero = [not dead.extract(Recording(f)).any() for f in files]
    assert 0 < sum(zero) < len(files)
    assert zero == [not dead.extract(Recording(f)).any() for f in files]
    whole = faults.dead(Length)()
    assert not any(whole.extract(Recording(f)).any() for f in files)


def test_shuffled_takes_the_array_of_another_recording(tmp_path):
    files = folder_of(tmp_path)
    created = faults.shuffled(Length, seed=3)()
    own = [float(Length().extract(Recording(f))[0]) for f in files]
    result = [float(created.extract(Recording(f))[0]) for f in files]
    assert sorted(result) == sorted(own)
    assert all(a != b for a, b in zip(own, result, strict=True))
    half = faults.shuffled(Length, 0.5, 3)()
    assert sum(half.extract(Recording(f))[0] != o for f, o in zip(files, own, strict=True)) == 10
    with pytest.raises(RecordingError, match="a part of a file"):
        created.extract(Recording(files[0], start=1.0))


def test_every_fault_and_strength_has_its_own_fingerprint():
    kinds = [
        Length,
        faults.scaled(Length, 10.0),
        faults.scaled(Length, 100.0),
        faults.scaled(Length, 10.0, name="length_scaled"),  # equal to the second
        faults.shuffled(Length),
        faults.shuffled(Length, seed=1),
        faults.shuffled(Length, 0.5),
        faults.dead(Length),
        faults.scaled(faults.dead(Length)),
    ]
    ids = [fingerprint_of(make_extractor(cls, {})).id for cls in kinds]
    assert len(set(ids)) == len(kinds) - 1
    assert ids[1] == ids[3]


# -- corpora ----------------------------------------------------------------------------


def test_mislabelled_changes_exactly_its_share():
    healthy = list(Hundred(None).clips())
    cls = faults.mislabelled(Hundred, 0.4, seed=1)
    clips = list(cls(None).clips())
    changed = [
        (a.label, b.label) for a, b in zip(healthy, clips, strict=True) if a.label != b.label
    ]
    assert len(changed) == 30  # of the 75 clips whose label a run uses
    assert {label for pair in changed for label in pair} == {"happy", "sad", "angry"}
    assert {clip.corpus for clip in clips} == {"hundred_mislabelled"}
    assert clips == list(cls(None).clips())
    assert clips != list(faults.mislabelled(Hundred, 0.4, seed=2)(None).clips())


def test_duplicated_repeats_clips_under_another_speaker():
    clips = list(faults.duplicated(Hundred, 0.3)(None).clips())
    assert len(clips) == 130
    assert len({clip.name for clip in clips}) == 130
    by_name = {clip.name: clip for clip in clips}
    for copy in clips[100:]:
        original = by_name[copy.name.removesuffix("#copy")]
        assert copy.recording == original.recording
        assert copy.label == original.label
        assert copy.speaker != original.speaker


def test_a_faulty_corpus_detects_no_path():
    cls = faults.duplicated(Hundred)
    assert Hundred.detect(Path())
    assert not cls.detect(Path())
    assert (cls.labels, cls.version) == (Hundred.labels, "7")  # they decide the demo's folder


@pytest.mark.parametrize(
    ("fault", "passed", "words"),
    [
        (faults.shuffled, {"levels": -1}, "needs levels, seed >= 0, and was given -1, 0"),
        (faults.shuffled, {"seed": -2}, "needs levels, seed >= 0, and was given 1, -2"),
        (faults.shuffled, {"share": 2.0}, "faults.shuffled needs a share from 0 to 1"),
        (faults.mislabelled, {"share": -0.1}, "faults.mislabelled needs a share from 0 to 1"),
        (faults.duplicated, {"share": 1.1}, "faults.duplicated needs a share from 0 to 1"),
    ],
)
def test_values_out_of_range_are_refused(fault, passed, words):
    cls = Length if fault is faults.shuffled else Hundred
    with pytest.raises(ValueError, match=words):
        fault(cls, **passed)
