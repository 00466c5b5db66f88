"""A finished run as plain data: read once, from its files alone; what is missing is None."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contracts.errors import FusionError, RunError
from ...data.dataset import RunData
from ...runs.config import RunConfig
from ...runs.outcome.history import kept_epochs
from ...runs.outcome.results import Results
from ...runs.outcome.selection import Selection
from ...runs.outcome.test_predictions import SavedPredictions
from ...runs.record import RunRecord
from ...runs.run import RESULTS, Run
from ...runs.trainings import Training, all_trainings
from ...toolkit.metrics import Floats

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Answers:
    """What every model said about the test clips, in one order.

    Attributes
    ----------
    said : SavedPredictions
        Fold, speaker, class of each clip, and what each model took it for.
    probabilities : dict of array
        Model -> (n, C) float64.
    """

    said: SavedPredictions
    probabilities: dict[str, Floats]

    @property
    def corpora(self) -> npt.NDArray[np.str_]:
        """Corpus of each clip, (n,)."""
        return np.array([speaker.partition("/")[0] for speaker in self.said.speakers.tolist()])

    def right(self, model: str) -> npt.NDArray[np.bool_]:
        """Whether the model is right about each clip, (n,)."""
        return np.equal(self.said.predicted[model], self.said.targets)


@dataclass(frozen=True)
class ReadRun:
    """What a report knows of a run.

    Attributes
    ----------
    path : Path
        The run directory.
    record : RunRecord
        run.json.
    results : Results
        results.json.
    selection : Selection or None
        selection.json.
    data : RunData or None
        Clips and splits.
    answers : Answers or None
        predictions.csv.
    epochs : dict
        Training -> the records of its epochs, of the chosen trial where it was tuned. A fused
        model that starts from the baselines has an epoch 0.
    summaries : dict
        Training -> its training.json.
    diagnosis : dict or None
        diagnosis.json.
    """

    path: Path
    record: RunRecord
    results: Results
    selection: Selection | None
    data: RunData | None
    answers: Answers | None
    epochs: dict[Training, list[Record]]
    summaries: dict[Training, Record]
    diagnosis: Record | None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.record.classes

    @property
    def config(self) -> RunConfig:
        """Return the configuration, which is what was asked for."""
        return self.record.config

    @property
    def modalities(self) -> list[str]:
        return self.record.modalities

    @property
    def folds(self) -> int:
        return self.record.split.folds

    @property
    def label(self) -> str:
        """What was fused with: ``"gated + gradscale"``."""
        return " + ".join([self.config.strategy, *self.config.balancers])

    @property
    def models(self) -> list[str]:
        """Every row of the table."""
        return [model.name for model in self.results.models]

    def records(self, model: str) -> list[list[Record]]:
        """The epochs of a model on each fold that has some."""
        found = (self.epochs.get(Training(fold, model), []) for fold in range(self.folds))
        return [records for records in found if records]


def read_run(run: Run) -> ReadRun:
    """Read a finished run.

    Raises
    ------
    RunError
        If the run is not finished.
    """
    path = run.path
    if not (path / RESULTS).is_file():
        raise RunError(
            f"The run {path} is not finished: it has no results to report.",
            hint=f"Finish it: fusion run --resume {path}",
        )
    trainings = all_trainings(run)
    summaries = {t: _object(run, f"{t.name}/training.json") for t in trainings}
    return ReadRun(
        path,
        run.record,
        Results.read(run),
        _selection(run),
        _clips(run),
        _answers(run),
        {t: _epochs(run, t, summaries[t] or {}) for t in trainings},
        {t: summary for t, summary in summaries.items() if summary},
        _object(run, "diagnosis.json"),
    )


def _object(run: Run, name: str) -> dict[str, Any] | None:
    try:
        return run.read_json(name)
    except RunError:
        return None


def _selection(run: Run) -> Selection | None:
    try:
        return Selection.read(run)
    except RunError:
        return None


def _clips(run: Run) -> RunData | None:
    try:
        return run.data
    except RunError:
        return None


def _epochs(run: Run, training: Training, summary: Record) -> list[Record]:
    """Return the records of the epochs, that of epoch 0 first where a model has such a start."""
    try:
        found: list[Record] = [*kept_epochs(run, training, summary)]
    except (OSError, ValueError):
        return []
    start = summary.get("start")
    return [start, *found] if found and isinstance(start, Mapping) else found


def _answers(run: Run) -> Answers | None:
    classes = run.record.classes
    rows: dict[str, dict[tuple[int, str, str], list[float]]] = {}
    path = run.path / "predictions.csv"
    try:
        said = SavedPredictions.read(run)
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file)
            place = {name: i for i, name in enumerate(next(reader))}
            first = place[f"p_{classes[0]}"]
            for row in reader:
                clip = (int(row[place["fold"]]), row[place["corpus"]], row[place["clip"]])
                given = [float(p) for p in row[first : first + len(classes)]]
                rows.setdefault(row[place["model"]], {})[clip] = given
    except (OSError, KeyError, ValueError, IndexError, StopIteration, FusionError):
        return None
    clips = sorted(next(iter(rows.values())))  # SavedPredictions's order
    return Answers(said, {m: np.array([given[c] for c in clips]) for m, given in rows.items()})


def series(records: Sequence[Record], metric: str) -> Floats:
    """One figure over the epochs that have it, (E, 2): epoch and value."""
    found = [
        (float(record["epoch"]), float(record[metric]))
        for record in records
        if isinstance(record.get(metric), int | float)
    ]
    return np.array(found, dtype=np.float64).reshape(-1, 2)
