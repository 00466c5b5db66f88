"""RAVDESS: acted speech and song, 24 actors, eight emotions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.filenames import FilenameCorpus

_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_CHANNELS = {"01": "speech", "02": "song"}
_SOUND = ("audio", "video")
_MODALITIES = {"01": "video", "02": "video without sound", "03": "audio"}


class RAVDESS(FilenameCorpus):
    """Ryerson Audio-Visual Database of Emotional Speech and Song.

    Files are named modality-channel-emotion-intensity-sentence-repetition-actor, two digits each,
    for instance ``Actor_12/03-01-06-01-02-01-12.wav``. The folders of the files are ignored.
    Audio-only recordings (modality 03) are read. The sound of a video (modality 01, ``.mp4``) is
    read if there is no audio-only file of the same recording. Videos without sound (modality 02)
    are passed over. Calm and surprised are not among the six shared emotions. Attributes
    ``sentence``, ``intensity``, ``repetition`` and ``channel`` are the codes of the file names.

    Parameters
    ----------
    path : Path
        Folder of the recordings.
    channel : {"speech", "song", "both"}
        Recordings to read. Song contains no disgust and no surprised.
    modality : {"both", "audio", "video"}
        Files to read: audio-only files, videos with sound, or both (one file per recording).

    References
    ----------
    S. R. Livingstone, F. A. Russo, PLoS ONE 13(5), 2018. https://doi.org/10.5281/zenodo.1188976
    """

    name = "ravdess"
    labels = {e: e for e in _EMOTIONS if e not in ("calm", "surprised")}  # noqa: RUF012
    emotions = {f"{n:02}": emotion for n, emotion in enumerate(_EMOTIONS, 1)}  # noqa: RUF012
    pattern = (
        r"(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])"
        r"-(?P<sentence>0[12])-(?P<repetition>0[12])-(?P<speaker>\d\d)"
    )

    variant = "modality"

    def __init__(
        self,
        path: Path | None,
        *,
        channel: Literal["speech", "song", "both"] = "speech",
        modality: Literal["both", "audio", "video"] = "both",
    ) -> None:
        super().__init__(path)
        self.channel = channel
        self.modality = modality

    def unwanted(self, groups: Mapping[str, str]) -> str:
        channel, modality = _CHANNELS[groups["channel"]], _MODALITIES[groups["modality"]]
        if self.modality != modality and (self.modality != "both" or modality not in _SOUND):
            return modality
        return "" if self.channel in ("both", channel) else channel


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [RAVDESS]
