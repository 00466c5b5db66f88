"""RAVDESS: acted speech and song, 24 actors, eight emotions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.filenames import FilenameCorpus

_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_CHANNELS = {"speech": ("01",), "song": ("02",), "both": ("01", "02")}


class RAVDESS(FilenameCorpus):
    """Ryerson Audio-Visual Database of Emotional Speech and Song.

    Files are named modality-channel-emotion-intensity-sentence-repetition-actor, two digits each,
    for instance ``Actor_12/03-01-06-01-02-01-12.wav``. The folders of the files are ignored.
    Audio-only recordings (modality 03) are read. Calm and surprised are not among the six shared
    emotions. Attributes ``sentence``, ``intensity``, ``repetition`` and ``channel`` are the codes
    of the file names.

    Parameters
    ----------
    path : Path
        Folder of the recordings.
    channel : {"speech", "song", "both"}
        Recordings to read. Song contains no disgust and no surprised.

    References
    ----------
    S. R. Livingstone, F. A. Russo, PLoS ONE 13(5), 2018. https://doi.org/10.5281/zenodo.1188976
    """

    name = "ravdess"
    labels = {e: e for e in _EMOTIONS if e not in ("calm", "surprised")}  # noqa: RUF012
    emotions = {f"{n:02}": emotion for n, emotion in enumerate(_EMOTIONS, 1)}  # noqa: RUF012
    pattern = (
        r"03-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])-(?P<sentence>0[12])"
        r"-(?P<repetition>0[12])-(?P<speaker>\d\d)"
    )

    def __init__(
        self, path: Path | None, *, channel: Literal["speech", "song", "both"] = "speech"
    ) -> None:
        super().__init__(path)
        self.channel = channel

    def wanted(self, groups: Mapping[str, str]) -> bool:
        return groups["channel"] in _CHANNELS[self.channel]


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [RAVDESS]
