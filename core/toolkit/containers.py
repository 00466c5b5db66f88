"""Decoding of containers such as MP4, WebM and WMA by PyAV (FFmpeg), in blocks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..contracts.errors import RecordingError
from .optional import required
from .sound_files import COPY_AGAIN, SAMPLES_PER_BYTE, FloatArray, is_truncated

# Demuxers that read one file. Playlists (HLS, concat) are left out, because they open the files
# and addresses that they name. MP3 and FLAC are left out, because libsndfile decodes each intact
# file and finds truncated files.
_DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dss,eac3,flv,iff,matroska,mov,mp4,mpeg,"
    "mpegts,nistsphere,ogg,qcp,rm,tak,tta,voc,w64,wav,webm,wv,xwma"
)
# Demuxers that take the length from a header. The others estimate the length from the bit rate.
_WITH_LENGTH = {
    *("aiff", "ape", "asf", "au", "caf", "flv", "matroska", "mov", "nistsphere", "ogg", "rm"),
    *("tta", "w64", "wav", "wv"),
}
# Of these, an incomplete file is no error for the demuxer, so the end is compared with the header.
# The length of WAV may be computed from a bit rate; its bytes are counted instead.
_CHECKED = _WITH_LENGTH - {"asf", "mov", "wav"}
_SLACK = 0.25  # seconds by which the end may differ: padding of codecs, rounded headers
_PREROLL = 0.5  # seconds decoded before a part: overlapping frames of AAC, pre-roll of Opus

_SCALES = {"u8": 1 << 7, "s16": 1 << 15, "s32": 1 << 31, "s64": 1 << 63, "flt": 1, "dbl": 1}


class UnknownFormatError(RecordingError):
    """A file that FFmpeg does not know."""


class _Anonymous:
    """File without a name, so that FFmpeg examines the content only."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def _errors() -> tuple[type[Exception], ...]:
    """Return the classes of errors by which PyAV reports a damaged file."""
    from av.error import FFmpegError

    return (FFmpegError, ValueError, OSError, RuntimeError, LookupError, EOFError)


def _opened(file: IO[bytes], path: Path) -> Any:
    """Open a container by its content."""
    av = required("av", extra="av", by="The format", package="PyAV (av)")
    file.seek(0)
    try:
        return av.open(
            _Anonymous(file),
            metadata_errors="replace",
            container_options={"format_whitelist": _DEMUXERS, "protocol_whitelist": "none"},
        )
    except _errors() as error:
        raise UnknownFormatError(
            f"{path}: can't be read as audio: the file is truncated, damaged or no audio file "
            f"(FFmpeg: {_reason(error)})."
        ) from error


