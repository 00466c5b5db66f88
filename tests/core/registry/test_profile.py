"""Rows of a trace: sums and the written file."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from made_traces import made_up

from fusion.core.registry.problems import Source
from fusion.core.registry.profile import IMPORT, Key, Tally, Trace

FORWARD = Key("", "strategy", "tiny", "1", "forward")


def test_sums_of_tallies_by_hand() -> None:
    tally = Tally()
    assert (tally.calls, tally.first, tally.last) == (0, math.inf, 0.0)
    tally.add(Tally(2, 3.0, 1.5, 2.0, 4.0, 6.0))
    assert tally == Tally(2, 3.0, 1.5, 2.0, 4.0, 6.0)
    tally.add(Tally(1, 0.25, 0.25, 0.25, 1.0, 1.0))  # an earlier and shorter call
    assert tally == Tally(3, 3.25, 1.75, 2.0, 1.0, 6.0)
    tally.add(Tally())
    assert tally == Tally(3, 3.25, 1.75, 2.0, 1.0, 6.0)


def test_processes_and_phases_are_summed_and_rows_are_unchanged() -> None:
    trace = made_up()
    result = trace.summed()
    assert result[FORWARD] == Tally(10, 5.0, 3.0, 1.2, 1, 9)  # 4 calls in one process, 6 in another
    assert len(result) == len(trace.rows) - 1
    assert all(key.phase == "" for key in result)
    assert [tally.calls for tally in trace.rows.values()] == [4, 6, 1, 1, 1, 1]


def test_one_plugin_in_two_phases_is_summed_to_one_row() -> None:
    rows = {(1, FORWARD._replace(phase=phase)): Tally(calls=1) for phase in ("check", "train", "")}
    assert Trace(rows).summed() == {FORWARD: Tally(calls=3)}


def test_two_versions_of_a_plugin_are_two_rows() -> None:
    rows = {(1, FORWARD._replace(version=v)): Tally(calls=1) for v in ("1", "2")}
    assert len(Trace(rows).summed()) == 2


def test_this_process_is_counted() -> None:
    assert made_up().processes == 3  # 1, 2 and this one
    assert Trace().processes == 1
    assert Trace({(os.getpid(), FORWARD): Tally()}).processes == 1


def test_a_row_without_a_known_source_has_the_plugins_name_only() -> None:
    assert made_up().source_of(FORWARD) == Source("t", "fusion-tiny", "1.2")
    assert Trace().source_of(FORWARD) == Source("tiny", "", "")


def test_a_trace_without_rows_is_one_line() -> None:
    (line,) = Trace(seconds=1 / 3).lines()
    assert json.loads(line) == {"command": "", "seconds": 0.333333, "processes": 1, "cuda": False}


def test_the_file_has_a_row_for_each_process_and_phase(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    made_up().write(path, "fusion run")
    made_up().write(path, "fusion run")  # the file is appended to
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2 * 7 and lines[0] == lines[7]
    assert lines[0] == {"command": "fusion run", "seconds": 10, "processes": 3, "cuda": False}
    assert lines[1] == {
        "process": 1, "phase": "train fold0/fused", "kind": "strategy", "plugin": "tiny",
        "version": "1", "method": "forward", "distribution": "fusion-tiny",
        "distribution_version": "1.2", "calls": 4, "total": 2, "own": 1, "longest": 0.9,
        "first": 1, "last": 5,
    }  # fmt: skip
    (module,) = (line for line in lines[:7] if line.get("method") == IMPORT)
    assert (module["plugin"], module["brought"]) == ("t", ["scipy", "pandas", "torch", "sympy"])
