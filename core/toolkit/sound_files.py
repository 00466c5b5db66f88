"""Decoding of sound files by libsndfile, in blocks."""

from __future__ import annotations

import io
import math
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..contracts.errors import RecordingError

FloatArray = npt.NDArray[np.float32]

COPY_AGAIN = "Copy or download the file again."
BLOCK = 1 << 18  # samples of all channels together that are decoded at a time: 1 MiB

SAMPLES_PER_BYTE = 4096  # no codec stores more; a header that says so is damaged
_UNKNOWN_FRAMES = 1 << 62  # libsndfile's length of a stream of unknown length
_PIPED_SIZE = 0x7FFF_F000  # data sizes from here on mean "unknown" in headers
# Size of the samples, announced and present, in libsndfile's log: WAV and CAF, AIFF, AU, IFF, and
# of the whole file for W64 and RF64.
_SIZES = re.compile(
    r"^\s*(?:data|SSND|Data Size|BODY|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)


class Decoder(Protocol):
    """Reader of one recording.

    Attributes
    ----------
    rate : int
        Sampling rate in hertz.
    frames : int or None
        Number of samples of each channel that the header announces; None if it does not say.
    """

    rate: int
    frames: int | None

    def blocks(self, first: int, last: int | None) -> Iterator[FloatArray]:
        """Yield the samples from `first` to before `last`, None for the end, in order.

        Each block has shape (n, channels), n >= 1, with full scale 1. A part that ends after the
        end of the recording is cut there.

        Raises
        ------
        RecordingError
            If the samples can't be decoded, or the file is truncated.
        """
        ...


class SndfileDecoder:
    """Decoder of the formats that libsndfile knows.

    Parameters
    ----------
    file : binary file
        The open file, without a buffer. It must stay open while the decoder is used.
    path : Path
        Path of the file, for messages.

    Raises
    ------
    soundfile.SoundFileError
        If libsndfile does not know the format.
    RecordingError
        If the file is truncated or does not contain its length.
    """

    rate: int
    frames: int | None

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._path, self._raw = path, file
        self._file = _opened(file)
        self.kind, self.rate = str(self._file.format), int(self._file.samplerate)
        self.frames = self._announced = _announced_frames(self._file, path)
        if is_truncated(file, "ogg" if self.kind == "OGG" else ""):
            raise RecordingError(
                f"{path}: is truncated: the last page of the stream is missing or cut.",
                hint=COPY_AGAIN,
            )

    def close(self) -> None:
        """Release the decoder."""
        self._file.close()

    def length(self) -> int | None:
        """Return the number of samples; None if the header does not contain it."""
        # libsndfile estimates the length of an MP3 file without a header from its bit rate.
        unknown = self.kind == "MP3" and math.isinf(_mp3_slack(self._raw))
        size = os.fstat(self._raw.fileno()).st_size
        return None if unknown or self._announced > size * SAMPLES_PER_BYTE else self._announced

    def blocks(self, first: int, last: int | None) -> Iterator[FloatArray]:
        """Yield the samples from `first` to before `last`; see :meth:`Decoder.blocks`."""
        wanted = (self._announced if last is None else last) - first
        got = 0
        try:
            if self._skip(first):
                for block in self._read(wanted):
                    got += len(block)
                    yield block
        except _errors() as error:
            raise RecordingError(f"{self._path}: can't be read as audio: {error}") from error
        if wanted - got > self._slack(wanted - got):
            raise RecordingError(
                f"{self._path}: is truncated: it has {got} of the {wanted} announced samples.",
                hint=COPY_AGAIN,
            )

    def _skip(self, first: int) -> bool:
        """Go to sample `first`; return False if the file ends before this sample."""
        if self._file.is_seekable:
            self._file.seek(min(first, self._file.frames))
            return True
        # GSM 6.10 and some ADPCM codecs can only be decoded from the start.
        return sum(len(block) for block in self._read(first)) == first

    def _read(self, count: int) -> Iterator[FloatArray]:
        """Yield up to `count` samples from the current position on."""
        size = max(1, BLOCK // self._file.channels)
        while count > 0:
            block: FloatArray = self._file.read(min(size, count), dtype="float32", always_2d=True)
            if len(block):
                yield block
            if len(block) < min(size, count):
                return
            count -= len(block)

    def _slack(self, lacking: int) -> float:
        """Return the number of samples by which a complete file may be too short."""
        if not lacking:
            return 0
        if self.kind == "MP3":
            return _mp3_slack(self._raw)
        # MP3 in WAV: the bytes were counted already, and the codec's padding is not exact.
        return 2 * 1152 if str(self._file.subtype).startswith("MPEG") else 0


@lru_cache(maxsize=1)
def _sequential() -> Any:
    """Return the class of an open sound file without a seek after each block.

    soundfile seeks after each call of ``read``. This is slow, and resets the state of decoders.
    """
    import soundfile

    class Sequential(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
        @property
        def is_seekable(self) -> bool:
            return bool(super().seekable())

        def seekable(self) -> bool:
            return False

    return Sequential


@lru_cache(maxsize=1)
def _errors() -> tuple[type[Exception], ...]:
    import soundfile

    return (soundfile.SoundFileError, OSError, RuntimeError)


def _opened(file: IO[bytes]) -> Any:
    """Open a file by its content. The name is not used, so no bytes in it can be wrong."""
    file.seek(0)
    opened = _sequential()(file.fileno(), closefd=False)
    if opened.format in ("WAV", "WAVEX") and not opened.frames:
        size = _data_without_size(file)
        if size is not None:
            opened.close()
            return _sequential()(size)
    return opened


def _data_without_size(file: IO[bytes]) -> io.RawIOBase | None:
    """Return a WAV file with the size of its samples filled in; None if the size is no mistake.

    A recorder that is stopped by force leaves zero as the size of the samples.
    """
    chunk = _data_chunk(file)
    if chunk is None or chunk[1]:
        return None
    at, _, present = chunk
    file.seek(at)
    following = file.read(8)
    # An empty recording may be followed by another chunk, whose name is printable.
    if len(following) < 8 or re.match(rb"[A-Za-z][ -~]{3}", following):
        return None
    return _Patched(file, at - 4, struct.pack("<I", min(present, 0xFFFF_FFFF)))


def _data_chunk(file: IO[bytes]) -> tuple[int, int, int] | None:
    """Find the samples of a WAV file: position, announced size and present size in bytes."""
    end = file.seek(0, io.SEEK_END)
    at = 12
    while at + 8 <= end:
        file.seek(at)
        name, size = struct.unpack("<4sI", file.read(8))
        at += 8
        if name == b"data":
            return at, size, end - at
        at += size + size % 2
    return None


def is_truncated(file: IO[bytes], kind: str) -> bool:
    """Return True if a WAV or Ogg file ends before its announced end.

    Parameters
    ----------
    file : binary file
        The file; its position is kept.
    kind : str
        Name of the format in lower case: ``"wav"``, ``"ogg"``. Other formats give False.
    """
    with _position_kept(file):
        if kind == "ogg":
            return not _ends_with_last_page(file)
        chunk = _data_chunk(file) if kind == "wav" else None
        return chunk is not None and _lacks_bytes(chunk[1], chunk[2])


def _lacks_bytes(promised: int, present: int) -> bool:
    """Return True if fewer bytes of samples are present than the header promises.

    Some writers count the 44 bytes of the header as data. Programs that write to a pipe announce
    the largest possible size.
    """
    return promised - present > 44 and promised < _PIPED_SIZE


class _Patched(io.RawIOBase):
    """Readable view of a file in which some bytes are replaced."""

    def __init__(self, file: IO[bytes], at: int, content: bytes) -> None:
        self._file, self._at, self._content = file, at, content
        file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        position = self._file.tell()
        content = bytearray(self._file.read(len(buffer)))
        for index, byte in enumerate(self._content, self._at - position):
            if 0 <= index < len(content):
                content[index] = byte
        buffer[: len(content)] = content
        return len(content)


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
    sizes = _SIZES.search(file.extra_info)
    if sizes is None:
        return frames
    promised, present = int(sizes[1]), int(sizes[2])
    if not _lacks_bytes(promised, present):
        return frames
    return max(frames, 1) * promised // max(present, 1)


@contextmanager
def _position_kept(file: IO[bytes]) -> Iterator[None]:
    """Restore the position of a file, which libsndfile shares."""
    position = file.tell()
    try:
        yield
    finally:
        file.seek(position)


def _mp3_slack(file: IO[bytes]) -> float:
    """Return the number of samples by which an mp3 file may be shorter than libsndfile reports.

    Only a Xing (or "Info") header states the length, with an error of up to two frames of 1152
    samples. Without such a header libsndfile estimates the length from a constant bit rate.
    """
    with _position_kept(file):
        file.seek(0)
        tag = file.read(10)  # "ID3", version, flags, then the size in four times seven bits
        if tag[:3] == b"ID3":
            file.seek(10 + sum(byte << 7 * index for index, byte in enumerate(tag[:5:-1])))
        else:
            file.seek(0)
        first_frame = file.read(256)
    return 2 * 1152 if b"Xing" in first_frame or b"Info" in first_frame else math.inf


def _ends_with_last_page(file: IO[bytes]) -> bool:
    """Return True if an Ogg file's last page is complete and marked as the end of the stream.

    The Ogg format has no header with the length of the stream. A missing last page is therefore the
    only sign of truncation. See RFC 3533, section 6.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 2 * 65307))  # a page has at most 65307 bytes
    tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27:
        return False
    segments = page[27 : 27 + page[26]]
    complete = len(page) >= 27 + page[26] + sum(segments)
    return complete and bool(page[5] & 4)
