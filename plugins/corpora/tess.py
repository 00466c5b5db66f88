"""TESS: acted speech, two women, seven emotions."""

from __future__ import annotations

import re

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.corpora import NamedFiles

_EMOTIONS = {
    "angry": "angry", "disgust": "disgust", "fear": "fearful", "happy": "happy",
    "neutral": "neutral", "ps": "surprised", "sad": "sad",
}  # fmt: skip


class TESS(NamedFiles):
    """Toronto Emotional Speech Set (Dupuis and Pichora-Fuller 2010).

    Files are named speaker_word_emotion, for instance ``OAF_angry/OAF_back_angry.wav``, in any
    folders; "ps" is pleasant surprise, which has no place among the six shared emotions. One
    published file says OA instead of OAF. With two speakers it can't be split by speaker into
    three parts: pool it with other corpora.

    Parameters
    ----------
    path : Path
        The folder.
    """

    name = "tess"
    labels = {e: e for e in _EMOTIONS.values() if e != "surprised"}  # noqa: RUF012
    pattern = re.compile(rf"(?:^|/)(OAF?|YAF?)_([A-Za-z-]+)_({'|'.join(_EMOTIONS)})")

    def describe(self, match: re.Match[str]) -> tuple[str, str, dict[str, str]]:
        speaker, word, emotion = match.groups()
        return _EMOTIONS[emotion], speaker[:2] + "F", {"sentence": word}


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [TESS]
