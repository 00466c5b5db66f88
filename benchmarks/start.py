"""Start-up time of the command line, and of its imports.

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
# Packages that must not be imported unless they are used.
HEAVY = ("scipy", "librosa", "gudhi", "ripser", "persim", "sklearn", "numba", "matplotlib",
         "transformers", "soundfile", "sympy", "torch._dynamo")  # fmt: skip


def called(
    command: Sequence[str], more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **(more or {})}
    process = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed: {process.stderr}")
    return process


def commands(rounds: int, cache: Path) -> dict[str, float]:
    """Return the seconds of interactive commands, and of python and torch for comparison."""
    compared = {
        "python": [sys.executable, "-c", "pass"],
        "import torch": [sys.executable, "-c", "import torch"],
        "fusion --help": [*FUSION, "--help"],
        "fusion cache info": [*FUSION, "cache", "info", "--cache", str(cache)],
        "fusion plugins list": [*FUSION, "plugins", "list"],
    }
    return in_turn({n: lambda c=c: called(c) for n, c in compared.items()}, rounds)  # type: ignore[misc]


def run_once(cache: Path, folder: Path) -> dict[str, float]:
    """Return the seconds until the first step and the end of ``fusion run`` on a warm cache."""
    times = folder / "steps.txt"
    command = [*FUSION, "-p", str(PLUGIN), "run", "--balance", "first_step", *SMALL,
               "--cache", str(cache), "--out", str(folder / "run")]  # fmt: skip
    started = time.time()
    called(command, {"FUSION_FIRST_STEP": str(times)})
    ended = time.time()
    first = min(float(line) for line in times.read_text().split())
    return {"first step": first - started, "end": ended - started}


def runs(rounds: int, cache: Path) -> dict[str, float]:
    results = []
    for number in range(1 + rounds):  # the first fills the cache
        with tempfile.TemporaryDirectory() as folder:
            result = run_once(cache, Path(folder))
        if number:
            results.append(result)
    return {name: statistics.median(result[name] for result in results) for name in results[0]}


def imports_of(code: str) -> Counter[str]:
    """Return the seconds that python spends importing each package while it runs `code`."""
    process = called([sys.executable, "-X", "importtime", "-c", code])
    seconds: Counter[str] = Counter()
    for own, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)", process.stderr):
        seconds[name.partition(".")[0]] += int(own) / 1e6
    return seconds


REGISTRY = "from fusion.core.registry.registry import Registry; Registry()"
TRAINING = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from networks import IMAGES, our_trainer
our_trainer([IMAGES], None, epochs=1).fit()
"""


def heavy_after(code: str) -> list[str]:
    """Return the HEAVY packages that are imported after running `code`."""
    program = f"{code}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    return called([sys.executable, "-c", program]).stdout.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--imports", action="store_true", help="print the time of the imports")
    parser.add_argument("--cache", type=Path,
                        default=Path(tempfile.gettempdir()) / "fusion-benchmark-cache")  # fmt: skip
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    whole = runs(max(1, options.rounds // 2), options.cache)
    figures = {"commands": commands(options.rounds, options.cache), "fusion run": whole}
    print(busy())
    for name, seconds in figures["commands"].items():
        print(f"  {name:<24}{seconds:6.2f} s")
    print(f"  fusion run, warm cache: first step after {whole['first step']:.2f} s, "
          f"end after {whole['end']:.2f} s (one epoch of 48 clips)")  # fmt: skip
    for name, code in (("registry", REGISTRY), ("a training", TRAINING)):
        print(f"  {name} imports, of {len(HEAVY)} heavy packages: {heavy_after(code) or 'none'}")
        if options.imports:
            for package, seconds in imports_of(code).most_common(8):
                print(f"    {package:<22}{seconds:6.2f} s")
    if options.out:
        keep(figures, options.out)


if __name__ == "__main__":
    main()
