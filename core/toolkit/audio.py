"""Reading recordings, and log-mel frames: tools for extractors, whatever they extract."""

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

_AMIN = 1e-10  # smallest power, as in librosa.power_to_db: -100 dB
_BLOCK = 64  # frames transformed at a time: what fits the processor's cache
_LOUDEST = 1e12  # above any integer scale, while the square of a spectrum still fits float32
_UNKNOWN_FRAMES = 1 << 62  # libsndfile's length of a stream that does not tell
_COPY_AGAIN = "Copy or download the file again."
_PIPED_SIZE = 0x7FFF_F000  # data sizes from here on stand for "unknown" in wav headers


def load_waveform(recording: Recording, sample_rate: int) -> FloatArray:
    """Samples of a recording: mono, at `sample_rate`, as they are scaled in the file.

    Parameters
    ----------
    recording : Recording
        A wav, flac, ogg or mp3 file, or a part of it. A part that ends after the file does
        ends with the file.
    sample_rate : int > 0
        In hertz; other rates are resampled (soxr, high quality).

    Returns
    -------
    array
        (n,) float32, n >= 1; full scale is 1. Channels are mixed by their mean.

    Raises
    ------
    RecordingError
        If the file is missing, unreadable, truncated or empty, if the part lies outside of
        it, or if a sample is NaN, infinite or beyond any scale that sound is stored in.
    """
    samples, rate = _read(recording)
    bad = np.flatnonzero(~(np.abs(samples) < _LOUDEST).all(axis=1))  # NaN compares as False
    if len(bad):
        first = round(recording.start * rate) + int(bad[0])
        raise RecordingError(
            f"{recording.path}: sample {first} is {samples[bad[0]].tolist()}, which is no sound."
        )
    mono: FloatArray = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    return mono if rate == sample_rate else _resample(mono, rate, sample_rate)


def _read(recording: Recording) -> tuple[FloatArray, int]:
    """Samples of the part, (n, channels) with n >= 1, and their rate in hertz."""
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
    # TypeError: soundfile takes files called .raw for samples without a header.
    except (soundfile.SoundFileError, OSError, RuntimeError, TypeError) as error:
        reason = "there is no such file" if not path.exists() else str(error)
        raise RecordingError(f"{path}: can't be read as sound: {reason}") from error
    if stop - start - len(samples) > slack:
        raise RecordingError(
            f"{path}: is truncated: of {stop - start} announced samples {len(samples)} are there.",
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
    """First sample of the part and the one after its last, 0 <= first < last <= frames."""
    path, start = recording.path, recording.start
    end = math.inf if recording.end is None else recording.end
    if not 0 <= start < end:
        raise RecordingError(f"{path}: there is no part from {start:g} s to {end:g} s.")
    if frames < 1:
        raise RecordingError(f"{path}: holds no samples.")
    if start * rate >= frames:
        raise RecordingError(f"{path}: is {frames / rate:g} s long, and {start:g} s was asked for.")
    first, last = round(start * rate), round(min(end * rate, frames))
    if first >= last:
        raise RecordingError(f"{path}: no sample lies between {start:g} s and {end:g} s.")
    return first, last


def _announced_frames(file: Any, path: Path) -> int:
    """How many frames the header promises: libsndfile corrects that to what is there."""
    frames = int(file.frames)
    if frames >= _UNKNOWN_FRAMES:
        raise RecordingError(
            f"{path}: its header does not say how long it is.",
            hint="Write it anew, e.g. with: ffmpeg -i OLD NEW",
        )
    sizes = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if sizes is None:
        return frames
    promised, present = int(sizes[1]), int(sizes[2])
    # Some writers count the 44 bytes of the header as data; programs that write to a pipe
    # put in the largest size they know.
    if promised - present <= 44 or promised >= _PIPED_SIZE:
        return frames
    return frames * promised // max(present, 1)


def _mp3_slack(path: Path) -> float:
    """How many samples an mp3 may have less than libsndfile says.

    Only a Xing (or "Info") header states the length, and that to within a frame or two of
    1152 samples; without one libsndfile guesses, as if the bit rate were constant.
    """
    with path.open("rb") as file:
        tag = file.read(10)  # "ID3", version, flags, then the size in four times seven bits
        if tag[:3] == b"ID3":
            file.seek(10 + sum(byte << 7 * place for place, byte in enumerate(tag[:5:-1])))
        else:
            file.seek(0)
        first_frame = file.read(256)
    return 2 * 1152 if b"Xing" in first_frame or b"Info" in first_frame else math.inf


def _ends_with_last_page(path: Path) -> bool:
    """Whether an Ogg file's last page is whole and marked as the end of the stream.

    No header of the format says how long the stream is: this is how a cut shows.
    See RFC 3533, section 6.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2 * 65307))  # a page has at most 65307 bytes
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27:
        return False
    segments = page[27 : 27 + page[26]]
    whole = len(page) >= 27 + page[26] + sum(segments)
    return whole and bool(page[5] & 4)


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
    mel = np.empty((n_mels, len(frames)), np.float32)
    for start in range(0, len(frames), _BLOCK):
        block = frames[start : start + _BLOCK] * window  # (b, n_fft)
        spectrum = scipy.fft.rfft(block, axis=1)  # (b, n_fft // 2 + 1) complex64
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        # Sparse: each band looks at a few bins, a dense product would be nearly all zeros.
        mel[:, start : start + _BLOCK] = bank @ power.T
    decibels: FloatArray = 10 * np.log10(np.maximum(mel, _AMIN))
    return decibels


def is_silent(decibels: FloatArray) -> bool:
    """Whether nothing in the result of :func:`log_mel` is above its floor."""
    return bool(decibels.max() < -99.99)


def mel_heights(
    recording: Recording, spectrum: Mapping[str, int], *, top_db: float, trim_db: float
) -> FloatArray:
    """Return the mel bands of a recording in decibels above a floor; silence has no frames.

    Parameters
    ----------
    spectrum : mapping
        Parameters of :func:`log_mel`.
    top_db : float
        The floor lies so far below the maximum of the recording, in decibels.
    trim_db : float
        As for :func:`trim_silence`.

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
