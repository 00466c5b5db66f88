"""RAVDESS: acted speech and song, 24 actors, eight emotions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.corpora import NamedFiles

_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_CHANNELS = {"01": "speech", "02": "song"}


class RAVDESS(NamedFiles):
    """Ryerson Audio-Visual Database of Emotional Speech and Song (Livingstone, Russo 2018).

    Files are named modality-channel-emotion-intensity-statement-repetition-actor, two digits
    each, for instance ``Actor_12/03-01-06-01-02-01-12.wav``, in any folders. Calm and
    surprised have no place among the six shared emotions.

    Parameters
    ----------
    path : Path
        The folder.
    channel : {"speech", "song", "both"}
        Which recordings.
    """

    name = "ravdess"
    labels = {e: e for e in _EMOTIONS if e not in ("calm", "surprised")}  # noqa: RUF012
    pattern = re.compile(r"(?:^|/)\d\d-(0[12])-(0[1-8])-(\d\d)-(\d\d)-(\d\d)-(\d\d)")

    def __init__(
        self, path: Path | None, *, channel: Literal["speech", "song", "both"] = "speech"
    ) -> None:
        super().__init__(path)
        self.channel = channel

    def describe(self, match: re.Match[str]) -> tuple[str, str, dict[str, str]] | None:
        channel, emotion, intensity, statement, repetition, actor = match.groups()
        if self.channel not in (_CHANNELS[channel], "both"):
            return None
        attributes = {
            "sentence": statement, "intensity": intensity, "repetition": repetition,
            "channel": _CHANNELS[channel],
        }  # fmt: skip
        return _EMOTIONS[int(emotion) - 1], actor, attributes


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [RAVDESS]
