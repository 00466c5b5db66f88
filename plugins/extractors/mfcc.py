"""Mel-frequency cepstral coefficients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...core.contracts.data import Extractor, Recording
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.audio import check_spectrum, fit_frames, load_waveform, log_mel
from ...core.toolkit.ranges import check_ranges


class MFCC(Extractor):
    """Mel-frequency cepstral coefficients, (1, n_mfcc, frames) float32.

    The numbers of ``librosa.feature.mfcc`` (orthonormal DCT-II of the log-mel spectrogram in
    decibels, no more than 80 below the clip's maximum). Shorter clips lie in the middle of
    zeros, of longer ones the middle is taken.

    Parameters
    ----------
    sample_rate : int
        In hertz; recordings are resampled to it.
    n_fft : int
        Window, in samples.
    hop : int
        From one frame to the next, in samples.
    n_mels : int
        Mel bands that the coefficients are computed from.
    n_mfcc : int
        Coefficients, at most `n_mels`.
    frames : int
        Width of the image.
    """

    name = "mfcc"
    # Coefficients are no positions on an axis: masks and shifts along them make no sense.
    axes = ("channel", "coefficient", "time")
    libraries = ("librosa", "numpy", "scipy", "soundfile", "soxr")

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop: int = 256,
        n_mels: int = 128,
        n_mfcc: int = 40,
        frames: int = 256,
    ) -> None:
        self.spectrum = {"sample_rate": sample_rate, "n_fft": n_fft, "hop": hop, "n_mels": n_mels}
        check_spectrum(self.name, self.spectrum)
        check_ranges(self.name, "1 <= n_mfcc <= n_mels and frames >= 1", locals())
        self.shape = (1, n_mfcc, frames)

    def extract(self, recording: Recording) -> npt.NDArray[np.float32]:
        import scipy.fft

        waveform = load_waveform(recording, self.spectrum["sample_rate"])
        decibels = log_mel(waveform, **self.spectrum)
        decibels = np.maximum(decibels, decibels.max() - 80)
        coefficients = scipy.fft.dct(decibels, axis=0, norm="ortho")[: self.shape[1]]
        return fit_frames(coefficients, self.shape[2], fill=0.0)[None]


@hookimpl
def fusion_extractors() -> list[type[Extractor]]:
    return [MFCC]
