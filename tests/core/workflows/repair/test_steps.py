"""Steps of a repair: the run directory of a step keeps the account of the base run."""

from __future__ import annotations

import json
from pathlib import Path

from untrained_runs import config_of, untrained_run, write_corpus

from fusion.core.registry.registry import Registry
from fusion.core.runs.run import Run
from fusion.core.workflows.repair import _Work
from fusion.core.workflows.repair.outcome import RepairObserver, RepairRequest


def test_a_step_keeps_what_the_corpora_passed_over_and_the_signals(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    path = untrained_run(tmp_path, tmp_path / "run", config_of(tmp_path)).path
    record = json.loads((path / "run.json").read_text())
    facts = {
        "dropped_labels": {"table": {"odd": 3}},
        "passed_over": {"table": {"no label": 2}},
        "columns": {"table": {"label": "EmoClass"}},
        "unreadable": {"table": 1},
    }
    (path / "run.json").write_text(json.dumps(record | facts))
    key = Run.open(path).data.keys[0]
    (path / "signals.csv").write_text(
        f"name,corpus,key,seconds,peak,rms,clipped,constant\ns0-happy-0.wav,table,{key},1,0,0,0,1\n"
    )
    run = Run.open(path, Registry(config_of(tmp_path).plugins))
    work = _Work(run, tmp_path / "out", run.registry, RepairRequest(), 0, RepairObserver())
    step = Run.open(work._step_run(work._like, "1-step").path)
    assert json.loads((step.path / "run.json").read_text()).items() >= facts.items()
    assert step.signals == run.signals and len(run.signals) == 1
    (intake,) = step.record.intake(step.data.clips)
    assert (intake.total, intake.left_out) == (30, 6)
