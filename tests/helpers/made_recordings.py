"""Recordings in containers that PyAV writes, and WAV files made of single chunks."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def voice(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    """Return a gliding tone in noise, (n,) float32: no two parts of it are alike."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (0.4 * np.sin(2 * np.pi * (200 + 150 * time) * time) + 0.02 * noise).astype(np.float32)


def encode(
    path: Path,
    samples: np.ndarray | None,
    rate: int,
    codec: str = "aac",
    *,
    video: str | None = None,
    container: str | None = None,
    **options: str,
) -> Path:
    """Write a container with a mono stream of `samples`, after a video stream if one is named."""
    import av

    with av.open(str(path), "w", format=container, options=options) as file:
        picture: Any = None
        sound: Any = None
        if video is not None:
            picture = file.add_stream(video, rate=10)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
        if samples is not None:
            sound = file.add_stream(codec, rate=rate, layout="mono")
        if picture is not None:
            for frame in (*(_black() for _ in range(20)), None):
                file.mux(picture.encode(frame))
        if samples is not None:
            for frame in (*_frames(sound, samples, rate), None):
                file.mux(sound.encode(frame))
    return path


def _black() -> Any:
    import av

    return av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")


def _frames(stream: Any, samples: np.ndarray, rate: int) -> Iterator[Any]:
    """Yield frames of the codec's size and sample format."""
    import av

    frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    context = stream.codec_context
    fifo = av.AudioFifo()
    for converted in av.AudioResampler(context.format, context.layout, rate).resample(frame):
        fifo.write(converted)
    while (part := fifo.read(context.frame_size or 1024) or fifo.read(0, partial=True)) is not None:
        yield part


def wav_of_chunks(
    path: Path,
    samples: np.ndarray,
    rate: int = 16000,
    *,
    size: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
) -> Path:
    """Write a 16-bit mono WAV file with other chunks and, if given, another announced size."""
    data = (samples * 32767).astype("<i2").tobytes()
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    announced = len(data) if size is None else size
    body = header + before + b"data" + struct.pack("<I", announced) + data + after
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    return path


def mp3_in_wav(path: Path, mp3: bytes, rate: int) -> Path:
    """Write a WAV file whose codec is MP3."""
    header = struct.pack(
        "<4sIHHIIHHHHIHHH", b"fmt ", 30, 0x55, 1, rate, 8000, 1, 0, 12, 1, 2, 1, 1, 0
    )
    body = header + b"data" + struct.pack("<I", len(mp3)) + mp3
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    return path


def announce_samples(flac: Path, count: int) -> Path:
    """Write a number of samples, below 2**36, into the header of a FLAC file; return its path."""
    content = bytearray(flac.read_bytes())
    content[21] = (content[21] & 0xF0) | (count >> 32)
    content[22:26] = (count & 0xFFFF_FFFF).to_bytes(4, "big")
    flac.write_bytes(content)
    return flac
