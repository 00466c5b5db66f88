"""EMO-DB: acted German speech, ten speakers, seven emotions."""

from __future__ import annotations

import re

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.corpora import NamedFiles

# The letters stand for the German words: Wut, Langeweile, Ekel, Angst, Freude, Trauer.
_EMOTIONS = {
    "W": "angry", "L": "bored", "E": "disgust", "A": "fearful", "F": "happy", "T": "sad",
    "N": "neutral",
}  # fmt: skip


class EmoDB(NamedFiles):
    """Berlin Database of Emotional Speech (Burkhardt et al. 2005).

    Files are named speaker, sentence, emotion and version, for instance ``wav/03a01Fa.wav``,
    in any folders. Boredom has no place among the six shared emotions.

    Parameters
    ----------
    path : Path
        The folder.
    """

    name = "emodb"
    labels = {e: e for e in _EMOTIONS.values() if e != "bored"}  # noqa: RUF012
    pattern = re.compile(r"(?:^|/)(\d\d)([ab]\d\d)([WLEAFTN])([a-z])")

    def describe(self, match: re.Match[str]) -> tuple[str, str, dict[str, str]]:
        speaker, sentence, emotion, version = match.groups()
        return _EMOTIONS[emotion], speaker, {"sentence": sentence, "version": version}


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [EmoDB]
