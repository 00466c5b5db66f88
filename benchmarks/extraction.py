"""Speed of feature extraction relative to other libraries, and the time of each of its parts.

python benchmarks/extraction.py [--rounds N] [--out docs/img/extraction.json]

The clips are real speech if available, and everything runs in one thread. Every round runs all
pipelines in turn, so that ratios come from one run. Processor time is measured, so that other
programs do not count. Before timing, mel and images are checked to be equal up to 1e-4 of their
maximum.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from fusion.plugins.extractors.mel import Mel
from fusion.plugins.extractors.persistence import (
    RANGES,
    REDUCTIONS,
    Persistence,
    distance_matrices,
)

TOLERANCE = 1e-4
POINTS = 350  # points per clip in the second target for speed
Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A recording, and the hop between its frames in samples."""

    name: str
    path: Path
    hop: int = 256

    @property
    def points(self) -> int:
        return 1 + soundfile.info(self.path).frames // self.hop

    @property
    def seconds(self) -> float:
        return float(soundfile.info(self.path).duration)


class Ours:
    """Both extractors of this package, configured for a case."""

    def __init__(self, case: Case) -> None:
        self.recording = Recording(case.path)
        self.extractors = (
            Mel(n_mels=128, hop=case.hop, frames=case.points),
            Persistence(hop=case.hop, max_points=max(400, case.points)),
        )

    def mel(self) -> np.ndarray:
        return self.extractors[0].extract(self.recording)

    def persistence(self) -> np.ndarray:
        return self.extractors[1].extract(self.recording)

    def both(self) -> Arrays:
        return self.mel(), self.persistence()


def cases(folder: Path) -> Iterator[Case]:
    """Yield clips of three lengths at the default hop, then at the hop that gives POINTS points."""
    for name, path in speech.clips(folder).items():
        yield Case(name, path)
    for name, path in speech.clips(folder).items():
        yield Case(name, path, soundfile.info(path).frames // (POINTS - 1))


def check(case: Case) -> None:
    """Raise if the pipelines do not compute the same arrays."""
    mel, images = Ours(case).both()
    for pipeline in (reference.usual, reference.sensible):
        other_mel, other_images = pipeline(case.path, RANGES["mel"], case.hop)
        np.testing.assert_allclose(mel[0], other_mel, atol=TOLERANCE)
        for image, other in zip(images, other_images, strict=True):
            np.testing.assert_allclose(image, other, atol=TOLERANCE * other.max())


def compare(case: Case, rounds: int) -> dict[str, dict[str, float]]:
    """Return the seconds of each pipeline for mel alone, persistence alone, and both."""
    ours, path, ranges, hop = Ours(case), case.path, RANGES["mel"], case.hop

    def theirs(both: Callable[..., Arrays], persistence: Callable[..., Any]) -> dict[str, Any]:
        return {
            "mel": lambda: reference.mel(path, hop),
            "persistence": lambda: persistence(path, ranges, hop),
            "both": lambda: both(path, ranges, hop),
        }

    pipelines = {
        "ours": {"mel": ours.mel, "persistence": ours.persistence, "both": ours.both},
        "usual": theirs(reference.usual, reference.persistence),
        "sensible": theirs(reference.sensible, reference.sensible_persistence),
    }
    calls = {(p, part): call for p, parts in pipelines.items() for part, call in parts.items()}
    seconds = in_turn(
        {f"{p} {part}": call for (p, part), call in calls.items()}, rounds, clock=time.process_time
    )
    return {p: {part: seconds[f"{p} {part}"] for part in parts} for p, parts in pipelines.items()}


def parts(case: Case, rounds: int) -> dict[str, float]:
    """Return the seconds of each part of our pipeline, and of each library's reductions."""
    extractor = Ours(case).extractors[1]
    recording = Recording(case.path)
    frames = extractor.frames(recording)
    matrices = distance_matrices(frames)
    diagrams = extractor.diagrams(recording)
    calls: dict[str, Callable[[], object]] = {
        "decode": lambda: load_waveform(recording, 16000),
        "decode, log-mel": lambda: extractor.frames(recording),
        "distances": lambda: distance_matrices(frames),
        "images": lambda: extractor.images(diagrams),
        "images, persim": lambda: Persistence(imager="persim").images(diagrams),
    }
    for name, reduce in REDUCTIONS.items():
        calls[f"reductions, {name}"] = lambda reduce=reduce: [reduce(m) for m in matrices]
    points = reference.points_of(reference.decibels(case.path, case.hop))
    slow = {"usual metrics": lambda: reference.usual_matrices(points)}
    return {
        **in_turn(calls, rounds, clock=time.process_time),
        **in_turn(slow, 1, warm=0, clock=time.process_time),
    }


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Return all figures of one case."""
    check(case)
    slow = min(rounds, 3) if case.hop != 256 else rounds
    return {
        "name": case.name,
        "seconds of sound": case.seconds,
        "points": case.points,
        "pipelines": compare(case, slow),
        "parts": parts(case, 5 * rounds),
    }


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """Yield the figures of one case as lines of text."""
    name, points = figures["name"], figures["points"]
    yield f"{name}: {figures['seconds of sound']:.2f} s of sound, {points} points"
    seconds = figures["pipelines"]
    for part in ("mel", "persistence", "both"):
        own = seconds["ours"][part]
        ratios = "  ".join(
            f"{other} {1e3 * seconds[other][part]:8.1f} ms, {seconds[other][part] / own:6.1f} x"
            for other in ("usual", "sensible")
        )
        yield f"  {part:<12} {1e3 * own:6.2f} ms  {ratios}"
    yield "  " + ", ".join(f"{part} {1e3 * s:.2f}" for part, s in figures["parts"].items())
    share = figures["parts"]["usual metrics"] / seconds["ours"]["both"]
    yield f"  the usual metrics alone take {share:.0f}x the time of our whole pipeline"
    floor = figures["parts"]["reductions, gudhi"]
    yield (
        f"  persistence takes {seconds['ours']['persistence'] / floor:.2f}x the time of gudhi's "
        "reductions alone"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    print(busy(), flush=True)
    figures = []
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        for case in cases(Path(folder)):
            figures.append(measure(case, options.rounds))
            print("\n".join(lines(figures[-1])), flush=True)
    if options.out:
        keep({"cases": figures}, options.out)


if __name__ == "__main__":
    main()
