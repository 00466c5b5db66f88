"""The split modes: the group of each clip, and the name of its figures."""

import pytest
from made_clips import SIX, clip, corpus, spoken_corpus

from fusion.core.contracts.errors import SplitError, UnknownNameError
from fusion.core.data.split_modes import (
    MODES,
    check_known,
    count_groups,
    mode_of,
    mode_of_splits,
    sentence_of,
)


def said(sentence, corpus="x"):
    return clip(corpus, "1", "sad", attributes={"sentence": sentence})


def test_clips_of_two_corpora_are_never_in_one_group():
    """Two corpora may both have a speaker 1, a sentence 1 and a clip 1.wav."""
    one, other = said("dogs", "a"), said("dogs", "b")
    assert one.name == other.name and one.speaker == other.speaker
    for mode in MODES.values():
        assert mode.group(one) != mode.group(other)


def test_each_mode_keeps_its_groups_together():
    base = clip("x", "1", "sad", 0, attributes={"sentence": "dogs"})
    rest = {
        "speaker": clip("x", "1", "happy", 1, attributes={"sentence": "kids"}),
        "sentence": clip("x", "2", "happy", 1, attributes={"sentence": "dogs"}),
        "corpus": clip("x", "3", "happy", 1, attributes={"sentence": "cats"}),
    }
    together = {
        name: [which for which, other in rest.items() if mode.group(other) == mode.group(base)]
        for name, mode in MODES.items()
    }
    assert together == {
        "speaker": ["speaker"],
        "sentence": ["sentence"],
        "corpus": ["speaker", "sentence", "corpus"],
        "random": [],
        "published": ["speaker"],
    }


def test_groups_of_one_corpus_are_spread_over_all_parts_but_corpora_are_not():
    """Groups with an equal first element are spread: speakers of one corpus, and all corpora."""
    firsts = {
        name: {mode.group(c)[0] for c in (said("dogs", "a"), said("cats", "b"))}
        for name, mode in MODES.items()
    }
    both = {"a", "b"}
    assert firsts == {
        "speaker": both,
        "sentence": both,
        "random": both,
        "corpus": {""},
        "published": both,
    }


@pytest.mark.parametrize(
    ("text", "reference"), [("Dogs", "dogs"), ("  DOGS ", "dogs"), ("", None), (" \t", None)]
)
def test_sentences_ignore_case_and_surrounding_space(text, reference):
    assert sentence_of(said(text)) == (None if reference is None else ("x", reference))


def test_a_clip_without_the_attribute_has_no_sentence():
    assert sentence_of(clip("x", "1", "sad")) is None


def test_equal_sentences_in_two_corpora_are_distinct():
    clips = spoken_corpus("a", 3, 2) + spoken_corpus("b", 3, 2)
    assert count_groups(clips, MODES["sentence"]) == 4
    upper = [clip("c", "1", label, 0, attributes={"sentence": s}) for s in "Aa" for label in SIX]
    assert count_groups(upper, MODES["sentence"]) == 1


def test_groups_of_each_mode_are_counted():
    clips = [*corpus("a", 3, 1, ("happy", "sad")), *spoken_corpus("b", 2, 4, ("sad",))]
    counts = {name: count_groups(clips, mode) for name, mode in MODES.items()}
    assert counts == {
        "speaker": 5,
        "sentence": 4,
        "corpus": 2,
        "random": 3 * 2 + 2 * 4,
        "published": 5,
    }
    assert [count_groups([], mode) for mode in MODES.values()] == [0] * 5


def test_only_a_split_by_sentence_needs_sentences():
    clips = [said("dogs"), *corpus("b", 1, 1, ("sad", "happy")), said("", "a")]
    for name in ("speaker", "corpus", "random"):
        check_known(clips, MODES[name])
    check_known(clips[:1], MODES["sentence"])
    with pytest.raises(SplitError) as error:
        check_known(clips, MODES["sentence"])
    assert (
        "but 3 of 4 clips have none. First of these clips: b/00/sad-0.wav. "
        "Corpora without sentences: a, b." in error.value.message
    )
    assert "column called sentence" in error.value.hint


def test_modes_that_mix_speakers_are_marked_speaker_dependent():
    """Tables and warnings must not present scores of known speakers as scores of new ones."""
    for mode in MODES.values():
        dependent = not mode.speaker_independent
        assert ("SPEAKER-DEPENDENT" in mode.tested) is dependent
        assert mode.warning.startswith("Speaker-dependent: ") is dependent
        assert bool(mode.warning) is dependent


def test_only_a_published_split_is_named_by_its_own_speakers():
    """MODES has the careful texts; a split that keeps speakers apart gets the others."""
    for name, mode in MODES.items():
        assert mode_of_splits(name, speaker_independent=False) is mode
        apart = mode_of_splits(name, speaker_independent=True)
        assert (apart is mode) is (name != "published")
    assert MODES["published"].tested == "published split, SPEAKER-DEPENDENT"
    apart = mode_of_splits("published", speaker_independent=True)
    assert (apart.name, apart.tested) == ("published", "published split, on held-out speakers")
    assert apart.speaker_independent and not apart.warning


def test_a_mode_by_its_name_and_an_unknown_one():
    assert all(mode_of(name).name == name for name in MODES)
    with pytest.raises(UnknownNameError, match="no split 'speakers'.*Did you mean 'speaker'"):
        mode_of("speakers")
