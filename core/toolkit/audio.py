"""Tools for extractors: reading recordings, and log-mel spectrograms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contracts.data import Recording
from ..contracts.errors import ParameterError, RecordingError

FloatArray = npt.NDArray[np.float32]

_AMIN = 1e-10  # minimum power, as in librosa.power_to_db: -100 dB
_BLOCK = 64  # frames transformed at a time; a block fits the processor's cache
_LOUDEST = 1e12  # above any integer sample; squared spectra do not overflow float32
_UNKNOWN_FRAMES = 1 << 62  # libsndfile's length of a stream of unknown length
_COPY_AGAIN = "Copy or download the file again."
_PIPED_SIZE = 0x7FFF_F000  # data sizes from here on mean "unknown" in wav headers


def load_waveform(recording: Recording, sample_rate: int) -> FloatArray:
    """Return the samples of a recording: mono, at `sample_rate`, scaled as in the file.

    Parameters
    ----------
    recording : Recording
        A wav, flac, ogg or mp3 file, or a part of such a file. A part that ends after the end of
        the file is cut there.
    sample_rate : int > 0
        In hertz; files with other rates are resampled (soxr, high quality).

    Returns
    -------
    array
        (n,) float32, n >= 1; full scale is 1. Channels are mixed by their mean.

    Raises
    ------
    RecordingError
        If the file is missing, unreadable, truncated or empty, if the part is outside the file,
        or if a sample is NaN, infinite or too large for any audio format.
    """
    samples, rate = _read(recording)
    bad = np.flatnonzero(~(np.abs(samples) < _LOUDEST).all(axis=1))  # NaN compares as False
    if len(bad):
        first = round(recording.start * rate) + int(bad[0])
        raise RecordingError(
            f"{recording.path}: sample {first} is {samples[bad[0]].tolist()}, which is not audio."
        )
    mono: FloatArray = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    return mono if rate == sample_rate else _resample(mono, rate, sample_rate)


def _read(recording: Recording) -> tuple[FloatArray, int]:
    """Return the samples of the part, (n, channels) with n >= 1, and their rate in hertz."""
    import soundfile

    path = recording.path
    try:
        with soundfile.SoundFile(path) as file:
            rate, kind = file.samplerate, file.format
            start, stop = _span(recording, rate, _announced_frames(file, path))
            file.seek(min(start, file.frames))
            samples: FloatArray = file.read(stop - start, dtype="float32", always_2d=True)
        slack = _mp3_slack(path) if kind == "MP3" else 0
        ended = kind != "OGG" or _ends_with_last_page(path)
    # TypeError: soundfile treats files called .raw as samples without a header.
    except (soundfile.SoundFileError, OSError, RuntimeError, TypeError) as error:
        reason = "the file does not exist" if not path.exists() else str(error)
        raise RecordingError(f"{path}: can't be read as audio: {reason}") from error
    if stop - start - len(samples) > slack:
        raise RecordingError(
            f"{path}: is truncated: it has {len(samples)} of the {stop - start} announced samples.",
            hint=_COPY_AGAIN,
        )
    if not ended:
        raise RecordingError(
            f"{path}: is truncated: the last page of the stream is missing or cut.",
            hint=_COPY_AGAIN,
        )
    if not len(samples):
        raise RecordingError(f"{path}: ends before {recording.start:g} s.")
    return samples, rate


def _span(recording: Recording, rate: int, frames: int) -> tuple[int, int]:
    """Return the start and stop sample of the part, 0 <= start < stop <= frames."""
    path, start = recording.path, recording.start
    end = math.inf if recording.end is None else recording.end
    if not 0 <= start < end:
        raise RecordingError(
            f"{path}: has no part from {start:g} s to {end:g} s (needs 0 <= start < end)."
        )
    if frames < 1:
        raise RecordingError(f"{path}: holds no samples.")
    if start * rate >= frames:
        raise RecordingError(
            f"{path}: is {frames / rate:g} s long, so no part can start at {start:g} s."
        )
    first, last = round(start * rate), round(min(end * rate, frames))
    if first >= last:
        raise RecordingError(f"{path}: has no sample between {start:g} s and {end:g} s.")
    return first, last


def _announced_frames(file: Any, path: Path) -> int:
    """Return the number of frames that the header announces.

    libsndfile reports the number of frames that are present, which hides a truncated file.
    """
    frames = int(file.frames)
    if frames >= _UNKNOWN_FRAMES:
        raise RecordingError(
            f"{path}: the header does not contain the length.",
            hint="Write the file again, e.g. with: ffmpeg -i OLD NEW",
        )
    sizes = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if sizes is None:
        return frames
    promised, present = int(sizes[1]), int(sizes[2])
    # Some writers count the 44 bytes of the header as data. Programs that write to a pipe
    # announce the largest possible size.
    if promised - present <= 44 or promised >= _PIPED_SIZE:
        return frames
    return frames * promised // max(present, 1)


def _mp3_slack(path: Path) -> float:
    """Return the number of samples by which an mp3 file may be shorter than libsndfile reports.

    Only a Xing (or "Info") header states the length, with an error of up to two frames of 1152
    samples. Without such a header libsndfile estimates the length from a constant bit rate.
    """
    with path.open("rb") as file:
        tag = file.read(10)  # "ID3", version, flags, then the size in four times seven bits
        if tag[:3] == b"ID3":
            file.seek(10 + sum(byte << 7 * index for index, byte in enumerate(tag[:5:-1])))
        else:
            file.seek(0)
        first_frame = file.read(256)
    return 2 * 1152 if b"Xing" in first_frame or b"Info" in first_frame else math.inf


def _ends_with_last_page(path: Path) -> bool:
    """Return True if an Ogg file's last page is complete and marked as the end of the stream.

    The Ogg format has no header with the length of the stream. A missing last page is therefore the
    only sign of truncation. See RFC 3533, section 6.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2 * 65307))  # a page has at most 65307 bytes
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27:
        return False
    segments = page[27 : 27 + page[26]]
    complete = len(page) >= 27 + page[26] + sum(segments)
    return complete and bool(page[5] & 4)


def _resample(samples: FloatArray, rate: int, wanted: int) -> FloatArray:
    """Resample to `wanted` hertz; the result has at least one sample."""
    import soxr

    resampled: FloatArray = soxr.resample(samples, rate, wanted, quality="HQ")
    # Resampling a few samples at a high rate can give an empty array.
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
