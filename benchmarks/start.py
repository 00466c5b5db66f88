"""How long the command line takes until it does something, and which imports that is.

python benchmarks/start.py [--rounds N] [--imports] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from timing import busy, in_turn, keep

FUSION = [sys.executable, "-m", "fusion"]
PLUGIN = Path(__file__).with_name("first_step.py")
SMALL = ["--epochs", "1", "--set", "demo.speakers=6", "--set", "demo.clips=2"]
# What nobody may wait for who does not use it.
HEAVY = ("scipy", "librosa", "gudhi", "ripser", "persim", "sklearn", "numba", "matplotlib",
         "transformers", "soundfile", "sympy", "torch._dynamo")  # fmt: skip


def called(
    command: Sequence[str], more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **(more or {})}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed: {done.stderr}")
    return done


def commands(rounds: int, cache: Path) -> dict[str, float]:
    """Seconds of the commands that a person waits for; python itself and torch for comparison."""
    given = {
        "python": [sys.executable, "-c", "pass"],
        "import torch": [sys.executable, "-c", "import torch"],
        "fusion --help": [*FUSION, "--help"],
        "fusion cache info": [*FUSION, "cache", "info", "--cache", str(cache)],
        "fusion plugins list": [*FUSION, "plugins", "list"],
    }
    return in_turn({n: lambda c=c: called(c) for n, c in given.items()}, rounds)  # type: ignore[misc]


def run_once(cache: Path, folder: Path) -> dict[str, float]:
    """Seconds from the start of ``fusion run`` on a warm cache to its first step, and its end."""
    times = folder / "steps.txt"
    command = [*FUSION, "-p", str(PLUGIN), "run", "--balance", "first_step", *SMALL,
               "--cache", str(cache), "--out", str(folder / "run")]  # fmt: skip
    started = time.time()
    called(command, {"FUSION_FIRST_STEP": str(times)})
    ended = time.time()
    first = min(float(line) for line in times.read_text().split())
    return {"first step": first - started, "end": ended - started}


def runs(rounds: int, cache: Path) -> dict[str, float]:
    found = []
    for number in range(1 + rounds):  # the first fills the cache
        with tempfile.TemporaryDirectory() as folder:
            once = run_once(cache, Path(folder))
        if number:
            found.append(once)
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def imports_of(code: str) -> Counter[str]:
    """Seconds that python spends in the modules of each package while it runs `code`."""
    done = called([sys.executable, "-X", "importtime", "-c", code])
    found: Counter[str] = Counter()
    for own, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)", done.stderr):
        found[name.partition(".")[0]] += int(own) / 1e6
    return found


REGISTRY = "from fusion.core.registry.registry import Registry; Registry()"
TRAINING = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from networks import IMAGES, our_trainer
our_trainer([IMAGES], None, epochs=1).fit()
"""


def heavy_after(code: str) -> list[str]:
    """Which of the packages that some need are there after `code`."""
    asked = f"{code}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    return called([sys.executable, "-c", asked]).stdout.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--imports", action="store_true", help="say what the imports cost")
    parser.add_argument("--cache", type=Path,
                        default=Path(tempfile.gettempdir()) / "fusion-benchmark-cache")  # fmt: skip
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    whole = runs(max(1, given.rounds // 2), given.cache)
    figures = {"commands": commands(given.rounds, given.cache), "fusion run": whole}
    print(busy())
    for name, seconds in figures["commands"].items():
        print(f"  {name:<24}{seconds:6.2f} s")
    print(f"  fusion run, warm cache: first step after {whole['first step']:.2f} s, "
          f"all of it {whole['end']:.2f} s (one epoch of 48 clips)")  # fmt: skip
    for name, code in (("registry", REGISTRY), ("a training", TRAINING)):
        print(f"  {name} imports, of {len(HEAVY)} heavy packages: {heavy_after(code) or 'none'}")
        if given.imports:
            for package, seconds in imports_of(code).most_common(8):
                print(f"    {package:<22}{seconds:6.2f} s")
    if given.out:
        keep(figures, given.out)


if __name__ == "__main__":
    main()
