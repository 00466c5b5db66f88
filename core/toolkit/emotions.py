"""Six emotions that most corpora have in common, and their spellings."""

from __future__ import annotations

import re

SHARED = ("neutral", "happy", "sad", "angry", "fearful", "disgust")

_SPELLINGS = {
    "neutral": "neutral neu n neutralstate neutrality",
    "happy": "happy hap happiness happily joy joyful joyous amusement",
    "sad": "sad sadness sorrow",
    "angry": "angry ang anger hotanger rage",
    "fearful": "fearful fear fea scared anxiety anxious afraid",
    "disgust": "disgust dis disgusted disgusting",
}
_BY_SPELLING = {word: label for label, words in _SPELLINGS.items() for word in words.split()}


def to_shared(text: str) -> str | None:
    """Return the shared emotion that `text` names; None for any other text.

    Case, spaces and punctuation do not matter, so ``"Hot Anger"``, ``"FEAR"`` and
    ``"neutral_state"`` are recognised. Other emotions (calm, surprise, boredom) give None.
    """
    return _BY_SPELLING.get(re.sub(r"[^a-z]", "", text.lower()))
