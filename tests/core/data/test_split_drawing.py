"""Parts drawn for groups of clips: recordings are never divided, and parts keep their shares."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_clips import SIX, clip, corpus, spoken_corpus

from fusion.core.contracts.errors import SplitError
from fusion.core.data.split_drawing import Pool, check_number, draw
from fusion.core.data.split_modes import MODES

SHARES = np.array([0.6, 0.2, 0.2])


def test_a_pool_of_some_clips_keeps_what_they_share():
    clips = corpus("x", 4, 1, ("sad", "happy"))
    pool = Pool(clips, [(0, 5), (1, 2, 7), (3, 4)])
    some = pool.only([7, 5, 2, 3])
    assert some.clips == [clips[i] for i in (7, 5, 2, 3)]
    assert some.shared == [[0, 2]]  # clips 7 and 2


def test_groups_that_share_a_recording_are_one_group():
    clips = spoken_corpus("x", 2, 3, ("sad",))  # speakers 00, 00, 00, 01, 01, 01
    pool = Pool(clips, [(1, 5)])
    assert pool.groups(MODES["speaker"]) == [("x", "00")] * 6
    sentences = [name for _, name in pool.groups(MODES["sentence"])]
    assert sentences == ["00", "01", "01", "00", "01", "01"]
    assert len(set(pool.groups(MODES["random"]))) == 5
    assert Pool(clips, []).groups(MODES["random"]) == [("x", c.name) for c in clips]


@given(
    st.sampled_from(["speaker", "sentence", "random"]),
    st.integers(0, 50),
    st.lists(st.lists(st.integers(0, 71), min_size=2, max_size=4), max_size=3),
)
def test_no_group_and_no_recording_is_divided(mode, seed, shared):
    clips = spoken_corpus("x", 6, 6, ("sad", "happy"))
    pool = Pool(clips, shared)
    groups = pool.groups(MODES[mode])
    if len(set(groups)) < 3:
        return
    part = draw(pool, SHARES, MODES[mode], seed)
    assert all(len({int(part[i]) for i in group}) == 1 for group in shared)
    assert len({(group, int(p)) for group, p in zip(groups, part, strict=True)}) == len(set(groups))
    assert set(part.tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(part, draw(pool, SHARES, MODES[mode], seed))


def test_clips_that_share_recordings_are_stratified_by_class():
    """Each class has 20 pairs of copies and 20 single clips: 12, 4 and 4 of each to the parts."""
    clips = [clip("x", "1", label, i) for label in ("happy", "sad") for i in range(60)]
    pairs = [(60 * c + 2 * i, 60 * c + 2 * i + 1) for c in range(2) for i in range(20)]
    for seed in range(5):
        part = draw(Pool(clips, pairs), SHARES, MODES["random"], seed)
        counts = Counter((c.label, int(p)) for c, p in zip(clips, part, strict=True))
        assert counts == {
            (label, p): 3 * n for label in ("happy", "sad") for p, n in enumerate((12, 4, 4))
        }


def test_too_few_groups_are_refused():
    clips = corpus("x", 4, 1, SIX)
    with pytest.raises(SplitError, match="3 parts that share no speaker .* there are 2"):
        draw(Pool(clips, [(0, 6), (12, 18)]), SHARES, MODES["speaker"], 0)
    check_number(3, MODES["speaker"], 3)
    with pytest.raises(SplitError, match="at least 4 speakers; there are 3"):
        check_number(3, MODES["speaker"], 4)
