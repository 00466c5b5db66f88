"""Splits drawn from clips: complete, disjoint, stratified, reproducible, or refused."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_clips import (
    SIX,
    assert_sound,
    clip,
    corpus,
    prescribed,
    ravdess_layout,
    speakers_of,
    spoken_corpus,
)
from sklearn.model_selection import LeaveOneGroupOut

from fusion import Clip, Recording
from fusion.core.contracts.errors import ParameterError, SplitError, UnknownNameError
from fusion.core.data.split_modes import MODES, PARTS, count_groups
from fusion.core.data.splits import Split, divided_recordings, make_splits

# -- by speaker ----------------------------------------------------------------------


def test_six_folds_of_ravdess():
    clips = ravdess_layout()
    splits = make_splits(clips, SIX, folds=6)
    assert_sound(splits, clips)
    assert [split.fold for split in splits] == list(range(6))
    for k, split in enumerate(splits):
        assert split.describe(clips) == {
            "train": {"clips": 528, "speakers": 12},
            "val": {"clips": 132, "speakers": 3},
            "test": {"clips": 132, "speakers": 3},
        }
        assert Counter(clips[i].label for i in split.test) == {
            label: 12 if label == "neutral" else 24 for label in SIX
        }
        np.testing.assert_array_equal(split.val, splits[(k + 1) % 6].test)


def test_one_split_of_ravdess():
    # 18 * 0.2 = 3.6 for val and test, 10.8 for train. The whole parts are 3, 3 and 10; the two
    # remaining speakers go to the largest remainders, train first and test before val.
    clips = ravdess_layout()
    (split,) = make_splits(clips, SIX)
    assert_sound([split], clips)
    assert split.fold is None
    speakers = {part: counts["speakers"] for part, counts in split.describe(clips).items()}
    assert speakers == {"train": 11, "val": 3, "test": 4}


def test_as_many_folds_as_speakers_is_leave_one_speaker_out():
    clips = ravdess_layout(speakers=5)
    splits = make_splits(clips, SIX, folds=5)
    groups = [clip.speaker for clip in clips]
    expected = {tuple(test) for _, test in LeaveOneGroupOut().split(clips, groups=groups)}
    assert {tuple(split.test) for split in splits} == expected


@pytest.mark.parametrize("speakers", [3, 4, 5, 6, 7, 12])
def test_few_speakers_fill_every_part(speakers):
    clips = corpus("demo", speakers, 2)
    for splits in (make_splits(clips, SIX), make_splits(clips, SIX, folds=3)):
        assert_sound(splits, clips)


def test_each_corpus_is_spread_over_the_folds():
    clips = ravdess_layout(24) + corpus("savee", 4, 15) + corpus("emodb", 10, 8)
    clips += corpus("tess", 2, 30)
    splits = make_splits(clips, SIX, folds=5)
    assert_sound(splits, clips)
    tested = [Counter(c for c, _ in speakers_of(clips, split.test)) for split in splits]
    assert sorted(count["ravdess"] for count in tested) == [4, 5, 5, 5, 5]
    assert [count["emodb"] for count in tested] == [2] * 5
    assert sorted(count["savee"] for count in tested) == [0, 1, 1, 1, 1]
    assert sorted(count["tess"] for count in tested) == [0, 0, 0, 1, 1]
    assert sorted(sum(count.values()) for count in tested) == [8] * 5


def test_a_speaker_name_in_two_corpora_is_two_speakers():
    clips = corpus("a", 3, 1) + corpus("b", 3, 1)
    (split,) = make_splits(clips, SIX)
    assert sum(part["speakers"] for part in split.describe(clips).values()) == 6


def test_classes_are_balanced_when_speakers_are_not():
    # Half of the speakers have one class, half the other: 3 folds of 2 + 2 speakers are balanced.
    clips = [
        clip("x", f"{s:02d}", "happy" if s < 6 else "sad", take)
        for s in range(12)
        for take in range(5)
    ]
    for seed in range(10):
        for split in make_splits(clips, ("happy", "sad"), folds=3, seed=seed):
            assert Counter(clips[i].label for i in split.test) == {"happy": 10, "sad": 10}


def test_the_only_speaker_of_a_class_is_in_training():
    clips = [
        *corpus("x", 10, 2, ("happy", "sad")),
        *(clip("x", "03", "angry", i) for i in range(9)),
    ]
    for seed in range(10):
        (split,) = make_splits(clips, ("happy", "sad", "angry"), seed=seed)
        assert "03" in {clips[i].speaker for i in split.train}


def test_the_seed_decides():
    clips = ravdess_layout()
    assert len({make_splits(clips, SIX, seed=s)[0].digest(clips) for s in range(5)}) == 5
    rng = random.Random(0)
    uneven = [
        clip("x", f"{s:02d}", label, take)
        for s in range(12)
        for label in SIX
        for take in range(rng.randint(3, 14))
    ]
    assert len({make_splits(uneven, SIX, seed=s)[0].digest(uneven) for s in range(10)}) > 2
    for seed in (0, 7):
        one, other = (make_splits(clips, SIX, folds=6, seed=seed) for _ in range(2))
        assert [s.digest(clips) for s in one] == [s.digest(clips) for s in other]


@st.composite
def pools(draw: st.DrawFn) -> list[Clip]:
    """Draw one to three corpora of speakers with very unequal numbers of clips."""
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    clips = []
    for name in "abc"[: draw(st.integers(1, 3))]:
        for s in range(draw(st.integers(4, 12))):
            for label in ("happy", "sad"):
                clips += [clip(name, f"{s}", label, i) for i in range(rng.randint(1, 6))]
    return clips


@settings(max_examples=50, deadline=None)
@given(
    pools(), st.integers(0, 99), st.sampled_from([None, 3, 4]), st.randoms(use_true_random=False)
)
def test_speaker_splits_are_sound_and_independent_of_the_order_of_clips(clips, seed, folds, rng):
    classes = ("happy", "sad")
    splits = make_splits(clips, classes, folds=folds, seed=seed)
    assert_sound(splits, clips)
    shuffled = rng.sample(clips, len(clips))
    again = make_splits(shuffled, classes, folds=folds, seed=seed)
    assert_sound(again, shuffled)
    assert [s.digest(clips) for s in splits] == [s.digest(shuffled) for s in again]


# -- at random -----------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    pools(), st.integers(0, 99), st.sampled_from([None, 3, 4]), st.randoms(use_true_random=False)
)
def test_random_splits_are_sound_and_independent_of_the_order_of_clips(clips, seed, folds, rng):
    classes = ("happy", "sad")
    splits = make_splits(clips, classes, mode="random", folds=folds, seed=seed)
    assert_sound(splits, clips, by_speaker=False)
    shuffled = rng.sample(clips, len(clips))
    again = make_splits(shuffled, classes, mode="random", folds=folds, seed=seed)
    assert [s.digest(clips) for s in splits] == [s.digest(shuffled) for s in again]


def test_random_is_stratified_by_class():
    clips = corpus("x", 2, 10, ("happy", "sad"))
    (split,) = make_splits(clips, ("happy", "sad"), mode="random")
    for part, each in zip(PARTS, (12, 4, 4), strict=True):
        labels = Counter(clips[i].label for i in getattr(split, part))
        assert labels == {"happy": each, "sad": each}
    assert not split.speaker_independent


def test_random_splits_ignore_prescribed_splits():
    clips = [clip("x", "1", label, i, split="test") for label in SIX for i in range(10)]
    (split,) = make_splits(clips, SIX, mode="random")
    assert_sound([split], clips, by_speaker=False)
    assert len(split.test) == 12


# -- by sentence and by corpus -------------------------------------------------------


def assert_kept_apart(splits: list[Split], clips: list[Clip], mode: str) -> None:
    """Assert that splits are complete and disjoint and that test shares no group with other parts.

    If train and val share groups, they must share no speaker. Folds must test each clip once.
    """
    group = MODES[mode].group
    for split in splits:
        parts = [getattr(split, part) for part in PARTS]
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(clips)))
        assert all(len(part) for part in parts)
        train, val, test = ({group(clips[i]) for i in part} for part in parts)
        assert not test & (train | val)
        if train & val:
            assert not speakers_of(clips, split.train) & speakers_of(clips, split.val)
        if split.speaker_independent:
            spoken = [speakers_of(clips, part) for part in parts]
            assert sum(map(len, spoken)) == len(set.union(*spoken))
    if splits[0].fold is not None:
        tested = np.concatenate([split.test for split in splits])
        np.testing.assert_array_equal(np.sort(tested), np.arange(len(clips)))


@st.composite
def spoken_pools(draw: st.DrawFn) -> list[Clip]:
    """Draw two to four corpora with 2 to 9 sentences, which each speaker says once or twice."""
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    clips = []
    for name in "abcd"[: draw(st.integers(2, 4))]:
        sentences = draw(st.integers(2, 9))
        for speaker in range(draw(st.integers(3, 6))):
            for number in range(sentences):
                for label in ("happy", "sad"):
                    clips += [
                        clip(
                            name,
                            f"{speaker}",
                            label,
                            10 * number + take,
                            attributes={"sentence": f"{number}"},
                        )
                        for take in range(rng.randint(1, 2))
                    ]
    return clips


@settings(max_examples=60, deadline=None)
@given(
    spoken_pools(),
    st.sampled_from(["sentence", "corpus", "speaker"]),
    st.integers(0, 99),
    st.sampled_from([None, 2, 3, 4]),
    st.randoms(use_true_random=False),
)
def test_test_shares_no_group_with_other_parts_in_any_mode(clips, mode, seed, folds, rng):
    if folds is not None:
        folds = max(min(folds, count_groups(clips, MODES[mode])), MODES[mode].min_folds)
    splits = make_splits(clips, ("happy", "sad"), mode=mode, folds=folds, seed=seed)
    assert len(splits) == (folds or 1)
    assert [s.fold for s in splits] == (list(range(folds)) if folds else [None])
    assert_kept_apart(splits, clips, mode)
    shuffled = rng.sample(clips, len(clips))
    again = make_splits(shuffled, ("happy", "sad"), mode=mode, folds=folds, seed=seed)
    assert [s.digest(clips) for s in splits] == [s.digest(shuffled) for s in again]


def test_one_of_two_sentences_is_tested():
    clips = spoken_corpus("ravdess", 10, 2)
    tested = set()
    for seed in range(8):
        (split,) = make_splits(clips, SIX, mode="sentence", seed=seed)
        assert_kept_apart([split], clips, "sentence")
        assert not split.speaker_independent
        # Each sentence has 60 clips; 2 of the 10 training speakers validate (0.2).
        assert split.describe(clips) == {
            "train": {"clips": 48, "speakers": 8},
            "val": {"clips": 12, "speakers": 2},
            "test": {"clips": 60, "speakers": 10},
        }
        tested |= {clips[i].attributes["sentence"] for i in split.test}
    assert tested == {"00", "01"}


def test_two_folds_of_two_sentences():
    clips = spoken_corpus("ravdess", 5, 2)
    splits = make_splits(clips, SIX, mode="sentence", folds=2)
    assert_kept_apart(splits, clips, "sentence")
    with pytest.raises(SplitError, match="at least 6 sentences; there are 2") as error:
        make_splits(clips, SIX, mode="sentence", folds=6)
    assert "Use --folds 2. " in str(error.value)


def test_whole_sentences_validate_if_there_are_enough():
    clips = spoken_corpus("crema", 4, 12)
    (split,) = make_splits(clips, SIX, mode="sentence")
    parts = [{clips[i].attributes["sentence"] for i in getattr(split, p)} for p in PARTS]
    # 12 * 0.2 = 2.4 and 12 * 0.6 = 7.2: the whole parts are 2, 2 and 7. The last sentence goes to
    # test, whose remainder equals that of val and which comes first.
    assert [len(part) for part in parts] == [7, 2, 3]
    assert len(set.union(*parts)) == 12
    assert speakers_of(clips, split.train) == speakers_of(clips, split.test)


def test_clips_without_sentence_are_refused():
    clips = [
        *spoken_corpus("a", 3, 3),
        *corpus("b", 3, 1),
        clip("c", "1", "sad", attributes={"sentence": ""}),
    ]
    with pytest.raises(
        SplitError, match=r"but 19 of 73 clips have none. .*b/00/neutral-0.wav"
    ) as e:
        make_splits(clips, SIX, mode="sentence")
    assert "Corpora without sentences: b, c." in str(e.value) and "column called sentence" in str(
        e.value
    )


def test_one_sentence_is_too_few():
    with pytest.raises(SplitError, match="share no sentence need at least 2 sentences; there is 1"):
        make_splits(spoken_corpus("a", 6, 1), SIX, mode="sentence")


def test_a_class_with_only_one_sentence_can_not_be_trained():
    clips = spoken_corpus("a", 6, 2, ("happy", "sad"))
    clips += [clip("a", f"{s:02d}", "angry", 9, attributes={"sentence": "9"}) for s in range(6)]
    with pytest.raises(SplitError, match="and none of: angry") as error:
        make_splits(clips, ("happy", "sad", "angry"), mode="sentence", folds=3)
    assert "Too few sentences have these classes" in str(error.value)


def test_exactly_one_corpus_is_tested():
    clips = corpus("a", 5, 2) + corpus("b", 7, 1) + corpus("c", 4, 3)
    tested = set()
    for seed in range(12):
        (split,) = make_splits(clips, SIX, mode="corpus", seed=seed)
        assert_kept_apart([split], clips, "corpus")
        assert split.speaker_independent
        held_out = {clips[i].corpus for i in split.test}
        assert len(held_out) == 1
        tested |= held_out
        # Speakers of both other corpora validate.
        assert {clips[i].corpus for i in split.val} == set("abc") - held_out
    assert tested == set("abc")


def test_each_corpus_is_tested_once():
    clips = corpus("a", 5, 2) + corpus("b", 7, 1) + corpus("c", 4, 3)
    splits = make_splits(clips, SIX, mode="corpus", folds=3)
    assert_kept_apart(splits, clips, "corpus")
    assert sorted({clips[i].corpus for i in s.test}.pop() for s in splits) == ["a", "b", "c"]


def test_a_single_corpus_can_not_be_split_by_corpus():
    with pytest.raises(
        SplitError, match="share no corpus need at least 2 corpora; there is 1"
    ) as e:
        make_splits(corpus("a", 9, 2), SIX, mode="corpus")
    assert "repeat --data" in str(e.value)
    with pytest.raises(SplitError, match="at least 3 corpora; there are 2") as e:
        make_splits(corpus("a", 3, 2) + corpus("b", 3, 2), SIX, mode="corpus", folds=3)
    assert "Use --folds 2. " in str(e.value)


def test_a_training_corpus_with_one_speaker_can_not_provide_validation():
    clips = corpus("a", 1, 2) + corpus("b", 1, 2)
    with pytest.raises(SplitError, match="only one training speaker"):
        make_splits(clips, SIX, mode="corpus")


@pytest.mark.parametrize("mode", ["sentence", "corpus"])
def test_other_modes_ignore_prescribed_splits(mode):
    clips = [
        clip(name, f"{s}", label, n, split="test", fold="1", attributes={"sentence": f"{n}"})
        for name in "ab"
        for s in range(3)
        for label in SIX
        for n in range(3)
    ]
    assert_kept_apart(make_splits(clips, SIX, mode=mode), clips, mode)
    with pytest.raises(SplitError, match="at least 2 folds .one to test, the rest to train.; 1"):
        make_splits(clips, SIX, mode=mode, folds=1)


def test_an_unknown_mode_is_refused():
    with pytest.raises(UnknownNameError, match="no split 'speakers'.*Did you mean 'speaker'"):
        make_splits(ravdess_layout(), SIX, mode="speakers")


# -- too few clips or speakers -------------------------------------------------------


def test_too_few_speakers_for_the_folds():
    with pytest.raises(SplitError, match="at least 6 speakers; there are 4") as error:
        make_splits(corpus("savee", 4, 3), SIX, folds=6)
    assert "Use --folds 4 or fewer" in str(error.value)
    assert "--split random" in str(error.value)


@pytest.mark.parametrize(("speakers", "text"), [(0, "are 0"), (1, "is 1"), (2, "are 2")])
def test_too_few_speakers_for_a_split(speakers, text):
    with pytest.raises(SplitError, match=f"at least 3 speakers; there {text}") as error:
        make_splits(corpus("tess", speakers, 5), SIX)
    assert "--folds" not in str(error.value)
    if speakers:
        assert_sound(
            make_splits(corpus("tess", speakers, 5), SIX, mode="random"),
            corpus("tess", speakers, 5),
            by_speaker=False,
        )


def test_too_few_clips():
    with pytest.raises(SplitError, match="at least 5 clips; there are 2"):
        make_splits(corpus("x", 1, 1, ("happy", "sad")), ("happy", "sad"), mode="random", folds=5)


@pytest.mark.parametrize("folds", [2, 1, 0, -1])
def test_too_few_folds(folds):
    with pytest.raises(SplitError, match=f"at least 3 folds .*; {folds} were requested"):
        make_splits(ravdess_layout(), SIX, folds=folds)


@pytest.mark.parametrize(("test", "val"), [(0, 0.2), (0.2, 0), (0.5, 0.5), (-0.1, 0.2)])
def test_shares_out_of_range(test, val):
    with pytest.raises(ParameterError, match="must be above 0"):
        make_splits(ravdess_layout(), SIX, test_share=test, val_share=val)


def test_training_needs_every_class():
    clips = [*corpus("x", 6, 2, ("happy", "sad")), clip("x", "03", "angry")]
    with pytest.raises(SplitError, match=r"train of fold \d needs .* and none of: angry"):
        make_splits(clips, ("happy", "sad", "angry"), folds=3)


def test_test_needs_two_classes():
    clips = prescribed("split", {"a": "train", "b": "val"})
    clips.append(clip("x", "c", "sad", split="test"))
    with pytest.raises(SplitError, match="part test .* has clips of: sad, and none of:"):
        make_splits(clips, SIX)


# -- digest and description ----------------------------------------------------------


def test_digest_is_stable_between_versions():
    clips = corpus("x", 3, 1, ("happy", "sad"))
    split = Split(np.array([0, 1]), np.array([2, 3]), np.array([4, 5]), None, True)
    assert split.digest(clips) == "39ddca110ff920e1"
    swapped = Split(split.train, split.test, split.val, None, True)
    assert swapped.digest(clips) != split.digest(clips)
    renumbered = [clips[i] for i in (5, 4, 3, 2, 1, 0)]
    mirrored = Split(np.array([4, 5]), np.array([2, 3]), np.array([0, 1]), 2, True)
    assert mirrored.digest(renumbered) == split.digest(clips)


# -- recordings that clips share -----------------------------------------------------


def overlapping(clips: list[Clip], *groups: tuple[int, ...]) -> list[Clip]:
    """Return the clips, with each group as overlapping segments of one file."""
    clips = list(clips)
    for number, group in enumerate(groups):
        for start, i in enumerate(group):
            recording = Recording(Path(f"long{number}.wav"), float(start), start + 1.5)
            clips[i] = replace(clips[i], recording=recording)
    return clips


def parts_of(split: Split) -> dict[int, str]:
    return {i: part for part in PARTS for i in getattr(split, part).tolist()}


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["speaker", "sentence", "corpus", "random"]),
    st.sampled_from([None, 3]),
    st.integers(0, 99),
    st.lists(st.integers(0, 143), min_size=8, max_size=8, unique=True),
    st.randoms(use_true_random=False),
)
def test_no_mode_divides_a_recording(mode, folds, seed, chosen, rng):
    drawn = [c for name in "abcd" for c in spoken_corpus(name, 6, 6, ("happy", "sad"))]
    groups = (tuple(chosen[:3]), tuple(chosen[3:6]), tuple(chosen[6:]))
    if mode == "corpus":  # three corpora or more must be left
        groups = (tuple(chosen[:2]),)
    clips = overlapping(drawn, *groups)
    splits = make_splits(clips, ("happy", "sad"), mode=mode, folds=folds, seed=seed)
    for split in splits:
        part = parts_of(split)
        assert len(part) == len(clips)
        assert all(len({part[i] for i in group}) == 1 for group in groups)
    assert divided_recordings(splits, groups) == []
    shuffled = rng.sample(clips, len(clips))
    again = make_splits(shuffled, ("happy", "sad"), mode=mode, folds=folds, seed=seed)
    assert [s.digest(clips) for s in splits] == [s.digest(shuffled) for s in again]


def test_given_groups_are_used_instead_of_the_files():
    clips = corpus("x", 6, 4, ("happy", "sad"))
    separate = parts_of(make_splits(clips, ("happy", "sad"), mode="random")[0])
    one = next(i for i in separate if separate[i] == "train")
    other = next(i for i in separate if separate[i] == "test")
    for groups in ([(one, other)], [(other, one)]):
        (split,) = make_splits(clips, ("happy", "sad"), mode="random", shared=groups)
        assert parts_of(split)[one] == parts_of(split)[other]
    (split,) = make_splits(overlapping(clips, (one, other)), ("happy", "sad"), mode="random",
                           shared=[])  # fmt: skip
    assert parts_of(split) == separate


def test_divided_recordings_are_named_by_two_clips_in_two_parts():
    def split(*parts):
        return Split(*(np.array(part) for part in parts), None, speaker_independent=False)

    groups = [(0, 1, 2), (3, 4), (5, 6)]
    one, other = split([0, 1, 3], [5, 6], [2, 4]), split([0, 1, 2, 3, 4], [5], [6])
    assert divided_recordings([one], groups) == [[0, 2, 1], [3, 4]]
    assert divided_recordings([one, other], groups) == [[0, 2, 1], [3, 4], [5, 6]]
    assert divided_recordings([other], groups) == [[5, 6]]
