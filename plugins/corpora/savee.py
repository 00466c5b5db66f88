"""SAVEE: acted speech, four men, seven emotions."""

from __future__ import annotations

import re

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.corpora import NamedFiles

_EMOTIONS = {
    "a": "angry", "d": "disgust", "f": "fearful", "h": "happy", "n": "neutral", "sa": "sad",
    "su": "surprised",
}  # fmt: skip


class SAVEE(NamedFiles):
    """Surrey Audio-Visual Expressed Emotion database (Haq and Jackson 2010).

    Files are named emotion and number in a folder per speaker (``AudioData/DC/a01.wav``), or
    with the speaker before them (``DC_a01.wav``). Surprised has no place among the six shared
    emotions.

    Parameters
    ----------
    path : Path
        The folder.
    """

    name = "savee"
    labels = {e: e for e in _EMOTIONS.values() if e != "surprised"}  # noqa: RUF012
    pattern = re.compile(r"(?:^|/)(DC|JE|JK|KL)[/_](sa|su|[adfhn])(\d\d)")

    def describe(self, match: re.Match[str]) -> tuple[str, str, dict[str, str]]:
        speaker, emotion, number = match.groups()
        return _EMOTIONS[emotion], speaker, {"sentence": emotion + number}


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [SAVEE]
