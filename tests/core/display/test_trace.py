"""Tables of synthetic traces."""

from __future__ import annotations

import pytest
from made_traces import made_up

from fusion.core.display.trace import loads_of, seconds_text, table
from fusion.core.registry.profile import IMPORT, MODULE, Key, Tally, Trace


def test_the_table_of_a_trace() -> None:
    lines = table(made_up())
    text = "\n".join(lines)
    assert "strategy tiny, version 1, from fusion-tiny 1.2" in lines
    rows = {line.split()[0]: line.split() for line in lines if line.startswith("  ")}
    assert " ".join(rows["forward"]) == ("forward 10 5.00 s 3.00 s 500 ms 1.20 s 30.0% 1.0 s 9.0 s")
    assert " ".join(rows["adopt"][:4]) == "adopt 1 500 ms"
    assert " ".join(rows["total"]) == "total 3.50 s 35.0%"
    assert "created but not called: remedy idle" in text
    assert "slowest: t 250 ms (with scipy, pandas, torch and 1 more)" in " ".join(lines)
    assert "plugin time by phase: check 500 ms, train 3.00 s" in text
    assert all(len(line) <= 80 for line in lines)
    assert "GPU" not in text
    trace = made_up()
    trace.cuda = True
    assert "A GPU was used: the times are those of the host" in "\n".join(table(trace))


def test_an_empty_trace_is_accepted() -> None:
    assert table(Trace(seconds=1.0))[0] == "trace: 1.00 s; 0 plugin calls took 0 µs"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 µs"), (4.4e-6, "4 µs"), (9.994e-4, "999 µs"), (0.0012345, "1.23 ms"),
        (0.012345, "12.3 ms"), (0.9996, "1.00 s"), (9.996, "10.0 s"), (123.4, "123 s"),
        (12345, "12345 s"),
    ],
)  # fmt: skip
def test_seconds_have_three_significant_digits(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_plugins_and_methods_are_sorted_by_time() -> None:
    trace = Trace(seconds=10.0)
    rows = {("quick", "forward"): 1.0, ("slow", "adopt"): 2.0, ("slow", "forward"): 3.0}
    for (plugin, method), own in rows.items():
        key = Key("train", "strategy", plugin, "1", method)
        trace.rows[1, key] = Tally(1, own, own, own, 0.0, 0.0)
    named = [line.split()[0] for line in table(trace)[3:9]]
    assert named == ["strategy", "forward", "adopt", "total", "strategy", "forward"]
    assert "strategy slow, version 1" in table(trace)[3]


def test_a_long_name_has_a_separate_line() -> None:
    trace = Trace(seconds=1.0)
    key = Key("train", "strategy", "tiny", "1", "a_method_with_a_long_name")
    trace.rows[1, key] = Tally(10**9, 1.0, 1.0, 1.0, 0.0, 0.0)
    lines = table(trace)
    at = lines.index("  a_method_with_a_long_name")
    assert lines[at + 1].split()[0] == "1000000000"  # separated from the next column
    assert lines[at + 1].split()[1:3] == ["1.00", "s"]


def test_a_module_is_one_load_with_its_import_and_its_hooks() -> None:
    (load,) = loads_of(made_up())
    assert (load.source.plugin, load.hooks, load.broken) == ("t", ["fusion_strategies"], False)
    assert (load.seconds_import, load.seconds_hooks) == (0.25, 1e-5)
    assert load.seconds == pytest.approx(0.25001)
    assert load.brought == ["scipy", "pandas", "torch", "sympy"]


def test_imports_are_summed_and_the_slowest_three_are_named() -> None:
    trace = Trace(seconds=1.0)
    for number in range(4):
        key = Key("", MODULE, f"dist:m{number}", "", IMPORT)
        trace.rows[1, key] = Tally(1, 0.1 * (number + 1), 0.1, 0.1, 0.0, 0.0)
    text = " ".join(table(trace))
    assert "4 plugin modules, 1.00 s for imports and 0 µs for hooks" in text
    assert "slowest: dist:m3 400 ms, dist:m2 300 ms, dist:m1 200 ms. For every module" in text
