"""Test whether the working tree is slower than a baseline version.

python benchmarks/compare.py [--against REF] [--limit 0.2] [--rounds N] [SUITE...]

The baseline is the commit or tag in benchmarks/BASELINE, or REF. The same benchmarks run
alternately on both versions, A B A B, each time in a new process. A benchmark that seems slower
than the limit is measured again with more rounds. The exit status is 1 if it is still slower.

Suites: extraction, cache, training, start; default: all.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compared import SUITES
from timing import busy
from versions import MissingError, dependencies, installed, python

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "BASELINE"
AGAIN = 3  # factor on the rounds when a benchmark is measured again


@dataclass
class Compared:
    """Times of one benchmark in both versions, or the reason why it was skipped.

    Attributes
    ----------
    before, now : list of float
        Seconds of the baseline and of the working tree, one per round.
    skipped : str
        Reason why the baseline can't run the benchmark; empty if it can.
    differs : bool
        Whether the versions compute different results; their times are then not comparable.
    """

    name: str
    before: list[float] = field(default_factory=list)
    now: list[float] = field(default_factory=list)
    skipped: str = ""
    differs: bool = False

    @property
    def change(self) -> float:
        """Relative increase of the median time: 0.2 is 20 % longer."""
        return statistics.median(self.now) / statistics.median(self.before) - 1

    def slower(self, limit: float) -> bool:
        return not self.skipped and self.change > limit


class BrokenError(Exception):
    """The working tree can't run a benchmark."""


Measurement = Mapping[str, Any]  # "seconds" and "result", or "reason"
Measure = Callable[[str, str], Measurement]  # called with a version and a benchmark's name
TOLERANCE = 1e-3  # relative difference of results that count as equal


def run(measure: Measure, name: str, rounds: int) -> Compared:
    """Run one benchmark alternately in both versions.

    Raises
    ------
    BrokenError
        If the working tree can't run the benchmark.
    """
    times = Compared(name)
    for _ in range(rounds):
        before = measure("before", name)
        if "reason" in before:
            return Compared(name, skipped=before["reason"])
        now = measure("now", name)
        if "reason" in now:
            raise BrokenError(f"{name}: this version can't run it: {now['reason']}")
        times.differs |= not equal_results(before["result"], now["result"])
        times.before.append(before["seconds"])
        times.now.append(now["seconds"])
    return times


def equal_results(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return whether two results are equal up to TOLERANCE."""
    return len(first) == len(second) and all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12)
        for a, b in zip(first, second, strict=True)
    )


def compare(measure: Measure, names: Iterable[str], rounds: int, limit: float) -> list[Compared]:
    """Run all benchmarks; repeat those that seem slower with more rounds."""
    results = []
    for name in names:
        result = run(measure, name, rounds)
        if result.slower(limit):
            # The first times are discarded, because they were selected for being slow.
            print(f"{name}: {result.change:+.0%}, measured again", flush=True)
            result = run(measure, name, AGAIN * rounds)
        results.append(result)
    return results


def table(results: Sequence[Compared], limit: float) -> Iterator[str]:
    """Yield a header, and one line for each benchmark."""
    wide = max((len(result.name) for result in results), default=0)
    yield f"{'':<{wide}}  {'before':>10}  {'now':>10}  change"
    for result in results:
        if result.skipped:
            yield f"{result.name:<{wide}}  skipped: the baseline can't run it ({result.skipped})"
            continue
        before, now = (1e3 * statistics.median(s) for s in (result.before, result.now))
        verdict = "  SLOWER" if result.slower(limit) else ""
        verdict += "  (the results differ)" if result.differs else ""
        times = f"{before:7.2f} ms  {now:7.2f} ms  {result.change:+6.1%}"
        yield f"{result.name:<{wide}}  {times}{verdict}"


def names_of(suites: Sequence[str]) -> list[str]:
    """Return the names of the benchmarks of some suites, or of all if `suites` is empty."""
    unknown = [suite for suite in suites if suite not in SUITES]
    if unknown:
        raise SystemExit(f"There is no suite {unknown[0]!r}; available: {', '.join(SUITES)}.")
    return [name for suite in suites or SUITES for name in SUITES[suite]]


def processes(folder: Path, ref: str) -> Measure:
    """Return a function that runs a benchmark of either version in a new process.

    Raises
    ------
    MissingError
        If this repository does not contain the baseline.
    """
    shared = dependencies(folder)
    environments = {
        "before": installed("before", folder, shared, ref),
        "now": installed("now", folder, shared, None),
    }

    def measure(version: str, name: str) -> Measurement:
        process = python(environments[version], str(HERE / "compared.py"), name)
        if process.returncode:
            return {"reason": (process.stderr.strip().splitlines() or ["it failed"])[-1]}
        measurement: Measurement = json.loads(process.stdout.splitlines()[-1])
        if not Path(measurement["package"]).is_relative_to(folder / version):
            raise BrokenError(
                f"{name}: {version} ran {measurement['package']}, which is another version"
            )
        return measurement

    return measure


def baseline() -> str:
    """Return the commit or tag in the file BASELINE."""
    lines = BASELINE.read_text(encoding="utf-8").splitlines()
    return next(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE")
    parser.add_argument("--against", metavar="REF", help="commit or tag of the baseline")
    parser.add_argument(
        "--limit", type=float, default=0.2, help="largest accepted relative slowdown"
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    names, ref = names_of(options.suites), options.against or baseline()
    if options.limit <= 0 or options.rounds < 1:
        parser.error("--limit must be above 0 and --rounds 1 or more")
    with tempfile.TemporaryDirectory() as name:
        try:
            measure = processes(Path(name).resolve(), ref)
        except MissingError as missing:
            print(f"Not compared: {missing}.")
            return 2 if options.against else 0
        print(f"The working tree against {ref}, in turn. {busy()}".rstrip(), flush=True)
        try:
            results = compare(measure, names, options.rounds, options.limit)
        except BrokenError as broken:
            print(broken)
            return 2
    print("\n".join(table(results, options.limit)))
    slow = [result.name for result in results if result.slower(options.limit)]
    if slow:
        print(f"Slower by more than {options.limit:.0%}: {', '.join(slow)}.")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
