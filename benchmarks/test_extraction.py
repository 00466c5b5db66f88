"""Time of extracting one clip, and speed relative to the pipelines of reference.py.

Run with ``pytest benchmarks/test_extraction.py -s``. Everything runs in one thread, like the
workers of a build, on one clip of real speech if available. ``python benchmarks/extraction.py`` and
``python benchmarks/levelset.py`` measure several clips, short and long, and the parts of the
extraction.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import extraction
import levelset
import pytest
import speech
from threadpoolctl import threadpool_limits

from fusion import Extractor, Recording
from fusion.plugins.extractors.levelset import LevelSet
from fusion.plugins.extractors.mel import Mel
from fusion.plugins.extractors.mfcc import MFCC
from fusion.plugins.extractors.persistence import (
    IMAGERS,
    REDUCTIONS,
    Persistence,
    distance_matrices,
)

EXTRACTORS: list[type[Extractor]] = [Mel, MFCC, LevelSet, Persistence]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech.clips(tmp_path_factory.mktemp("clips"))["median"]


@pytest.mark.parametrize("cls", EXTRACTORS, ids=lambda cls: cls.name)
def test_extraction(benchmark: Any, clip: Path, cls: type[Extractor]) -> None:
    extractor, recording = cls(), Recording(clip)
    benchmark.extra_info["seconds of sound"] = extraction.Case("", clip).seconds
    benchmark.pedantic(extractor.extract, args=(recording,), rounds=30, warmup_rounds=3)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(benchmark: Any, clip: Path, name: Any) -> None:
    (matrix, *_) = distance_matrices(Persistence().frames(Recording(clip)))
    benchmark.extra_info["points"] = len(matrix)
    benchmark.pedantic(REDUCTIONS[name], args=(matrix,), rounds=20, warmup_rounds=2)


@pytest.mark.parametrize("name", IMAGERS)
def test_imager(benchmark: Any, clip: Path, name: Any) -> None:
    extractor = Persistence(imager=name)
    diagrams = extractor.diagrams(Recording(clip))
    benchmark.extra_info["bars"] = sum(map(len, diagrams))
    benchmark.pedantic(extractor.images, args=(diagrams,), rounds=20, warmup_rounds=2)


def test_against_other_peoples_libraries(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = extraction.measure(extraction.Case("median", clip), rounds=3)
    with capsys.disabled():
        print("\n" + "\n".join(extraction.lines(figures)))
    ours, *references = (figures["pipelines"][name] for name in ("ours", "usual", "sensible"))
    assert all(ours["both"] < other["both"] for other in references)


def test_level_sets_against_gudhi(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = levelset.measure("median", clip, rounds=10)
    with capsys.disabled():
        print("\n" + "\n".join(levelset.lines(figures)))
    assert levelset.ratio(figures) > 1
