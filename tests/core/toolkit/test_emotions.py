"""Spellings of emotions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.core.toolkit.emotions import SHARED, is_emotion, to_shared

SPELLINGS = {
    "neutral": ["neutral", "NEU", "Neutral", "neutral state", "neutrale", "中立"],
    "happy": ["happy", "hap", "Happiness", "joy", "Freude", "gioia", "amused", "快乐"],
    "sad": ["sad", "SAD", "sadness", "Traurig", "tristezza", "伤心"],
    "angry": [
        "angry",
        "ang",
        "anger",
        "Hot Anger",
        "Ärger",
        "Wut",
        "colère",
        "θυμός",
        "ΘΥΜΟΣ",
        "生气",
    ],
    "fearful": ["fearful", "fear", "FEA", "anxiety", "Angst", "paura", "恐惧"],
    "disgust": ["disgust", "DIS", "disgusted", "Ekel", "dégoût", "厌恶"],
}


@pytest.mark.parametrize("emotion", SHARED)
def test_spellings(emotion):
    assert {to_shared(text) for text in SPELLINGS[emotion]} == {emotion}


@pytest.mark.parametrize(
    "text", ["calm", "surprise", "surprised", "boredom", "", "42", "a", "惊喜"]
)
def test_other_labels_are_not_shared_emotions(text):
    assert to_shared(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Angry", True), ("calm", True), ("Pleasant Surprise", True), ("EXC", True), ("惊喜", True),
     ("0011", False), ("anna", False), ("train", False), ("", False)],
)  # fmt: skip
def test_other_emotions_are_emotions_too(text, expected):
    assert is_emotion(text) is expected


@given(st.sampled_from([s for result in SPELLINGS.values() for s in result]), st.randoms())
def test_case_and_spaces_do_not_matter(text, random):
    changed = "".join(random.choice([c.upper(), c.lower()]) for c in text)
    assert to_shared(f"  {changed} ") == to_shared(text) is not None


@given(st.text())
def test_any_text_gives_a_shared_emotion_or_none(text):
    assert to_shared(text) in (*SHARED, None)
