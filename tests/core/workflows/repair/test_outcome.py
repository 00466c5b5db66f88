"""Figures of repair steps, and repairs as plain values."""

from __future__ import annotations

import json
from pathlib import Path

from report_runs import write_run

from fusion.core.analysis.diagnosis import Diagnosis, Finding
from fusion.core.runs.result import RunResult
from fusion.core.runs.run import Run
from fusion.core.toolkit.intervals import Comparison
from fusion.core.workflows.repair.outcome import Repair, RepairRequest, Step
from fusion.core.workflows.repair.target import Target

NAN = float("nan")
SCORES = {"mel": 0.6, "text": 0.7, "ensemble": 0.9, "fused": 0.8}
TRAINED = Step("levelled", "1-levelled", ("--set x.y=1",), SCORES, 0.9, 0.1, True)
REFUSED = Step("rebuilt", refused="two of a size")


def test_the_best_single_modality_excludes_ensemble_and_fused_model() -> None:
    assert (TRAINED.fused, TRAINED.single) == (0.8, 0.7)


def test_an_untrained_step_is_below_every_other() -> None:
    assert REFUSED.fused == REFUSED.single == float("-inf")
    assert min((TRAINED, REFUSED), key=lambda step: step.fused) is REFUSED


def test_defaults_of_a_repair() -> None:
    requested = RepairRequest()
    assert (requested.target, requested.steps, requested.minutes) == (Target("target"), (), None)


def repair(path: Path) -> Repair:
    result = RunResult.read(Run.open(write_run(path / "run")))
    finding = Finding("cold_start", "severe", "It is slow.", "a rule", "mel")
    return Repair(
        path, Diagnosis((finding,), {}, {}), (TRAINED, REFUSED), "text", 0.72, True, TRAINED,
        result, result, Comparison(0.1, NAN, NAN, NAN, 1, 0.95),
    )  # fmt: skip


def test_undefined_figures_are_written_as_null(tmp_path: Path) -> None:
    matches = repair(tmp_path)
    plain = json.loads(json.dumps(matches.to_json(), allow_nan=False))
    assert (plain["best_single"], plain["goal"], plain["reached"]) == ("text", 0.72, True)
    assert (plain["chosen"], plain["handed_out"]) == ("levelled", "1-levelled")
    assert plain["steps"][0]["words"] == ["--set x.y=1"]
    assert plain["steps"][0]["val_uar"] == SCORES
    assert plain["steps"][1]["refused"] == "two of a size"
    assert plain["against_base"]["difference"] == 0.1 and plain["against_base"]["low"] is None
    assert [finding["fault"] for finding in plain["findings"]] == ["cold_start"]
    assert plain["verdict"] == matches.result.verdict
