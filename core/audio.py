"""Reading recordings, and log-mel frames: tools for extractors, whatever they extract."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .contracts.data import Recording
from .errors import ParameterError, RecordingError

FloatArray = npt.NDArray[np.float32]

_AMIN = 1e-10  # smallest power, as in librosa.power_to_db: -100 dB


def load_waveform(recording: Recording, sample_rate: int) -> FloatArray:
    """Samples of a recording: mono, at `sample_rate`, as they are scaled in the file.

    Parameters
    ----------
    recording : Recording
        A wav, flac, ogg or mp3 file, or a part of it.
    sample_rate : int > 0
        In hertz; other rates are resampled (soxr, high quality).

    Returns
    -------
    array
        (n,) float32, n >= 1; full scale is 1.

    Raises
    ------
    RecordingError
        If the file is missing, unreadable, truncated, empty, or holds NaN or infinite samples.
    """
    import soundfile

    path = recording.path
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            start = min(round(recording.start * rate), file.frames)
            stop = file.frames if recording.end is None else round(recording.end * rate)
            wanted = min(stop, file.frames) - start
            file.seek(start)
            samples = file.read(max(wanted, 0), dtype="float32", always_2d=True)  # (n, channels)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        reason = "there is no such file" if not path.exists() else str(error)
        raise RecordingError(f"{path}: can't be read as sound: {reason}") from error
    if wanted <= 0:
        what = "holds no samples" if not file.frames else f"ends before {recording.start} s"
        raise RecordingError(f"{path}: {what}.")
    if len(samples) < wanted:
        raise RecordingError(
            f"{path}: is truncated: {len(samples)} of {wanted} announced samples are there."
        )
    mono: FloatArray = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not np.isfinite(mono).all():
        first = int(np.flatnonzero(~np.isfinite(mono))[0])
        raise RecordingError(f"{path}: sample {first} of {len(mono)} is {mono[first]}.")
    return mono if rate == sample_rate else _resample(mono, rate, sample_rate)


def _resample(samples: FloatArray, rate: int, wanted: int) -> FloatArray:
    import soxr

    resampled: FloatArray = soxr.resample(samples, rate, wanted, quality="HQ")
    # A handful of samples at a high rate can come out as none.
    return resampled if len(resampled) else samples[:1]


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
    """Power of mel bands in decibels (re 1), per frame.

    The numbers of ``librosa.feature.melspectrogram`` followed by
    ``librosa.power_to_db(ref=1.0, top_db=None)``: Hann window, centred frames padded with
    zeros, Slaney mel filters; without librosa's passes over the full spectrogram.

    Parameters
    ----------
    waveform : array
        (n,) float32, n >= 1.
    fmax : float
        In hertz; 0 means half the sample rate.

    Returns
    -------
    array
        (n_mels, 1 + n // hop) float32, from -100 up.
    """
    import scipy.fft

    window, bank = _mel_tools(sample_rate, n_fft, n_mels, fmin, fmax or sample_rate / 2)
    padded = np.pad(waveform, n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]  # (t, n_fft)
    spectrum = scipy.fft.rfft(frames * window, axis=1)  # (t, n_fft // 2 + 1) complex64
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    # Sparse: each band looks at a few bins, a dense product would be nearly all zeros.
    mel = bank @ power.T  # (n_mels, t)
    decibels: FloatArray = 10 * np.log10(np.maximum(mel, _AMIN), dtype=np.float32)
    return decibels


@lru_cache(maxsize=8)
def _mel_tools(
    sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float
) -> tuple[FloatArray, Any]:
    import scipy.signal
    import scipy.sparse
    from librosa.filters import mel

    window = scipy.signal.get_window("hann", n_fft, fftbins=True).astype(np.float32)
    bank = mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    return window, scipy.sparse.csr_matrix(bank)


def check_spectrum(owner: str, given: Mapping[str, float]) -> None:
    """Check the parameters of :func:`log_mel`, named as there, for extractor `owner`.

    Raises
    ------
    ParameterError
        Naming the one that is out of range.
    """
    for name in ("sample_rate", "n_fft", "hop", "n_mels"):
        if given[name] < 1:
            raise ParameterError(f"{owner}.{name} must be 1 or more, and is {given[name]}.")
    nyquist = given["sample_rate"] / 2
    fmin, fmax = given.get("fmin", 0.0), given.get("fmax", 0.0) or nyquist
    if not 0 <= fmin < fmax <= nyquist:
        raise ParameterError(
            f"{owner} needs 0 <= fmin < fmax <= {nyquist:g} Hz (half the sample rate); "
            f"given fmin={fmin:g}, fmax={fmax:g}."
        )


def trim_silence(decibels: FloatArray, trim_db: float) -> FloatArray:
    """Cut frames at both ends that are more than `trim_db` quieter than the loudest one.

    Parameters
    ----------
    decibels : array
        (n_mels, t).
    trim_db : float
        0 cuts nothing.
    """
    if trim_db <= 0:
        return decibels
    level = 10 * np.log10(np.power(10.0, decibels / 10).mean(axis=0))  # (t,)
    loud = np.flatnonzero(level >= level.max() - trim_db)
    return decibels[:, loud[0] : loud[-1] + 1]


def fit_frames(spectrogram: FloatArray, frames: int, fill: float) -> FloatArray:
    """(bands, t) -> (bands, frames): the middle of longer ones, shorter ones amid `fill`."""
    bands, have = spectrogram.shape
    if have >= frames:
        start = (have - frames) // 2
        return np.ascontiguousarray(spectrogram[:, start : start + frames], dtype=np.float32)
    image = np.full((bands, frames), fill, np.float32)
    start = (frames - have) // 2
    image[:, start : start + have] = spectrogram
    return image
