"""Log-mel spectrograms as images."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from ...core.contracts.data import Extractor, Recording
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.audio import (
    check_spectrum,
    fit_frames,
    is_silent,
    load_waveform,
    log_mel,
    trim_silence,
)
from ...core.toolkit.ranges import check_ranges

FULL_SCALE_DB = 40.0  # reference of ref="fixed": a mel band's power in loud speech near full scale


class Mel(Extractor):
    """Log-mel spectrogram, (1, n_mels, frames) float32 in [0, 1].

    The decibels equal those of ``librosa.feature.melspectrogram`` and ``librosa.power_to_db``. The
    decibels are scaled linearly and clipped: the level `ref` becomes 1, and a level `top_db` below
    `ref` becomes 0. Shorter clips are centred and padded with zeros; longer clips are cropped to
    their middle. Silence (no band above -100 dB) is all 0.

    Parameters
    ----------
    sample_rate : int
        Sample rate in hertz; recordings are resampled to this rate.
    n_fft : int
        Length of the window, in samples.
    hop : int
        Distance between frames, in samples.
    n_mels : int
        Number of mel bands.
    frames : int
        Width of the image, in frames.
    fmin, fmax : float
        Range of the bands in hertz; fmax 0 means half the sample rate.
    top_db : float
        Range of the image in decibels.
    ref : {"max", "fixed"}
        Level that becomes 1: the maximum of the clip, or a fixed level, which preserves
        differences in loudness between clips.
    trim_db : float
        Trim frames at both ends that are more than this many decibels below the loudest frame;
        0 trims nothing.
    """

    name = "mel"
    default = True
    axes = ("channel", "frequency", "time")
    libraries = ("librosa", "numpy", "scipy", "soundfile", "soxr")
    default_branch = "cnn"
    default_branch_parameters = {  # noqa: RUF012
        "blocks": 5, "stem_stride": 1, "pooling": "statistics"
    }  # fmt: skip

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop: int = 512,
        n_mels: int = 64,
        frames: int = 128,
        fmin: float = 0.0,
        fmax: float = 0.0,
        top_db: float = 80.0,
        ref: Literal["max", "fixed"] = "max",
        trim_db: float = 0.0,
    ) -> None:
        self.spectrum = {
            "sample_rate": sample_rate, "n_fft": n_fft, "hop": hop, "n_mels": n_mels,
            "fmin": fmin, "fmax": fmax,
        }  # fmt: skip
        check_spectrum(self.name, self.spectrum)
        check_ranges(self.name, "frames >= 1, top_db > 0 and trim_db >= 0", locals())
        self.top_db = top_db
        self.ref = ref
        self.trim_db = trim_db
        self.shape = (1, n_mels, frames)
        self.seconds = frames * hop / sample_rate

    def extract(self, recording: Recording) -> npt.NDArray[np.float32]:
        waveform = load_waveform(recording, int(self.spectrum["sample_rate"]))
        return self.image(waveform)

    def image(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the image (1, n_mels, frames) of a waveform, (n,) samples."""
        decibels = log_mel(waveform, **self.spectrum)  # type: ignore[arg-type]
        if is_silent(decibels):
            # The maximum of silence would otherwise become 1.
            return np.zeros(self.shape, np.float32)
        decibels = trim_silence(decibels, self.trim_db)
        top = float(decibels.max()) if self.ref == "max" else FULL_SCALE_DB
        scaled = np.clip((decibels - top) / self.top_db + 1, 0, 1)  # (n_mels, t)
        return fit_frames(scaled, self.shape[2], fill=0.0)[None]


@hookimpl
def fusion_extractors() -> list[type[Extractor]]:
    return [Mel]
