"""Results of plugin checks for people and for programs, on synthetic results."""

import json

import pytest

from fusion import Strategy
from fusion.core.display import plugin_checks
from fusion.core.registry.problems import Source
from fusion.core.registry.registry import Entry
from fusion.core.testing import runner
from fusion.core.testing.checks.assertions import Fault
from fusion.core.testing.costs import Cost
from fusion.core.testing.runner import Group, Result


class Tiny(Strategy):
    """A strategy."""

    name = "tiny"
    version = "3"


ENTRY = Entry("strategy", "tiny", Tiny, Source("t", "fusion-tiny", "1.2"))
FAULT = Fault("Tiny, 2 clips", "it returns None", "scores", "a missing return")
PASSED = Group("output", [Result(str(k), "passed", 0.1) for k in range(3)])
SKIPPED = Group("calibrate", [Result("", "skipped", 0.0, "no calibrate of its own")])
FAILED = Group(
    "gradients",
    [Result("one", "failed", 0.1, fault=FAULT, frames=("mine.py, line 3: return",)),
     Result("two", "failed", 0.1, fault=FAULT), Result("three", "passed", 0.1)],
)  # fmt: skip
AGAIN = Group("determinism", [Result("one", "failed", 0.1, fault=FAULT)])
COSTS = [Cost("forward, 64 clips", 0.00123, 2_000_000, "2x the plain sum"), Cost("make", 5e-5)]


@pytest.fixture
def shown(monkeypatch, capsys):
    """Function that shows given results; returns the exit value and the printed lines."""
    monkeypatch.setenv("COLUMNS", "80")

    def show(groups, costs=(), *, progress=False):
        def run(suite, *, on_check=None):
            for group in groups:
                on_check(group.name)
                yield group

        monkeypatch.setattr(runner, "run", run)
        monkeypatch.setattr(runner, "costs_of", lambda suite: list(costs))
        failed = plugin_checks.show(ENTRY, None, progress=progress)
        output = capsys.readouterr()
        return failed, output.out.splitlines(), output.err

    return show


def test_each_check_has_a_line_and_the_plugin_a_summary(shown):
    failed, lines, err = shown([PASSED, SKIPPED])
    assert not failed and err == ""
    assert lines[0] == "strategy 'tiny' · version 3, fusion-tiny 1.2"
    assert lines[1] == f"  ✓ {'output':<34}3 cases"
    assert lines[2] == f"  - {'calibrate':<34}skipped: no calibrate of its own"
    assert lines[3].startswith("strategy 'tiny': 1 check passed, 0 failed, 1 skipped (")


def test_a_failure_is_explained_once_and_other_cases_are_counted(shown):
    failed, lines, _ = shown([FAILED, AGAIN])
    assert failed
    assert lines[1:10] == [
        f"  ✗ {'gradients':<34}3 cases",
        "      Tiny, 2 clips",
        "        what failed: it returns None",
        "        expected:    scores",
        "        usual cause: a missing return",
        "        in:          mine.py, line 3: return",
        "      and 1 case more: two",
        f"  ✗ {'determinism':<34}1 case",
        "      fails in the same way as 'gradients'",
    ]
    assert lines[10].startswith("strategy 'tiny': 0 checks passed, 2 failed, 0 skipped (")


def test_a_long_reason_is_given_once(shown):
    reason = "there is nothing to be tried, because the plugin takes part in no step of a training"
    groups = [Group(name, [Result("", "skipped", 0.0, reason)]) for name in ("one", "two")]
    _, lines, _ = shown(groups)
    assert lines[1].startswith(f"  - {'one':<34}skipped: there is nothing")
    assert f"  - {'two':<34}skipped: see 'one'" in lines
    assert max(map(len, lines)) <= 80


def test_skipped_cases_are_counted(shown):
    mixed = Group("output", [*PASSED.results, Result("x", "skipped", 0.0, "odd")])
    assert shown([mixed])[1][1] == f"  ✓ {'output':<34}4 cases, 1 skipped"


def test_costs_are_shown_without_judgement(shown):
    _, lines, _ = shown([PASSED], COSTS)
    assert lines[2:7] == [
        "  cost on this machine, on the CPU (measured, not judged)",
        "      forward, 64 clips",
        "        1.23 ms; 2.0 MB peak memory; 2x the plain sum",
        "      make",
        "        50 µs",
    ]


def test_progress_is_erased(shown):
    _, _, err = shown([PASSED], progress=True)
    assert err == "\r  … output\r\r  … costs\r"  # click omits escape sequences in pipes


def test_plugins_that_could_not_be_checked_are_reported(capsys):
    plugin_checks.show_unchecked([{"reason": "it wants a path", "hint": "Give --data."}])
    assert capsys.readouterr().out == "  not checked: it wants a path\n    Give --data.\n"


def test_json_output():
    result = plugin_checks.as_dict(ENTRY, [PASSED, SKIPPED, FAILED], COSTS)
    text = plugin_checks.to_json([result], [{"reason": "no"}])
    again = json.loads(text)
    assert again["unchecked"] == [{"reason": "no"}]
    (tiny,) = again["plugins"]
    assert {"kind": "strategy", "name": "tiny", "version": "3", "passed": 1, "failed": 1,
            "skipped": 1}.items() <= tiny.items()  # fmt: skip
    assert [check["outcome"] for check in tiny["checks"]] == ["passed", "skipped", "failed"]
    assert tiny["checks"][1]["cases"][0]["reason"] == "no calibrate of its own"
    first, second, third = tiny["checks"][2]["cases"]
    assert first["failed"] == "it returns None" and first["frames"] == ["mine.py, line 3: return"]
    assert second["frames"] == [] and "failed" not in third
    assert tiny["costs"][1] == {"what": "make", "seconds": 5e-5, "bytes": None, "note": ""}
