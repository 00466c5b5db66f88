"""Recordings and folders on which extractors and corpora are checked.

The recordings are generated at their first use and deleted when the process ends.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...contracts import Recording

RATE = 16000

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sample:
    """Recording with its name in messages and test names.

    Attributes
    ----------
    words : str
        Name of the recording.
    recording : Recording
        The recording itself.
    extreme : bool
        Whether an extractor may reject the recording with a RecordingError.
    """

    words: str
    recording: Recording
    extreme: bool = False

    def __str__(self) -> str:
        """Return the name of the recording."""
        return self.words


def voice(seconds: float, *, pitch: float = 120.0, rate: int = RATE, seed: int = 0) -> FloatArray:
    """Return a speech-like signal, (n,) float32 within +-1.

    The signal consists of harmonics that glide in pitch, swell three times a second and have the
    formants of a vowel, with a little noise.
    """
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (pitch * time + 4 * np.sin(2 * np.pi * 0.7 * time))
    loudness = 0.3 + 0.7 * np.sin(np.pi * 3 * time) ** 2
    tones = np.zeros_like(time)
    for harmonic in range(1, 25):
        frequency = harmonic * pitch
        colour = sum(1 / (1 + ((frequency - f) / 150) ** 2) for f in (600, 1200, 2500))
        if frequency < rate / 2:
            tones += colour / harmonic * np.sin(harmonic * phase)
    noise = np.random.default_rng(seed).standard_normal(len(time))
    samples = 0.3 * loudness * tones / np.abs(tones).max() + 0.003 * noise
    return np.asarray(samples, np.float32)


@functools.cache
def folder() -> Path:
    """Return the folder of the generated recordings and of some files that are no audio."""
    path = Path(_temporary().name)
    mono = voice(1.2)
    _write(path / "voice.wav", mono)
    _write(path / "another.wav", voice(1.2, pitch=210.0, seed=1))
    _write(path / "silence.wav", np.zeros(RATE // 2, np.float32))
    _write(path / "sample.wav", mono[5000:5001])
    _write(path / "long.wav", voice(8.0, pitch=150.0, seed=2))
    _write(path / "stereo.wav", np.stack([mono[:RATE], 0.5 * mono[:RATE]], axis=1))
    _write(path / "rate.wav", voice(0.8, rate=44100), 44100)
    _write(path / "cut.wav", mono[4800:14400])
    (path / "empty.wav").touch()
    (path / "text.wav").write_text("This is no sound.\n" * 200)
    return path


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fusion-recordings-")


def _write(path: Path, samples: FloatArray, rate: int = RATE) -> None:
    import soundfile

    soundfile.write(path, samples, rate, subtype="PCM_16")


def small_recordings() -> list[Sample]:
    """Return the recordings on which to check an extractor, ordinary recordings first."""
    path = folder()
    return [
        Sample("a voice", Recording(path / "voice.wav")),
        Sample("another voice", Recording(path / "another.wav")),
        Sample("a part of a file", Recording(path / "voice.wav", 0.3, 0.9)),
        Sample("two channels", Recording(path / "stereo.wav")),
        Sample("44.1 kHz", Recording(path / "rate.wav")),
        Sample("8 seconds", Recording(path / "long.wav")),
        Sample("silence", Recording(path / "silence.wav"), extreme=True),
        Sample("a single sample", Recording(path / "sample.wav"), extreme=True),
    ]


def part_and_cut() -> tuple[Recording, Recording]:
    """Return a part of a file, and a file that holds only this part."""
    return Recording(folder() / "voice.wav", 0.3, 0.9), Recording(folder() / "cut.wav")


def three_seconds() -> Recording:
    """Return a recording of three seconds, the length of a spoken sentence."""
    path = folder() / "three.wav"
    if not path.exists():
        _write(path, voice(3.0))
    return Recording(path)


def unreadable() -> Mapping[str, Recording]:
    """Return recordings that no extractor can read, by description."""
    path = folder()
    return {
        "a missing file": Recording(path / "missing.wav"),
        "an empty file": Recording(path / "empty.wav"),
        "a file that holds text": Recording(path / "text.wav"),
        "a part that begins after the end of its file": Recording(path / "voice.wav", 60.0, 61.0),
    }


@contextlib.contextmanager
def strange_places() -> Iterator[dict[str, Path]]:
    """Yield paths that contain no corpus, by description."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        folders = {"an empty folder": root / "empty", "a folder of other files": root / "files"}
        for place in folders.values():
            place.mkdir()
        (folders["a folder of other files"] / "notes.txt").write_text("Buy milk.\n")
        (folders["a folder of other files"] / "recording.wav").write_bytes(bytes(range(256)))
        (root / "picture.png").write_bytes(b"\x89PNG" + bytes(range(256)))
        yield {**folders, "a file that is no corpus": root / "picture.png"}


def contents(path: Path | None) -> dict[str, tuple[int, int]]:
    """Return size in bytes and modification time in ns of each file below `path`."""
    if path is None or not path.is_dir():
        return {}
    statuses = ((file, file.stat()) for file in sorted(path.rglob("*")))
    return {str(file): (status.st_size, status.st_mtime_ns) for file, status in statuses}
