"""Speed of level-set diagrams relative to gudhi, and time of all features of a clip.

python benchmarks/levelset.py [--rounds N] [--out docs/img/levelset.json]

The clips are real speech if available, and everything runs in one thread. Every round runs all
calls in turn, so that ratios come from one run. Processor time is measured. Before timing, our
diagrams are checked to be equal to gudhi's, bar by bar.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import reference
import soundfile
import speech
from threadpoolctl import threadpool_limits
from timing import busy, in_turn, keep

from fusion import Recording
from fusion.core.toolkit.audio import load_waveform
from fusion.plugins.extractors._cubical import image_bars
from fusion.plugins.extractors.levelset import LevelSet
from fusion.plugins.extractors.mel import Mel
from fusion.plugins.extractors.persistence import Persistence


def ours(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Return the superlevel diagrams of each part of a surface, H0 and H1 alternately."""
    return [bars for part in parts for bars in image_bars(part)]


def check(parts: list[np.ndarray]) -> int:
    """Raise if a diagram differs from gudhi's; return the number of bars."""
    count = 0
    for own, other in zip(ours(parts), reference.cubical_diagrams(parts), strict=True):
        np.testing.assert_array_equal(own[np.lexsort(own.T)], other[np.lexsort(other.T)])
        count += len(own)
    return count


def measure(name: str, path: Path, rounds: int) -> dict[str, Any]:
    """Return the seconds of our and gudhi's diagrams, parts of `levelset`, and all features."""
    extractor, mel, persistence = LevelSet(), Mel(), Persistence()
    recording = Recording(path)
    heights = extractor.heights(recording)
    parts = np.array_split(heights, extractor.surface_bands)
    bars = check(parts)
    diagrams = list(extractor.diagrams(recording).values())
    calls: dict[str, Callable[[], object]] = {
        "surface, ours": lambda: ours(parts),
        "surface, gudhi": lambda: reference.cubical_diagrams(parts),
        "decode": lambda: load_waveform(recording, 16000),
        "decode, log-mel": lambda: extractor.heights(recording),
        "levels": lambda: extractor._levels(heights),
        "contours": lambda: extractor._contours(heights),
        "statistics": lambda: extractor.statistics(diagrams),
        "levelset": lambda: extractor.extract(recording),
        "mel": lambda: mel.extract(recording),
        "persistence": lambda: persistence.extract(recording),
        "all three": lambda: [e.extract(recording) for e in (mel, extractor, persistence)],
    }
    return {
        "name": name,
        "seconds of sound": float(soundfile.info(path).duration),
        "frames": heights.shape[1],
        "bars": bars,
        "seconds": in_turn(calls, rounds, clock=time.process_time),
    }


def ratio(figures: dict[str, Any]) -> float:
    """Return gudhi's time for the diagrams of the surface, relative to ours."""
    seconds = figures["seconds"]
    return float(seconds["surface, gudhi"] / seconds["surface, ours"])


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """Yield the figures of one clip as lines of text."""
    yield (
        f"{figures['name']}: {figures['seconds of sound']:.2f} s of sound, {figures['frames']} "
        f"frames, {figures['bars']} bars of the surface, equal to gudhi's"
    )
    yield "  " + ", ".join(f"{part} {1e3 * s:.2f} ms" for part, s in figures["seconds"].items())
    yield f"  gudhi takes {ratio(figures):.1f}x our time for the diagrams of the surface"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    print(busy(), flush=True)
    if not speech.by_length():
        print("No RAVDESS recordings found; using chirps in noise instead.")
    figures = []
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        for name, path in speech.clips(Path(folder)).items():
            figures.append(measure(name, path, options.rounds))
            print("\n".join(lines(figures[-1])), flush=True)
    if options.out:
        keep({"cases": figures}, options.out)


if __name__ == "__main__":
    main()
