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

    The coefficients equal those of ``librosa.feature.mfcc``: the orthonormal DCT-II of the log-mel
    spectrogram in decibels, clipped at 80 dB below the clip's maximum. Shorter clips are centred
    and padded with zeros; longer clips are cropped to their middle.

    Parameters
    ----------
    sample_rate : int
        Sample rate in hertz; recordings are resampled to this rate.
    n_fft : int
        Length of the window, in samples.
    hop : int
        Distance between frames, in samples.
    n_mels : int
        Number of mel bands from which the coefficients are computed.
    n_mfcc : int
        Number of coefficients, at most `n_mels`.
    frames : int
        Width of the image, in frames.
    """

    name = "mfcc"
    # Neighbouring coefficients are unrelated: masks and shifts along this axis make no sense.
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
        self.seconds = frames * hop / sample_rate

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
