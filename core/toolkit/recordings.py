"""Reading of recordings of any format as one channel at a given sampling rate."""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from ..contracts.data import Recording
from ..contracts.errors import ParameterError, RecordingError
from .audio_formats import format_of
from .containers import ContainerDecoder, UnknownFormatError
from .not_audio import describe_other_file
from .sound_files import Decoder, FloatArray, SndfileDecoder

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # sampling rates that are accepted, in hertz
LONGEST = 1 << 30  # samples of a result: 18.6 hours at 16 kHz, 4 GiB
# Seconds that a header may announce: recordings of a whole week exist, and longer ones come in
# several files. A damaged header can announce years.
LONGEST_ANNOUNCED = 7 * 24 * 3600

_LOUDEST = 1e12  # above any integer sample; squared spectra do not overflow float32


def load_waveform(recording: Recording, sample_rate: int) -> FloatArray:
    """Return the samples of a recording: mono, at `sample_rate`, scaled as in the file.

    The recording is decoded, mixed and resampled in blocks, so the memory in use is that of the
    result and a few MiB, whatever the length, rate and number of channels of the file. The blocks
    do not change the result: it equals, bit for bit, the result of reading everything at once and
    resampling with ``soxr.resample``. Only the requested part of a file is decoded if its codec
    can seek.

    Parameters
    ----------
    recording : Recording
        A file of any format in :data:`~fusion.core.toolkit.audio_formats.FORMATS`, or a part of
        such a file. Its content decides how it is read, not its suffix. A part that ends after the
        end of the file is cut there. Of a video, the first audio stream is read.
    sample_rate : int > 0
        In hertz, up to 768 kHz; files with other rates are resampled (soxr, high quality).

    Returns
    -------
    array
        (n,) float32, n >= 1; full scale is 1. Channels are mixed by their mean.

    Raises
    ------
    RecordingError
        If the file is missing, unreadable, truncated or empty, if its format needs PyAV and PyAV
        is not installed, if the part is outside the file, if a sample is NaN, infinite or too
        large for any audio format, if the sampling rate of the file is outside 1 to 768 kHz, or
        if the result would have more than 2**30 samples.
    ParameterError
        If `sample_rate` is not from 1 to 768,000.
    """
    if not 1 <= sample_rate <= HIGHEST_RATE:
        raise ParameterError(
            f"The sampling rate must be from 1 to {HIGHEST_RATE} Hz, and is {sample_rate}."
        )
    with open_decoder(recording.path) as decoder:
        first, last = span_of(recording, decoder)
        expected = max(0, (last or decoder.frames or 0) - first)
        result = _Mono(recording.path, expected * sample_rate / decoder.rate)
        resampler = _Resampler(decoder.rate, sample_rate)
        count = 0  # samples of the file, so far
        for block in decoder.blocks(first, last):
            _check_finite(recording.path, block, first + count)
            count += len(block)
            mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
            result.append(resampler(mono))
        if not count:
            raise RecordingError(f"{recording.path}: ends before {recording.start:g} s.")
        result.append(resampler.rest())
        return result.all()


def duration_of(recording: Recording) -> float | None:
    """Return the length of a recording, or of its part, in seconds.

    The length is taken from the header of the file, within a fraction of a millisecond.

    Parameters
    ----------
    recording : Recording
        The recording. A part that ends after the end of the file is cut there.

    Returns
    -------
    float or None
        Length in seconds, > 0. None if the file can't be read, does not contain its length, has
        no such part, or announces more than seven days or more than its bytes can hold.
    """
    try:
        with open_decoder(recording.path) as decoder:
            length = decoder.length()
            if not length:
                return None
            seconds = length / decoder.rate
    except (RecordingError, ParameterError):
        return None
    if seconds > LONGEST_ANNOUNCED:
        return None
    end = seconds if recording.end is None else min(recording.end, seconds)
    part = end - recording.start
    return part if recording.start >= 0 and part > 0 else None


def has_samples_before(path: Path, end: float) -> bool:
    """Return whether the last 0.1 s before `end`, in seconds, of a file can be decoded."""
    try:
        with open_decoder(path) as decoder:
            part = Recording(path, max(0.0, end - 0.1), end)
            return any(len(block) for block in decoder.blocks(*span_of(part, decoder)))
    except RecordingError:
        return False


@contextmanager
def open_decoder(path: Path) -> Iterator[SndfileDecoder | ContainerDecoder]:
    """Open a recording with the first library that knows its format.

    Raises
    ------
    RecordingError
        If no library can read the file; the message says what the file is, or what to install.
    """
    import soundfile

    with _regular_file(path) as file:
        try:
            decoder: SndfileDecoder | ContainerDecoder = SndfileDecoder(file, path)
        # soundfile raises other RuntimeErrors and OSErrors for damaged headers.
        except (soundfile.SoundFileError, OSError, RuntimeError) as error:
            decoder = _container(file, path, _reason(error))
        with closing(decoder):
            if not LOWEST_RATE <= decoder.rate <= HIGHEST_RATE:
                raise RecordingError(
                    f"{path}: has a sampling rate of {decoder.rate} Hz. Rates from {LOWEST_RATE} "
                    f"to {HIGHEST_RATE} Hz are accepted."
                )
            yield decoder


