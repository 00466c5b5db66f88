"""Time and memory of listing, splitting and planning a corpus of many clips.

python benchmarks/many_clips.py [--clips 100000]

The recordings are made up: noise of different lengths in folders SPEAKER/EMOTION, of 200 speakers.
A process plans a run on them. Its memory is measured before the plan, when torch is loaded, and at
its peak.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from reading import memory
from timing import busy

SPEAKERS = 200
EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad")
RATE = 16_000


def make_corpus(root: Path, count: int) -> None:
    """Write recordings of 12 to 250 ms; the lengths and the contents differ."""
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"speaker{number % SPEAKERS:03}" / EMOTIONS[number // SPEAKERS % 6]
        folder.mkdir(parents=True, exist_ok=True)
        samples = rng.integers(-9000, 9000, rng.integers(200, 4000), dtype=np.int16)
        soundfile.write(folder / f"{number:06}.wav", samples, RATE)


def plan_once(root: Path) -> dict[str, float]:
    """Return the seconds of each step in this process, and its memory in MiB."""
    from fusion.core.registry import Registry
    from fusion.core.runs.config import RunConfig
    from fusion.core.runs.plan import divide, plan_without_split, read_dataset

    registry = Registry()
    registry.corpora()
    config = RunConfig(data=(str(root),), features=("mel",), strategy="concat")
    before, started = memory("VmRSS"), time.perf_counter()
    plan = plan_without_split(config, registry)
    listed = time.perf_counter()
    plan = divide(plan)
    finished, peak = time.perf_counter(), memory("VmHWM")
    assert plan.splits
    again = time.perf_counter()
    clips = len(read_dataset(config, registry).clips)
    return {
        "clips": clips,
        "listing": time.perf_counter() - again,
        "split": finished - listed,
        "plan": finished - started,
        "before": before,
        "peak": peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plan:
        print(json.dumps(plan_once(options.plan)))
        return
    print(busy(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        make_corpus(Path(folder), options.clips)
        command = [sys.executable, __file__, "--plan", folder]
        figures = json.loads(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
        )
    print(
        f"{figures['clips']:,} clips: plan {figures['plan']:.1f} s (listing "
        f"{figures['listing']:.1f} s, split {figures['split']:.1f} s); memory "
        f"{figures['before']:.0f} MiB before, {figures['peak']:.0f} MiB at the peak"
    )


if __name__ == "__main__":
    main()
