"""Spellings of emotions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.core.toolkit.emotions import SHARED, to_shared

SPELLINGS = {
    "neutral": ["neutral", "NEU", "Neutral", "neutral state"],
    "happy": ["happy", "hap", "Happiness", "joy"],
    "sad": ["sad", "SAD", "sadness"],
    "angry": ["angry", "ang", "anger", "Hot Anger"],
    "fearful": ["fearful", "fear", "FEA", "anxiety"],
    "disgust": ["disgust", "DIS", "disgusted"],
}


@pytest.mark.parametrize("emotion", SHARED)
def test_spellings(emotion):
    assert {to_shared(text) for text in SPELLINGS[emotion]} == {emotion}


@pytest.mark.parametrize("text", ["calm", "surprise", "surprised", "boredom", "", "42", "a"])
def test_other_labels_are_not_shared_emotions(text):
    assert to_shared(text) is None


@given(st.sampled_from([s for result in SPELLINGS.values() for s in result]), st.randoms())
def test_case_and_spaces_do_not_matter(text, random):
    changed = "".join(random.choice([c.upper(), c.lower()]) for c in text)
    assert to_shared(f"  {changed} ") == to_shared(text) is not None


@given(st.text())
def test_any_text_gives_a_shared_emotion_or_none(text):
    assert to_shared(text) in (*SHARED, None)
