"""Arithmetic and messages of benchmarks/compare.py."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def compare(benchmark_module: Callable[[str], Any]) -> Any:
    return benchmark_module("compare")


def measuring(*seconds: tuple[float, float]) -> Callable[[str, str], dict[str, Any]]:
    """Return a measuring function for pairs of seconds, in the order before, now, before, now."""
    flat = iter([s for pair in seconds for s in pair])
    return lambda version, name: {"seconds": next(flat), "result": []}


def test_change_is_that_of_the_medians(compare: Any) -> None:
    result = compare.run(measuring((1, 9), (2, 3), (50, 2)), "a", 3)
    assert result.before == [1, 2, 50] and result.now == [9, 3, 2]
    assert result.change == pytest.approx(3 / 2 - 1)
    assert result.slower(0.4) and not result.slower(0.6)


def test_a_slow_benchmark_is_measured_again(compare: Any) -> None:
    chance = compare.compare(measuring((1, 2), *[(1, 1)] * 3), ["a"], 1, 0.2)
    assert [one.slower(0.2) for one in chance] == [False]
    truth = compare.compare(measuring(*[(1, 2)] * 4), ["a"], 1, 0.2)
    assert [one.slower(0.2) for one in truth] == [True]
    assert truth[0].now == [2, 2, 2]  # only of the second measurement


def test_a_benchmark_that_the_baseline_cannot_run_is_skipped(compare: Any) -> None:
    def measure(version: str, name: str) -> dict[str, Any]:
        return {"reason": "no such module"} if version == "before" else {"seconds": 1.0}

    (result,) = compare.compare(measure, ["a"], 2, 0.2)
    assert not result.slower(0.2)
    assert list(compare.table([result], 0.2))[1] == (
        "a  skipped: the baseline can't run it (no such module)"
    )


def test_a_benchmark_that_this_version_cannot_run_is_an_error(compare: Any) -> None:
    def measure(version: str, name: str) -> dict[str, Any]:
        return {"reason": "spoilt"} if version == "now" else {"seconds": 1.0, "result": []}

    with pytest.raises(compare.BrokenError, match="a: this version can't run it: spoilt"):
        compare.run(measure, "a", 1)


def test_the_table_marks_slower_and_different_results(compare: Any) -> None:
    slower = compare.Compared("reading", [0.010], [0.013])
    other = compare.Compared("mel", [0.010], [0.005], differs=True)
    assert list(compare.table([slower, other], 0.2)) == [
        "             before         now  change",
        "reading    10.00 ms    13.00 ms  +30.0%  SLOWER",
        "mel        10.00 ms     5.00 ms  -50.0%  (the results differ)",
    ]


def test_results_are_compared_by_their_summaries(
    compare: Any, benchmark_module: Callable[[str], Any]
) -> None:
    summary = benchmark_module("compared").summary
    assert summary(np.array([[1.0, 3.0]])) == summary([np.ones(1), np.full(1, 3.0)]) == [2, 1]
    assert summary(None) == []
    assert compare.equal_results([2.0, 1.0], [2.001, 1.0])
    assert not compare.equal_results([2.0, 1.0], [2.1, 1.0])
    assert not compare.equal_results([], [2.0, 1.0])


def test_rounds_alternate_between_functions(benchmark_module: Callable[[str], Any]) -> None:
    calls: list[str] = []
    used = benchmark_module("timing").in_turn(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2
    )
    assert calls == ["a", "b"] * 3 and used.keys() == {"a", "b"}


def said_by(*arguments: str) -> tuple[int, str]:
    finished = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/compare.py"), *arguments],
        capture_output=True,
        text=True,
    )
    return finished.returncode, finished.stdout + finished.stderr


def test_an_unknown_suite_is_refused() -> None:
    code, output = said_by("sturt")
    assert code != 0
    assert output == "There is no suite 'sturt'; available: extraction, cache, training, start.\n"


def test_an_unknown_baseline_is_refused() -> None:
    code, output = said_by("--against", "no-such-tag", "start")
    assert code == 2
    assert output.startswith("Not compared: ")
    assert "Traceback" not in output
