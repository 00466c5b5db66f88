"""Corpus of synthetic voices for trying the tool, generated at the first use."""

from __future__ import annotations

import hashlib
import os
import shutil
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...core.contracts.data import Clip, Corpus, Recording
from ...core.contracts.errors import StorageError
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.emotions import SHARED
from ...core.toolkit.ranges import check_ranges
from ._voice import RATE, Delivery, Voice, speak


class _Style(NamedTuple):
    """Offset that an emotion adds to each field of the delivery, in the unit of the field."""

    pitch: float  # octaves
    span: float  # octaves
    slope: float  # octaves
    rate: float  # octaves
    energy: float  # dB
    tilt: float
    jitter: float
    breath: float  # octaves
    pause: float


_STYLES = {
    "neutral": _Style(0.00, 0.00, -0.05, 0.00, 0.0, 0.00, 0.000, 0.0, 0.00),
    "happy": _Style(0.28, 0.09, 0.12, 0.15, 3.0, -0.04, 0.002, 0.2, -0.02),
    "sad": _Style(-0.15, -0.05, -0.20, -0.30, -4.0, 0.05, 0.006, 0.5, 0.08),
    "angry": _Style(0.22, 0.04, -0.10, 0.10, 6.0, -0.08, 0.012, -0.4, -0.03),
    "fearful": _Style(0.38, 0.01, 0.08, 0.28, 0.0, -0.02, 0.016, 0.4, 0.03),
    "disgust": _Style(-0.12, 0.05, -0.15, -0.18, 1.0, 0.02, 0.014, -0.2, 0.02),
}
# Standard deviation of the same figures between clips. The deviation is as large as the differences
# between emotions, so that no view distinguishes all emotions.
_SPREAD = _Style(0.13, 0.05, 0.15, 0.13, 2.2, 0.04, 0.004, 0.5, 0.05)


class Demo(Corpus):
    """Synthetic voices: a source-filter voice in six emotional deliveries.

    Speakers differ in pitch, vocal tract, breath, level and recording. Emotions differ in pitch,
    span and slope of the pitch, rate, energy, tilt, jitter, breath and pauses. Clips of one emotion
    differ from each other as much as emotions do. The corpus is for trying the tool: scores on
    synthetic voices are no evidence about real speech.

    The recordings are generated at the first use, as 16 kHz WAV files in the user's cache folder.
    Equal parameters generate equal recordings.

    Parameters
    ----------
    path : None
        Not used, because the corpus is generated.
    speakers : int
        Number of speakers, 3 or more.
    clips : int
        Number of clips per speaker and emotion.
    seed : int
        Seed of the random numbers; another seed generates other speakers.
    """

    name = "demo"
    version = "1"
    default = True
    needs_path = False
    synthetic = True
    labels = {e: e for e in SHARED}  # noqa: RUF012
    conformance = {"parameters": {"speakers": 3, "clips": 1}}  # noqa: RUF012

    def __init__(
        self, path: Path | None, *, speakers: int = 16, clips: int = 5, seed: int = 0
    ) -> None:
        super().__init__(path)
        check_ranges(self.name, "speakers >= 3, clips >= 1 and seed >= 0", locals())
        self.speakers = speakers
        self.clips_each = clips
        self.seed = seed

    def clips(self) -> Iterable[Clip]:
        folder = self._folder()
        if not folder.is_dir():
            self._make(folder)
        for speaker, emotion, take in self._plan():
            name = _file_name(speaker, emotion, take)
            yield Clip(Recording(folder / name), name, emotion, f"{speaker:02d}", self.name)

    def _plan(self) -> Iterator[tuple[int, str, int]]:
        for speaker in range(1, self.speakers + 1):
            for emotion in SHARED:
                for take in range(1, self.clips_each + 1):
                    yield speaker, emotion, take

    def _folder(self) -> Path:
        from platformdirs import user_cache_path

        text = f"{self.version} {self.speakers} {self.clips_each} {self.seed}"
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return user_cache_path("fusion") / "demo" / digest

    def _make(self, folder: Path) -> None:
        """Write into a temporary folder and rename it, so that `folder` is always complete."""
        temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
        try:
            for speaker, emotion, take in self._plan():
                file = temporary / _file_name(speaker, emotion, take)
                file.parent.mkdir(parents=True, exist_ok=True)
                _write(file, self._samples(speaker, emotion, take))
            try:
                temporary.rename(folder)
            except OSError:
                if not folder.is_dir():  # otherwise another process has written the same files
                    raise
        except OSError as error:
            raise StorageError(
                f"The demo corpus can't be written to {folder.parent}: {error}.",
                hint="Free some disk space, or set XDG_CACHE_HOME to a writable folder.",
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _samples(self, speaker: int, emotion: str, take: int) -> np.ndarray:
        voice = _voice(np.random.default_rng([self.seed, speaker]))
        rng = np.random.default_rng([self.seed, speaker, SHARED.index(emotion), take])
        return speak(voice, _delivery(emotion, rng), rng)


def _voice(rng: np.random.Generator) -> Voice:
    low = rng.random() < 0.5  # two overlapping groups of voices
    return Voice(
        pitch=float(rng.normal(115, 15) if low else rng.normal(195, 22)),
        tract=float(rng.normal(0.95 if low else 1.1, 0.04)),
        breath=float(rng.uniform(0.03, 0.15)),
        tilt=float(rng.uniform(0.70, 0.85)),
        level=float(rng.uniform(0.04, 0.16)),
        room=float(rng.uniform(0.005, 0.03)),
        colour=float(rng.uniform(-0.6, 0.6)),
    )


def _delivery(emotion: str, rng: np.random.Generator) -> Delivery:
    drawn = rng.normal(_STYLES[emotion], _SPREAD)
    s = _Style(*(float(value) for value in drawn))
    return Delivery(
        seconds=float(rng.uniform(1.5, 2.5)),
        pitch=2.0**s.pitch,
        span=max(0.02, 0.12 + s.span),
        slope=s.slope,
        rate=4.0 * 2.0**s.rate,
        energy=10 ** (s.energy / 20),
        tilt=s.tilt,
        jitter=max(0.0, 0.006 + s.jitter),
        shimmer=max(0.0, 0.05 + 4 * s.jitter),
        breath=2.0**s.breath,
        pause=min(max(0.05 + s.pause, 0.0), 0.4),
    )


def _file_name(speaker: int, emotion: str, take: int) -> str:
    return f"speaker_{speaker:02d}/{emotion}_{take:02d}.wav"


def _write(path: Path, samples: np.ndarray) -> None:
    # The standard library's writer adds no date and no name, so equal samples give equal bytes.
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Demo]
