"""Extraction of one clip, and how much faster it is than the pipeline of reference.py.

Run with ``pytest benchmarks/test_extraction.py -s``. Everything runs in one thread, as the workers
of a build do. The clip is speech where there is some (RAVDESS in the folder that
FUSION_TEST_DATA names), else a chirp in noise.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import soundfile
from threadpoolctl import threadpool_limits

from fusion import Extractor, Recording
from fusion.plugins.extractors.mel import Mel
from fusion.plugins.extractors.mfcc import MFCC
from fusion.plugins.extractors.persistence import RANGES, Persistence

EXTRACTORS: list[type[Extractor]] = [Mel, MFCC, Persistence]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    beside = Path(__file__).resolve().parents[2] / "shared/data/ravdess16k"
    speech = Path(os.environ.get("FUSION_TEST_DATA", beside)).glob("Actor_*/*")
    by_size = sorted(speech, key=lambda path: (path.stat().st_size, path.name))
    return by_size[len(by_size) // 2] if by_size else chirp(tmp_path_factory.mktemp("clip"))


def chirp(folder: Path) -> Path:
    instants = np.arange(3 * 16000) / 16000
    phase = 2 * np.pi * (120 * instants + 30 * np.sin(2 * np.pi * instants))
    voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * np.hanning(len(instants))
    noise = np.random.default_rng(0).standard_normal(len(instants))
    path = folder / "chirp.wav"
    soundfile.write(path, 0.2 * voice + 0.002 * noise, 16000)
    return path


@pytest.mark.parametrize("cls", EXTRACTORS, ids=lambda cls: cls.name)
def test_extraction(benchmark: Any, clip: Path, cls: type[Extractor]) -> None:
    extractor, recording = cls(), Recording(clip)
    benchmark.extra_info["seconds of sound"] = soundfile.info(clip).duration
    benchmark.pedantic(extractor.extract, args=(recording,), rounds=30, warmup_rounds=3)


def test_mel_against_the_reference(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = reference.mel(clip)
    extractor = Mel(frames=expected.shape[1])
    np.testing.assert_allclose(extractor.extract(Recording(clip))[0], expected, atol=1e-4)
    ours, theirs = paired(
        lambda: extractor.extract(Recording(clip)), lambda: reference.mel(clip), rounds=30
    )
    report(capsys, "mel", clip, ours, theirs)
    assert ours < theirs


def test_persistence_against_the_reference(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extractor, ranges = Persistence(), RANGES["mel"]
    expected = reference.persistence(clip, ranges)
    found = extractor.extract(Recording(clip))
    for ours, theirs in zip(found, expected, strict=True):
        # The frames differ by the rounding of float32, and so do the bars.
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * theirs.max())
    seconds = paired(
        lambda: extractor.extract(Recording(clip)),
        lambda: reference.persistence(clip, ranges),
        rounds=3,
    )
    report(capsys, "persistence", clip, *seconds)
    assert seconds[0] < seconds[1]


def paired(
    first: Callable[[], object], second: Callable[[], object], rounds: int
) -> tuple[float, float]:
    """Median seconds of either, taken in turn so that what else the machine does hits both."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, times in zip((first, second), taken, strict=True):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
    return statistics.median(taken[0]), statistics.median(taken[1])


def report(
    capsys: pytest.CaptureFixture[str], name: str, clip: Path, ours: float, theirs: float
) -> None:
    with capsys.disabled():
        print(
            f"\n{name}, {soundfile.info(clip).duration:.2f} s of sound, one thread: "
            f"{1e3 * ours:.2f} ms, reference {1e3 * theirs:.2f} ms, {theirs / ours:.1f} x"
        )
