"""Splits prescribed by a corpus: followed, completed, or refused with the clip or speaker."""

from __future__ import annotations

import pytest
from made_clips import SIX, assert_sound, clip, corpus, prescribed, speakers_of

from fusion.core.contracts.errors import SplitError
from fusion.core.data.splits import make_splits


def test_prescribed_split_is_followed():
    clips = prescribed("split", {"a": "test", "b": "train", "c": "val", "d": "train"})
    (split,) = make_splits(clips, SIX)
    assert_sound([split], clips)
    assert speakers_of(clips, split.test) == {("x", "a")}
    assert speakers_of(clips, split.val) == {("x", "c")}


def test_missing_validation_is_taken_from_training_speakers():
    clips = prescribed("split", {f"{i}": "test" if i < 2 else "train" for i in range(12)})
    (split,) = make_splits(clips, SIX)
    assert_sound([split], clips)
    assert speakers_of(clips, split.test) == {("x", "0"), ("x", "1")}
    assert len(speakers_of(clips, split.val)) == 2  # 20 % of 10


def test_prescribed_folds_are_followed_in_natural_order():
    clips = prescribed("fold", {f"s{i}": f"{i}" for i in range(1, 11)})
    for folds in (None, 10):
        splits = make_splits(clips, SIX, folds=folds)
        assert_sound(splits, clips)
        tested = [speakers_of(clips, split.test) for split in splits]
        assert tested == [{("x", f"s{i}")} for i in range(1, 11)]
        assert speakers_of(clips, splits[8].val) == {("x", "s10")}


def test_folds_and_split_both_prescribed():
    clips = [
        clip("x", f"{s}", label, fold=f"{s}", split=("train", "val", "test")[s])
        for s in range(3)
        for label in SIX
    ]
    assert len(make_splits(clips, SIX)) == 1
    assert len(make_splits(clips, SIX, folds=3)) == 3


@pytest.mark.parametrize("column", ["split", "fold"])
def test_a_speaker_in_two_parts_is_refused(column):
    parts = {"split": ("train", "val", "test"), "fold": ("1", "2", "3")}[column]
    clips = prescribed(column, {f"good{i}": part for i, part in enumerate(parts)})
    for part in parts[:2]:
        clips += [
            clip("x", f"bad{i}", "sad", parts.index(part), **{column: part}) for i in range(7)
        ]
    with pytest.raises(SplitError) as error:
        make_splits(clips, SIX)
    message = str(error.value)
    assert (
        f"7 of 10 speakers are in more than one part of the prescribed {column}: "
        f"x/bad0 in {parts[0]}, {parts[1]}"
    ) in message
    assert "x/bad4" in message
    assert "x/bad5" not in message
    assert "and 2 more" in message
    assert "--split random" in message
    assert not make_splits(clips, SIX, mode="random")[0].speaker_independent


@pytest.mark.parametrize("column", ["split", "fold"])
def test_a_column_filled_for_only_some_clips_is_refused(column):
    value = {"split": "train", "fold": "1"}[column]
    clips = [*corpus("y", 5, 1), *prescribed(column, {"a": value})]
    with pytest.raises(SplitError, match=rf"6 of 36 clips .* prescribed {column}; y/00/") as error:
        make_splits(clips, SIX)
    assert error.value.hint


@pytest.mark.parametrize(
    ("column", "assignment", "folds", "message"),
    [
        ("fold", {"a": "1", "b": "2", "c": "3"}, 5, r"prescribes 3 folds \(1, 2, 3\), but 5"),
        ("fold", {"a": "1", "b": "2"}, None, "prescribes 2 folds .* at least 3 are needed"),
        ("split", {"a": "train", "b": "val", "c": "test"}, 3, "3 folds were requested, but"),
        ("split", {"a": "train", "b": "dev", "c": "test"}, None, "'dev' is unknown. Known:"),
        ("split", {"a": "train", "b": "val"}, None, "no clips for test"),
        ("split", {"a": "test", "b": "val"}, None, "no clips for train"),
        ("split", {"a": "train", "b": "test"}, None, "only one training speaker"),
    ],
)
def test_impossible_prescriptions_are_refused(column, assignment, folds, message):
    with pytest.raises(SplitError, match=message):
        make_splits(prescribed(column, assignment), SIX, folds=folds)
