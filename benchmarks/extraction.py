"""How much faster extraction is than other people's libraries, and where its time goes.

python benchmarks/extraction.py [--rounds N] [--out docs/img/extraction.json]

Real clips, one thread, ratios within one run: every round runs all pipelines in turn. Processor
time counts, so that other programs' turns do not. Nothing is timed before mel and images were
found equal to 1e-4 of their maximum.
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
POINTS = 350  # what the second target of the issue of speed is about
Found = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A recording, and at which hop it becomes points."""

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
    """Both extractors, as a run has them."""

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

    def both(self) -> Found:
        return self.mel(), self.persistence()


def cases(folder: Path) -> Iterator[Case]:
    """At the hop of a run three lengths; then at the hop that makes so many points."""
    for name, path in speech.clips(folder).items():
        yield Case(name, path)
    for name, path in speech.clips(folder).items():
        yield Case(name, path, soundfile.info(path).frames // (POINTS - 1))


def check(case: Case) -> None:
    """All pipelines make the same arrays."""
    mel, images = Ours(case).both()
    for pipeline in (reference.usual, reference.sensible):
        other_mel, other_images = pipeline(case.path, RANGES["mel"], case.hop)
        np.testing.assert_allclose(mel[0], other_mel, atol=TOLERANCE)
        for image, other in zip(images, other_images, strict=True):
            np.testing.assert_allclose(image, other, atol=TOLERANCE * other.max())


def compare(case: Case, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds by pipeline: of mel alone, persistence alone, both."""
    ours, path, ranges, hop = Ours(case), case.path, RANGES["mel"], case.hop

    def theirs(both: Callable[..., Found], persistence: Callable[..., Any]) -> dict[str, Any]:
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
    taken = in_turn(
        {f"{p} {part}": call for (p, part), call in calls.items()}, rounds, clock=time.process_time
    )
    return {p: {part: taken[f"{p} {part}"] for part in parts} for p, parts in pipelines.items()}


def parts(case: Case, rounds: int) -> dict[str, float]:
    """Seconds of our parts, and of the reductions by each library that there is."""
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
    """Everything about one case."""
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
    """The figures of one case for people."""
    name, points = figures["name"], figures["points"]
    yield f"{name}: {figures['seconds of sound']:.2f} s of sound, {points} points"
    taken = figures["pipelines"]
    for part in ("mel", "persistence", "both"):
        own = taken["ours"][part]
        others = "  ".join(
            f"{other} {1e3 * taken[other][part]:8.1f} ms, {taken[other][part] / own:6.1f} x"
            for other in ("usual", "sensible")
        )
        yield f"  {part:<12} {1e3 * own:6.2f} ms  {others}"
    yield "  " + ", ".join(f"{part} {1e3 * s:.2f}" for part, s in figures["parts"].items())
    share = figures["parts"]["usual metrics"] / taken["ours"]["both"]
    yield f"  the usual metrics alone take {share:.0f} x as long as all of ours"
    floor = figures["parts"]["reductions, gudhi"]
    yield (
        f"  persistence takes {taken['ours']['persistence'] / floor:.2f} of what gudhi's "
        "reductions alone take"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="keep the figures in this file")
    given = parser.parse_args()
    print(busy(), flush=True)
    found = []
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        for case in cases(Path(folder)):
            found.append(measure(case, given.rounds))
            print("\n".join(lines(found[-1])), flush=True)
    if given.out:
        keep({"cases": found}, given.out)


if __name__ == "__main__":
    main()
