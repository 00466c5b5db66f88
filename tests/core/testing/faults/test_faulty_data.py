"""Recordings and clips that a data fault changes."""

from pathlib import Path

import pytest
from fault_examples import Hundred
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion import Clip, Recording
from fusion.core.contracts.errors import RecordingError
from fusion.core.testing.faults.faulty_data import (
    duplicate,
    is_hit,
    mislabel,
    partner,
    permutation,
)


def folder_of(root, speakers=2, each=4):
    for s in range(speakers):
        (root / f"s{s}").mkdir()
        for i in range(each):
            (root / f"s{s}" / f"{i}.wav").touch()
    return sorted(root.glob("*/*.wav"))


@given(share=st.floats(0, 1), seed=st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_shuffled_is_a_permutation_of_its_share(tmp_path_factory, share, seed):
    root = tmp_path_factory.mktemp("files")
    files = folder_of(root)
    moved = permutation(root, share, seed)
    after = [moved.get(f, f) for f in files]
    assert sorted(after) == files  # a bijection
    count = round(share * len(files))
    changed = sum(a != b for a, b in zip(files, after, strict=True))
    assert changed == (count if count > 1 else 0)  # no file keeps its own place


def test_hits_depend_on_name_and_part_but_not_on_the_folder():
    names = [f"s{i % 7}/{i}.wav" for i in range(2000)]
    local = [is_hit(Recording(Path("/one") / name), 0.3) for name in names]
    assert local == [is_hit(Recording(Path("/two/deep") / name), 0.3) for name in names]
    assert sum(local) == pytest.approx(600, abs=80)  # four standard deviations
    parts = [is_hit(Recording(Path("a.wav"), i, i + 1), 0.3) for i in range(200)]
    assert 0 < sum(parts) < 200
    assert not is_hit(Recording(Path("a.wav")), 0.0) and is_hit(Recording(Path("a.wav")), 1.0)


def test_partners_are_below_the_root(tmp_path):
    files = folder_of(tmp_path)
    result = [partner(Recording(f), share=1.0, seed=0, levels=1).path for f in files]
    assert sorted(result) == files and all(a != b for a, b in zip(files, result, strict=True))
    own = [partner(Recording(f), share=1.0, seed=0, levels=0).path for f in files]
    assert [f.parent for f in own] == [f.parent for f in files]  # within its own folder
    with pytest.raises(RecordingError, match="a part of a file; faults.shuffled"):
        partner(Recording(files[0], 0.0, 1.0), share=1.0, seed=0, levels=1)


def test_corpora_with_nothing_to_change_stay_unchanged():
    one = [Clip(Recording(Path("a.wav")), "a", "happy", "s", "own")] * 3
    assert mislabel(list(one), {}, share=1.0, seed=0) == one  # there is only one label
    assert mislabel([], {}, share=1.0, seed=0) == duplicate([], {}, share=1.0, seed=0) == []
    # The copies of a single speaker keep this speaker.
    copies = duplicate(list(one[:1]), {}, share=1.0, seed=0)
    assert [(clip.name, clip.speaker) for clip in copies] == [("a", "s"), ("a#copy", "s")]


def test_labels_that_no_run_uses_are_neither_changed_nor_assigned():
    clips = list(Hundred(None).clips())
    changed = mislabel(list(clips), Hundred.labels, share=1.0, seed=0)
    assert [c.label for c in changed if c.label == "calm"] == ["calm"] * 25
    assert all(a.label != b.label for a, b in zip(clips, changed, strict=True) if a.label != "calm")
    # Without a table of labels, every label counts.
    every = mislabel(list(clips), {}, share=1.0, seed=0)
    assert all(a.label != b.label for a, b in zip(clips, every, strict=True))