class ContainerDecoder:
    """Decoder of the first audio stream of a container.

    Parameters
    ----------
    file : binary file
        The open file. It must stay open while the decoder is used.
    path : Path
        Path of the file, for messages.

    Raises
    ------
    ParameterError
        If PyAV is not installed.
    RecordingError
        If FFmpeg does not know the format, the file has no audio stream, or its first frame can't
        be decoded.
    """

    rate: int
    frames: int | None

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self._open()
        if any(is_truncated(file, demuxer) for demuxer in self._demuxers):
            raise RecordingError(
                f"{path}: is truncated: it ends before its announced end.", hint=COPY_AGAIN
            )
        self.rate = int(self._head[0].sample_rate)
        self._origin = self._time_of_start()
        seconds = self._seconds()
        self.frames = None if seconds is None else round(seconds * self.rate)

    def _open(self) -> None:
        """Open the container and decode two frames."""
        self._container = _opened(self._file, self._path)
        self._demuxers = set(str(self._container.format.name).split(","))
        if not self._container.streams.audio:
            kinds = ", ".join(sorted({stream.type for stream in self._container.streams}))
            raise RecordingError(
                f"{self._path}: holds no sound: it has no audio stream, only: {kinds or 'nothing'}."
            )
        self._stream = self._container.streams.audio[0]
        self._rest = self._decoded()
        self._head = list(islice(self._rest, 2))
        if not self._head:
            raise RecordingError(f"{self._path}: holds no samples.")
        self._at_start = True

    def close(self) -> None:
        """Release the decoder."""
        self._container.close()

    def length(self) -> int | None:
        """Return the number of samples; None without a length in the header, or a false one."""
        size = os.fstat(self._file.fileno()).st_size
        possible = self.frames is not None and self.frames <= size * SAMPLES_PER_BYTE
        return self.frames if possible else None

    def blocks(self, first: int, last: int | None) -> Iterator[FloatArray]:
        """Yield the samples from `first` to before `last`; see :meth:`Decoder.blocks`.

        The position of a part is exact to the unit of the container's time stamps, which is one
        sample in MP4 and a millisecond in Matroska.
        """
        frames, position = self._go_to(first)
        for frame in frames:
            if position is None:
                position = self._position(frame)
                if position is None or position > first:  # the container can't seek to this place
                    yield from self._from_start(first, last)
                    return
            block = self._samples(frame)
            start, position = position, position + len(block)
            part = block[max(0, first - start) : None if last is None else max(0, last - start)]
            if len(part):
                yield part
            if last is not None and position >= last:
                return
        self._check_end(position or 0)

    def _from_start(self, first: int, last: int | None) -> Iterator[FloatArray]:
        """Yield a part by decoding everything before it."""
        position = 0
        for block in self.blocks(0, last):
            if position + len(block) > first:
                yield block[max(0, first - position) :]
            position += len(block)

    def _go_to(self, first: int) -> tuple[Iterator[Any], int | None]:
        """Return the frames from one before sample `first` on, and the position of the first frame.

        The position is None if it is not known before the frame is decoded.
        """
        target = first / self.rate - _PREROLL
        if target > 0:
            self._at_start = False
            offset = int((target + self._origin) / self._stream.time_base)
            with suppress(*_errors()):  # formats without an index can't seek
                self._container.seek(offset, stream=self._stream)
                return self._decoded(), None
        if not self._at_start:  # FFmpeg removes a codec's priming samples after opening only
            self.close()
            self._open()
        self._at_start = False
        return chain(self._head, self._rest), 0

    def _time_of_start(self) -> float:
        """Return the time stamp of the first sample, in seconds, from the first frames.

        FFmpeg removes the priming samples of a codec from the first frame and may keep the frame's
        time stamp. The second frame's time stamp is that of its first sample.
        """
        *before, last = self._head
        if last.pts is None:
            return 0.0
        return float(last.pts * last.time_base) - float(sum(f.samples for f in before)) / self.rate

    def _position(self, frame: Any) -> int | None:
        """Return the index of a frame's first sample; None without a time stamp."""
        if frame.pts is None:
            return None
        return round((float(frame.pts * frame.time_base) - self._origin) * self.rate)

    def _decoded(self) -> Iterator[Any]:
        """Yield the frames from the current position on.

        Raises
        ------
        RecordingError
            If the file is damaged.
        """
        seconds = 0.0
        try:
            for frame in self._container.decode(self._stream):
                if frame.is_corrupt:
                    raise ValueError("a frame is incomplete")
                yield frame
                if frame.pts is not None:
                    seconds = float(frame.pts * frame.time_base)
        except _errors() as error:
            raise RecordingError(
                f"{self._path}: is truncated or damaged after {seconds:.1f} s: {_reason(error)}.",
                hint=COPY_AGAIN,
            ) from error

    def _samples(self, frame: Any) -> FloatArray:
        """Return the samples of a frame as (n, channels), with full scale 1."""
        if frame.sample_rate != self.rate:
            raise RecordingError(
                f"{self._path}: changes its sampling rate from {self.rate} to "
                f"{frame.sample_rate} Hz.",
                hint="Write the file again, e.g. with: ffmpeg -i OLD NEW.wav",
            )
        array: npt.NDArray[Any] = frame.to_ndarray()  # (channels, n), or packed (1, n * channels)
        if not frame.format.is_planar:
            array = array.reshape(frame.samples, -1).T
        kind = frame.format.name.removesuffix("p")
        floats = np.asarray(array.T, np.float32)
        if kind == "u8":
            floats = floats - np.float32(128)
        return np.ascontiguousarray(floats / np.float32(_SCALES[kind]))

    def _seconds(self) -> float | None:
        """Return the length that the container announces, in seconds."""
        if not self._demuxers & _WITH_LENGTH:
            return None
        if self._stream.duration is not None:
            return float(self._stream.duration * self._stream.time_base)
        # Matroska has the length of a stream in a tag: 00:01:02.345000000
        tag = re.fullmatch(
            r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", self._stream.metadata.get("DURATION", "")
        )
        if tag:
            return 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3]) - self._origin
        if len(self._container.streams) == 1 and self._container.duration is not None:
            return float(self._container.duration) / 1e6
        return None

    def _check_end(self, position: int) -> None:
        """Raise if the stream ended at sample `position`, before its announced length."""
        lacking = 0.0 if self.frames is None else (self.frames - position) / self.rate
        if lacking > _SLACK and self._demuxers & _CHECKED:
            raise RecordingError(
                f"{self._path}: is truncated: it has {position} of the {self.frames} announced "
                "samples.",
                hint=COPY_AGAIN,
            )


def _reason(error: Exception) -> str:
    """Return FFmpeg's text of an error, without the name of the file."""
    return str(getattr(error, "strerror", None) or error)
