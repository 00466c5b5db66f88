"""Training history of a run: the figures of every epoch, from epochs.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...toolkit.run_files import read_lines
from ..run import Run
from ..stored_records import check_epoch
from ..trainings import CONTROL, FUSED, Training, all_trainings


def read_history(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Return the epochs of each training in order, by name; an unfinished run has fewer epochs.

    The names are folders of the run directory, fold by fold: the baselines, the fused model, and
    the control if the run has one. A tuned training has the epochs of all its trials; the key
    ``trial`` of an epoch holds the number of the epoch's trial.
    """
    last = {FUSED: 1, CONTROL: 2}
    ordered = sorted(all_trainings(run), key=lambda t: (t.fold, last.get(t.model, 0)))
    return {training.name: read_epochs(run, training) for training in ordered}


def read_epochs(run: Run, training: Training) -> list[dict[str, Any]]:
    """Read the records of a training's epochs; the list is empty before the training begins.

    Raises
    ------
    RunError
        If the file is damaged.
    """
    path = run.training(training.name) / "epochs.jsonl"
    records = read_lines(path) if path.exists() else []
    for record in records:
        check_epoch(record, path)
    return records


def kept_epochs(run: Run, training: Training, summary: Mapping[str, Any]) -> list[Any]:
    """Read the epochs of a training; for a tuned training, only the epochs of the chosen trial.

    `summary` is the content of the training's training.json.
    """
    records = read_epochs(run, training)
    return [record for record in records if record.get("trial") == summary.get("trial")]
