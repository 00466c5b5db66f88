"""CREMA-D: acted speech, 91 actors, six emotions."""

from __future__ import annotations

import re

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.corpora import NamedFiles

_EMOTIONS = {
    "ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral",
    "SAD": "sad",
}  # fmt: skip


class CremaD(NamedFiles):
    """Crowd-sourced Emotional Multimodal Actors Dataset (Cao et al. 2014).

    Files are named actor_sentence_emotion_intensity, for instance
    ``AudioWAV/1001_DFA_ANG_XX.wav``, in any folders.

    Parameters
    ----------
    path : Path
        The folder.
    """

    name = "crema_d"
    labels = {e: e for e in _EMOTIONS.values()}  # noqa: RUF012
    pattern = re.compile(rf"(?:^|/)(\d{{4}})_([A-Z]{{3}})_({'|'.join(_EMOTIONS)})_(XX|LO|MD|HI|X)")

    def describe(self, match: re.Match[str]) -> tuple[str, str, dict[str, str]]:
        actor, sentence, emotion, intensity = match.groups()
        return _EMOTIONS[emotion], actor, {"sentence": sentence, "intensity": intensity}


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [CremaD]
