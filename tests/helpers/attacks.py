"""Count of attacks in a test run: tried, survived, lost; printed as a table at its end.

An attack is a kill, a flipped byte, a truncation, a full disk, a hostile answer or a mutated file.
An attack is survived if everything that its test expects of it holds. The counts of the processes
of pytest-xdist are added up (``tests/conftest.py``).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

Counts = dict[str, list[int]]

# [tried, survived] by kind of attack and test file.
counts: Counts = defaultdict(lambda: [0, 0])


@contextmanager
def attack(kind: str) -> Iterator[None]:
    """Count one attack of a kind; an exception in the block counts as lost."""
    tally = counts[f"{kind} | {_test_file()}"]
    tally[0] += 1
    yield
    tally[1] += 1


def record(kind: str, survived: bool) -> None:
    """Count one attack of a kind, by its outcome."""
    tally = counts[f"{kind} | {_test_file()}"]
    tally[0] += 1
    tally[1] += survived


def add(more: Counts) -> None:
    """Add the counts of another process."""
    for name, (tried, survived) in more.items():
        counts[name][0] += tried
        counts[name][1] += survived


def table() -> Iterable[str]:
    """Yield the counts as a table in Markdown; nothing without attacks."""
    if not counts:
        return
    yield "| attack | tests | tried | survived | lost |"
    yield "|---|---|---|---|---|"
    for name, (tried, survived) in sorted(counts.items()):
        yield f"| {name} | {tried} | {survived} | {tried - survived} |"


def _test_file() -> str:
    """Return the path of the running test below `tests`."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0].removeprefix("tests/")