@contextmanager
def _regular_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file; a device or a pipe could block for ever."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise RecordingError(f"{path}: can't be read as audio: it is not a regular file.")
        file = path.open("rb", buffering=0)
    except (OSError, ValueError) as error:
        reason = "the file does not exist" if not path.exists() else str(error)
        raise RecordingError(f"{path}: can't be read as audio: {reason}") from error
    with file:
        yield file


def _reason(error: Exception) -> str:
    """Return libsndfile's text of an error, without the name of the file."""
    text = str(getattr(error, "error_string", error))
    # libsndfile's message for an MP3 stream in which its decoder finds no frame.
    return "the file is truncated or damaged." if "possibly a pipe" in text else text


def _container(file: IO[bytes], path: Path, reason: str) -> ContainerDecoder:
    """Open a file that libsndfile refused for `reason` with PyAV.

    Raises
    ------
    RecordingError
        If PyAV is not installed, or refuses the file as well.
    """
    if other := describe_other_file(file):
        raise RecordingError(f"{path}: can't be read as audio: {other}")
    kind = format_of(path)
    by_pyav = kind is not None and kind.library == "PyAV"
    try:
        return ContainerDecoder(file, path)
    except ParameterError as error:  # PyAV is not installed
        text = f"{error.message} {error.hint}"
        if not by_pyav:
            text = f"{reason} PyAV may know the format. {text}"
        raise RecordingError(f"{path}: can't be read as audio: {text}") from error
    except UnknownFormatError as error:
        if by_pyav:
            raise
        raise RecordingError(f"{path}: can't be read as audio: {reason}") from error


def span_of(recording: Recording, decoder: Decoder) -> tuple[int, int | None]:
    """Return the start and stop sample of a recording, 0 <= start < stop; None means the end.

    Raises
    ------
    RecordingError
        If the file has no such part, or no sample in it.
    """
    path, start = recording.path, recording.start
    rate, frames = decoder.rate, decoder.frames
    end = math.inf if recording.end is None else recording.end
    if not 0 <= start < end:
        raise RecordingError(
            f"{path}: has no part from {start:g} s to {end:g} s (needs 0 <= start < end)."
        )
    if frames is not None and frames < 1:
        raise RecordingError(f"{path}: holds no samples.")
    if frames is not None and start * rate >= frames:
        raise RecordingError(
            f"{path}: is {frames / rate:g} s long, so no part can start at {start:g} s."
        )
    whole = end * rate >= (math.inf if frames is None else frames)
    last = frames if whole else round(end * rate)
    first = round(start * rate)
    if last is not None and first >= last:
        raise RecordingError(f"{path}: has no sample between {start:g} s and {end:g} s.")
    return first, None if whole else last


def _check_finite(path: Path, block: FloatArray, first: int) -> None:
    """Raise if a sample of a block, whose first sample has index `first`, is no audio."""
    if np.abs(block).max() < _LOUDEST:  # NaN compares as False
        return
    bad = int(np.flatnonzero(~(np.abs(block) < _LOUDEST).all(axis=1))[0])
    raise RecordingError(
        f"{path}: sample {first + bad} is {block[bad].tolist()}, which is not audio."
    )


class _Mono:
    """The result while it is being read: an array that grows.

    Parameters
    ----------
    path : Path
        Path of the recording, for messages.
    expected : float
        Expected number of samples; 0 if unknown.
    """

    def __init__(self, path: Path, expected: float) -> None:
        self._path, self._count = path, 0
        self._check(expected)
        self._array: FloatArray = np.empty(math.ceil(expected) + 1, np.float32)

    def append(self, samples: FloatArray) -> None:
        """Append samples, shape (n,)."""
        count = self._count + len(samples)
        self._check(count)
        if count > len(self._array):
            self._array.resize(max(count, len(self._array) * 5 // 4), refcheck=False)
        self._array[self._count : count] = samples
        self._count = count

    def all(self) -> FloatArray:
        """Return all samples; nothing may be appended afterwards."""
        self._array.resize(self._count, refcheck=False)
        return self._array

    def _check(self, count: float) -> None:
        if count > LONGEST:
            raise RecordingError(
                f"{self._path}: is too long: the waveform would have more than {LONGEST} samples.",
                hint="Divide the recording, or use parts of it (start and end).",
            )


class _Resampler:
    """Conversion of the sampling rate, block by block; the result has at least one sample."""

    def __init__(self, rate: int, wanted: int) -> None:
        import soxr

        self._stream = (
            None
            if rate == wanted
            else soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="HQ")
        )
        self._first: FloatArray = np.empty(0, np.float32)  # first sample of the input
        self._empty = True

    def __call__(self, samples: FloatArray) -> FloatArray:
        """Return the samples that can be computed so far, shape (n,)."""
        if self._stream is None:
            return samples
        if not len(self._first):
            self._first = samples[:1].copy()
        return self._counted(self._stream.resample_chunk(samples))

    def rest(self) -> FloatArray:
        """Return the samples that remain at the end of the input, shape (n,)."""
        if self._stream is None:
            return self._first
        rest = self._counted(self._stream.resample_chunk(np.empty(0, np.float32), last=True))
        # Resampling a few samples at a high rate can give no sample.
        return self._first if self._empty else rest

    def _counted(self, resampled: FloatArray) -> FloatArray:
        self._empty = self._empty and not len(resampled)
        return resampled
