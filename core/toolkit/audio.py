"""Tools for extractors: log-mel spectrograms, and the functions of recordings, re-exported."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ..contracts.data import Recording
from ..contracts.errors import ParameterError
from .recordings import duration_of, load_waveform
from .sound_files import FloatArray

__all__ = [
    "FloatArray",
    "check_spectrum",
    "duration_of",
    "fit_frames",
    "is_silent",
    "load_waveform",
    "log_mel",
    "mel_heights",
    "trim_silence",
]

_AMIN = 1e-10  # minimum power, as in librosa.power_to_db: -100 dB
_BLOCK = 64  # frames transformed at a time; a block fits the processor's cache


def log_mel(
    waveform: FloatArray,
    *,
    sample_rate: int,
    n_fft: int,
    hop: int,
    n_mels: int,
    fmin: float = 0.0,
    fmax: float = 0.0,
) -> FloatArray:
    """Return the power of mel bands in decibels (re 1), per frame.

    The values equal those of ``librosa.feature.melspectrogram`` followed by
    ``librosa.power_to_db(ref=1.0, top_db=None)``: Hann window, centred frames padded with
    zeros, Slaney mel filters. This function avoids librosa's passes over the full spectrogram.

    Parameters
    ----------
    waveform : array
        (n,) float32, n >= 1.
    sample_rate : int
        Sample rate in hertz.
    n_fft, hop : int
        Window length and distance between frames, in samples.
    n_mels : int
        Number of mel bands.
    fmin, fmax : float
        Frequency range in hertz; `fmax` = 0 means half the sample rate.

    Returns
    -------
    array
        (n_mels, 1 + n // hop) float32, from -100 up.
    """
    import scipy.fft

    window, bank = _mel_tools(sample_rate, n_fft, n_mels, fmin, fmax or sample_rate / 2)
    padded = np.pad(waveform, n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]  # (t, n_fft)
    mel = np.empty((n_mels, len(frames)), np.float32)
    for start in range(0, len(frames), _BLOCK):
        block = frames[start : start + _BLOCK] * window  # (b, n_fft)
        spectrum = scipy.fft.rfft(block, axis=1)  # (b, n_fft // 2 + 1) complex64
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        # The filter bank is sparse: each band uses a few bins, so a dense matrix would be nearly
        # all zeros.
        mel[:, start : start + _BLOCK] = bank @ power.T
    decibels: FloatArray = 10 * np.log10(np.maximum(mel, _AMIN))
    return decibels


def is_silent(decibels: FloatArray) -> bool:
    """Return True if no value of a :func:`log_mel` spectrogram is above its floor of -100 dB."""
    return bool(decibels.max() < -99.99)


def mel_heights(
    recording: Recording, spectrum: Mapping[str, int], *, top_db: float, trim_db: float
) -> FloatArray:
    """Return the mel bands of a recording in decibels above a floor; silence has no frames.

    Parameters
    ----------
    recording : Recording
        Recording, as in :func:`load_waveform`.
    spectrum : mapping
        Parameters of :func:`log_mel`.
    top_db : float
        Distance of the floor from the maximum of the recording, in decibels.
    trim_db : float
        Threshold in decibels, as in :func:`trim_silence`.

    Returns
    -------
    array
        (n_mels, t) float32, at least 0; t = 0 for silence.

    Raises
    ------
    RecordingError
        If the recording can't be read.
    """
    decibels = log_mel(load_waveform(recording, spectrum["sample_rate"]), **spectrum)
    if is_silent(decibels):
        return decibels[:, :0]
    decibels = trim_silence(decibels, trim_db)
    heights: FloatArray = decibels - decibels.max() + np.float32(top_db)
    return np.maximum(heights, 0, out=heights)


@lru_cache(maxsize=8)
def _mel_tools(
    sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float
) -> tuple[FloatArray, Any]:
    """Return the window (n_fft,) and the sparse filter bank (n_mels, 1 + n_fft // 2)."""
    import scipy.signal
    import scipy.sparse
    from librosa.filters import mel

    window = scipy.signal.get_window("hann", n_fft, fftbins=True).astype(np.float32)
    bank = mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    return window, scipy.sparse.csr_matrix(bank)


def check_spectrum(owner: str, parameters: Mapping[str, float]) -> None:
    """Raise if a parameter of :func:`log_mel` is out of range, for extractor `owner`.

    Raises
    ------
    ParameterError
        If a parameter is out of range; the message names the parameter.
    """
    for name in ("sample_rate", "n_fft", "hop", "n_mels"):
        if parameters[name] < 1:
            raise ParameterError(f"{owner}.{name} must be 1 or more, and is {parameters[name]}.")
    nyquist = parameters["sample_rate"] / 2
    fmin, fmax = parameters.get("fmin", 0.0), parameters.get("fmax", 0.0) or nyquist
    if not 0 <= fmin < fmax <= nyquist:
        raise ParameterError(
            f"{owner} needs 0 <= fmin < fmax <= {nyquist:g} Hz (half the sample rate), "
            f"and was given fmin={fmin:g}, fmax={fmax:g}."
        )


def trim_silence(decibels: FloatArray, trim_db: float) -> FloatArray:
    """Remove frames at both ends that are more than `trim_db` below the loudest frame.

    Parameters
    ----------
    decibels : array
        (n_mels, t) powers of mel bands in decibels.
    trim_db : float
        Threshold in decibels; with 0 or less, no frame is removed.
    """
    if trim_db <= 0:
        return decibels
    level = 10 * np.log10(np.power(10.0, decibels / 10).mean(axis=0))  # (t,)
    loud = np.flatnonzero(level >= level.max() - trim_db)
    return decibels[:, loud[0] : loud[-1] + 1]


def fit_frames(spectrogram: FloatArray, frames: int, fill: float) -> FloatArray:
    """Crop or pad a spectrogram equally at both ends, with `fill`, to shape (bands, frames)."""
    bands, have = spectrogram.shape
    if have >= frames:
        start = (have - frames) // 2
        return np.ascontiguousarray(spectrogram[:, start : start + frames], dtype=np.float32)
    image = np.full((bands, frames), fill, np.float32)
    start = (frames - have) // 2
    image[:, start : start + have] = spectrogram
    return image
