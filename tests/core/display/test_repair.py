"""Repairs on a terminal, on a synthetic run."""

import math
from dataclasses import replace

import pytest
from report_runs import write_run

from fusion.core.analysis.diagnosis import Diagnosis, Finding
from fusion.core.display.repair import RepairDisplay, print_repair
from fusion.core.runs.outcome.results import Results
from fusion.core.runs.result import RunResult
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import FUSED
from fusion.core.toolkit.intervals import Comparison
from fusion.core.workflows.repair.outcome import Repair, Step

BASE = Step("base", "r/base", (), {"a": 0.7, "b": 0.5, FUSED: 0.6}, 0.7)
TRIED = Step("warm", "r/warm", ("--set", "train.start=x"), {"a": 0.7, "b": 0.5, FUSED: 0.75},
             0.75, 0.15, True, "", 12.4)  # fmt: skip
REFUSED = Step("other", refused="No branch.")


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    run = Run.open(write_run(tmp_path_factory.mktemp("repaired") / "run"))
    return RunResult(run, Results.read(run))


def repair(result, **changes):
    passed = {
        "path": result.path, "diagnosis": Diagnosis((), {}, {}), "steps": (BASE, TRIED, REFUSED),
        "best_single": "a", "goal": 0.7, "reached": True, "chosen": TRIED, "result": result,
        "before": result, "against_base": Comparison(0.05, 0.01, 0.09, 0.02, 8, 0.95),
    }  # fmt: skip
    return Repair(**{**passed, **changes})


def test_every_step_has_a_row_and_the_chosen_step_a_star(printed, result):
    lines = printed(print_repair, repair(result))
    head = next(i for i, line in enumerate(lines) if line.startswith("step "))
    rows = [line.split() for line in lines[head : head + 4]]
    assert rows[0] == ["step", "a", "b", FUSED, "gain", "changes"]
    assert rows[1] == ["base", "70.0", "50.0", "60.0"]
    assert rows[2] == ["warm", "*", "70.0", "50.0", "75.0", "+15.0", "--set", "train.start=x"]
    assert rows[3] == ["other", "left", "out:", "No", "branch."]


def test_the_summary_has_validation_and_test_before_and_after(printed, result):
    text = "\n".join(printed(print_repair, repair(result)))
    before = "The fused model reached 60.0 UAR on validation, a alone reached 70.0"
    assert f"{before}; after the repair it reaches 75.0." in text
    assert "before the repair, on the same test clips: fused " in text
    assert text.endswith("chosen model minus a before the repair: +5.0 points of UAR, 95 % "
                         "interval [+1.0, +9.0], p = 0.020")  # fmt: skip
    text = "\n".join(printed(print_repair, repair(result, reached=False, goal=0.8)))
    assert "no step reached the target 80.0. The best fused model reaches 75.0. The chosen" in text


def test_a_missing_interval_is_shown_as_text(printed, result):
    """``[n/a, n/a]`` resembles markup."""
    alone = Comparison(0.05, math.nan, math.nan, math.nan, 1, 0.95)
    text = "\n".join(printed(print_repair, repair(result, against_base=alone)))
    assert "95 % interval [n/a, n/a], p = n/a" in text


def test_markup_and_control_characters_are_plain_text(printed, result, nasty):
    name, shown = nasty
    steps = (BASE, replace(TRIED, words=(name,)), replace(REFUSED, refused=name))
    lines = printed(print_repair, repair(result, steps=steps))
    assert sum(shown in line for line in lines) == 2


def test_finished_steps_are_shown(printed, nasty):
    name, shown = nasty
    display = RepairDisplay()
    finding = Finding("dead_branch", "severe", "It is.", "rule", "a")

    def show():
        display.diagnosed(Diagnosis((finding,), {}, {}), BASE, 0.72)
        display.trying("warm", ["--set", name])
        display.stepped(TRIED, TRIED)
        display.stepped(replace(TRIED, kept=False), BASE)
        display.stepped(replace(REFUSED, refused=name), BASE)

    message = "          fused 75.0 on validation, +15.0 against the base, in 12 s: "
    assert printed(show, err=True) == [
        "diagnosis Dead branch of a (severe)",
        "base      validation UAR: a 70.0, b 50.0, fused 60.0; target: 72.0",
        f"warm      --set {shown}",
        f"{message}kept",
        f"{message}not kept; the best so far is base",
        f"          left out: {shown}",
    ]


def test_a_base_without_findings(printed):
    lines = printed(RepairDisplay().diagnosed, Diagnosis((), {}, {}), BASE, 0.7, err=True)
    assert lines[0] == "diagnosis no rule found a fault"
