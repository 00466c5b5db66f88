"""How the trainings of a run went, epoch by epoch, as they wrote it down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..run import Run
from ..trainings import CONTROL, FUSED, Training, all_trainings


def read_history(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Name of a training -> its epochs in order; of a run that goes on, those until now.

    Names are folders of the run directory, fold by fold: the baselines, the fused model, and its
    control where there is one.
    A tuned training has the epochs of all its trials, told apart by ``trial``.
    """
    last = {FUSED: 1, CONTROL: 2}
    ordered = sorted(all_trainings(run), key=lambda t: (t.fold, last.get(t.model, 0)))
    return {training.name: read_epochs(run, training) for training in ordered}


def read_epochs(run: Run, training: Training) -> list[dict[str, Any]]:
    """What one training wrote after each epoch; empty before it began."""
    path = run.training(training.name) / "epochs.jsonl"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1]  # the last line may be half written
    return [json.loads(line) for line in whole.splitlines()]


def kept_epochs(run: Run, training: Training, summary: Mapping[str, Any]) -> list[Any]:
    """The epochs of a training; of a tuned one those of the trial that was chosen.

    `summary` is its training.json.
    """
    records = read_epochs(run, training)
    return [record for record in records if record.get("trial") == summary.get("trial")]
