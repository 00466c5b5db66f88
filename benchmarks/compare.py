"""Is this version slower than the last one?

python benchmarks/compare.py [--against REF] [--limit 0.2] [--rounds N] [SUITE...]

Lays the baseline (the commit or tag in benchmarks/BASELINE, or REF) out beside the working tree,
and runs the same benchmarks of both in turn, each time in a process of its own: A B A B. What
looks slower than the limit is measured again, longer, before it counts. Exits 1 if it still does.

Suites: extraction, cache, training, start; all by default.
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
AGAIN = 3  # times as many rounds where something looks slow


@dataclass
class Compared:
    """Seconds of one benchmark, round by round; or why there are none.

    Attributes
    ----------
    before, now : list of float
        Of the baseline and of the working tree, one per round.
    skipped : str
        Why the baseline can't run it.
    differs : bool
        Whether both compute something else: then their times say little of each other.
    """

    name: str
    before: list[float] = field(default_factory=list)
    now: list[float] = field(default_factory=list)
    skipped: str = ""
    differs: bool = False

    @property
    def change(self) -> float:
        """How much longer it takes now: 0.2 is a fifth longer."""
        return statistics.median(self.now) / statistics.median(self.before) - 1

    def slower(self, limit: float) -> bool:
        return not self.skipped and self.change > limit


class BrokenError(Exception):
    """The working tree can't run a benchmark."""


Said = Mapping[str, Any]  # "seconds" and "result", or "reason"
Measure = Callable[[str, str], Said]  # of version, name
TOLERANCE = 1e-3  # relative, of what a result amounts to


def run(measure: Measure, name: str, rounds: int) -> Compared:
    """One benchmark of both versions in turn.

    Raises
    ------
    BrokenError
        If the working tree can't run it.
    """
    found = Compared(name)
    for _ in range(rounds):
        before = measure("before", name)
        if "reason" in before:
            return Compared(name, skipped=before["reason"])
        now = measure("now", name)
        if "reason" in now:
            raise BrokenError(f"{name}: this version can't run it: {now['reason']}")
        found.differs |= not same(before["result"], now["result"])
        found.before.append(before["seconds"])
        found.now.append(now["seconds"])
    return found


def same(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether two results amount to the same."""
    return len(first) == len(second) and all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12)
        for a, b in zip(first, second, strict=True)
    )


def compare(measure: Measure, names: Iterable[str], rounds: int, limit: float) -> list[Compared]:
    """All benchmarks; those that look slower are measured again before they count."""
    found = []
    for name in names:
        one = run(measure, name, rounds)
        if one.slower(limit):
            # Afresh: the first figures were picked for being bad.
            print(f"{name}: {one.change:+.0%}, measured again", flush=True)
            one = run(measure, name, AGAIN * rounds)
        found.append(one)
    return found


def table(found: Sequence[Compared], limit: float) -> Iterator[str]:
    """What was found, one line each."""
    wide = max((len(one.name) for one in found), default=0)
    yield f"{'':<{wide}}  {'before':>10}  {'now':>10}  change"
    for one in found:
        if one.skipped:
            yield f"{one.name:<{wide}}  skipped: the baseline can't run it ({one.skipped})"
            continue
        before, now = (1e3 * statistics.median(s) for s in (one.before, one.now))
        verdict = "  SLOWER" if one.slower(limit) else ""
        verdict += "  (they compute something else)" if one.differs else ""
        yield f"{one.name:<{wide}}  {before:7.2f} ms  {now:7.2f} ms  {one.change:+6.1%}{verdict}"


def names_of(suites: Sequence[str]) -> list[str]:
    """The benchmarks of some suites, or of all."""
    unknown = [suite for suite in suites if suite not in SUITES]
    if unknown:
        raise SystemExit(f"There is no suite {unknown[0]!r}. Known: {', '.join(SUITES)}.")
    return [name for suite in suites or SUITES for name in SUITES[suite]]


def processes(folder: Path, ref: str) -> Measure:
    """Measures in fresh processes of either version.

    Raises
    ------
    MissingError
        If the baseline is not here.
    """
    shared = dependencies(folder)
    environments = {
        "before": installed("before", folder, shared, ref),
        "now": installed("now", folder, shared, None),
    }

    def measure(version: str, name: str) -> Said:
        done = python(environments[version], str(HERE / "compared.py"), name)
        if done.returncode:
            return {"reason": (done.stderr.strip().splitlines() or ["it died"])[-1]}
        said: Said = json.loads(done.stdout.splitlines()[-1])
        if not Path(said["package"]).is_relative_to(folder / version):
            raise BrokenError(f"{name}: {version} ran {said['package']}, which is another version")
        return said

    return measure


def baseline() -> str:
    """The commit or tag to compare with."""
    lines = BASELINE.read_text(encoding="utf-8").splitlines()
    return next(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE")
    parser.add_argument("--against", metavar="REF", help="a commit or tag")
    parser.add_argument("--limit", type=float, default=0.2, help="how much slower is too slow")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    names, ref = names_of(given.suites), given.against or baseline()
    if given.limit <= 0 or given.rounds < 1:
        parser.error("--limit must be above 0 and --rounds 1 or more")
    with tempfile.TemporaryDirectory() as name:
        try:
            measure = processes(Path(name).resolve(), ref)
        except MissingError as missing:
            print(f"Not compared: {missing}.")
            return 2 if given.against else 0
        print(f"The working tree against {ref}, in turn. {busy()}".rstrip(), flush=True)
        try:
            found = compare(measure, names, given.rounds, given.limit)
        except BrokenError as broken:
            print(broken)
            return 2
    print("\n".join(table(found, given.limit)))
    slow = [one.name for one in found if one.slower(given.limit)]
    if slow:
        print(f"Slower by more than {given.limit:.0%}: {', '.join(slow)}.")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
