"""Splits prescribed by a corpus: followed, completed, or refused with the clip or speaker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_clips import SIX, assert_sound, clip, corpus, prescribed, speakers_of

from fusion import Recording
from fusion.core.contracts.errors import SplitError
from fusion.core.data.splits import divided_recordings, make_splits


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


# -- --split published ---------------------------------------------------------------


def shared_split(column, speakers=6):
    """Return clips of which each speaker is in all prescribed parts or folds."""
    parts = {"split": ("train", "val", "test"), "fold": ("1", "2", "3")}[column]
    return [
        clip("x", f"s{s}", label, take, **{column: part})
        for s in range(speakers)
        for label in SIX
        for take, part in enumerate(parts)
    ]


@pytest.mark.parametrize("column", ["split", "fold"])
def test_a_published_split_that_shares_speakers_is_followed(column):
    clips = shared_split(column)
    with pytest.raises(SplitError) as error:
        make_splits(clips, SIX)
    assert "--split published" in error.value.hint
    splits = make_splits(clips, SIX, mode="published")
    assert_sound(splits, clips, by_speaker=False)
    names = [getattr(clips[i], column) for split in splits for i in split.test]
    if column == "split":
        assert len(splits) == 1 and set(names) == {"test"} and splits[0].fold is None
        assert {clips[i].split for i in splits[0].val} == {"val"}
    else:
        assert [split.fold for split in splits] == [0, 1, 2]
        assert names == ["1"] * 36 + ["2"] * 36 + ["3"] * 36
        assert {clips[i].fold for i in splits[0].val} == {"2"}
        again = make_splits(clips, SIX, mode="published", folds=3)
        assert [s.digest(clips) for s in again] == [s.digest(clips) for s in splits]


@pytest.mark.parametrize("column", ["split", "fold"])
def test_a_published_split_without_shared_speakers_equals_the_split_by_speaker(column):
    values = {"split": ("train", "val", "test", "train"), "fold": ("1", "2", "3", "1")}[column]
    clips = prescribed(column, dict(zip("abcd", values, strict=True)))
    splits = make_splits(clips, SIX, mode="published")
    assert_sound(splits, clips)
    assert all(split.speaker_independent for split in splits)
    by_speaker = make_splits(clips, SIX)
    assert [s.digest(clips) for s in splits] == [s.digest(clips) for s in by_speaker]


def test_one_fold_that_shares_a_speaker_makes_all_folds_speaker_dependent():
    clips = prescribed("fold", {f"{i}": f"{i % 4}" for i in range(8)})
    clips += [clip("x", "0", "sad", 9, fold="1")]  # speaker 0 is in folds 0 and 1
    splits = make_splits(clips, SIX, mode="published")
    # Folds 2 and 3 test no speaker of other folds, but the run has one statement about speakers.
    assert [split.speaker_independent for split in splits] == [False] * 4


def test_a_test_speaker_in_validation_only_makes_a_split_speaker_dependent():
    clips = prescribed("split", {"a": "train", "b": "val", "c": "test"})
    assert make_splits(clips, SIX, mode="published")[0].speaker_independent
    clips += [clip("x", "b", "sad", 1, split="test")]
    assert not make_splits(clips, SIX, mode="published")[0].speaker_independent


def test_training_and_validation_may_share_speakers_of_a_published_split():
    clips = prescribed("split", {"a": "train", "b": "val", "c": "test"})
    clips += [clip("x", "b", "sad", 1, split="train")]
    (split,) = make_splits(clips, SIX, mode="published")
    assert split.speaker_independent  # the test speaker is new


def test_missing_validation_of_a_published_split_is_taken_from_training_speakers():
    clips = [c for c in shared_split("split") if c.split != "val"]
    (split,) = make_splits(clips, SIX, mode="published")
    assert_sound([split], clips, by_speaker=False)
    assert {clips[i].split for i in split.test} == {"test"}
    assert not speakers_of(clips, split.train) & speakers_of(clips, split.val)


def test_validation_of_a_published_split_of_one_speaker_is_drawn_from_clips():
    clips = [
        clip("x", "only", label, take, split="test" if take > 7 else "train")
        for label in SIX
        for take in range(10)
    ]
    (split,) = make_splits(clips, SIX, mode="published")
    assert_sound([split], clips, by_speaker=False)
    # One fifth of the 48 training clips, up to rounding of the six classes.
    assert len(split.test) == 12 and 9 <= len(split.val) <= 10


def test_a_published_split_needs_a_prescription():
    with pytest.raises(SplitError, match="but x, y prescribes neither") as error:
        make_splits(corpus("y", 5, 1) + corpus("x", 5, 1), SIX, mode="published")
    assert "column split" in error.value.hint and "--split speaker" in error.value.hint
    clips = [*corpus("y", 5, 1), *prescribed("split", {"a": "train"})]
    with pytest.raises(SplitError, match="6 of 36 clips have a prescribed split"):
        make_splits(clips, SIX, mode="published")
    clips = prescribed("split", {"a": "train", "b": "val", "c": "test"})
    with pytest.raises(SplitError, match="4 folds were requested, but"):
        make_splits(clips, SIX, mode="published", folds=4)


# -- recordings in two prescribed parts ----------------------------------------------


@pytest.mark.parametrize("column", ["split", "fold"])
def test_a_recording_in_two_prescribed_parts_is_refused_unless_published(column):
    parts = {"split": ("train", "val", "test"), "fold": ("1", "2", "3")}[column]
    clips = prescribed(column, dict(zip("abc", parts, strict=True)))
    whole = replace(clips[0], recording=Recording(Path("long.wav"), 0.0, 2.0))
    other = replace(clips[-1], recording=Recording(Path("long.wav"), 1.0, 3.0))
    clips = [whole, *clips[1:-1], other]
    with pytest.raises(SplitError) as error:
        make_splits(clips, SIX)
    assert error.value.message == (
        f"A recording is in more than one part of the prescribed {column}: x/a/neutral-0.wav "
        f"(long.wav from 0 s to 2 s), in {parts[0]}, is or overlaps x/c/disgust-0.wav (long.wav "
        f"from 1 s to 3 s), in {parts[2]}."
    )
    assert "--split published" in error.value.hint
    splits = make_splits(clips, SIX, mode="published")
    assert_sound(splits, clips)
    assert divided_recordings(splits, [(0, 17)]) == [[0, 17]]
