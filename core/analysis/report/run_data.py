"""Data of a finished run for the report; the data of a missing file are None."""

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
from ...runs.stored_records import DiagnosisRecord, TrainingSummary, check_record
from ...runs.trainings import Training, all_trainings
from ...toolkit.metrics import Floats
from ...toolkit.run_files import open_table

Record = Mapping[str, Any]


@dataclass(frozen=True)
class ModelPredictions:
    """Predictions of all models for the test clips, with clips in the same order throughout.

    Attributes
    ----------
    per_clip : SavedPredictions
        Fold, speaker and class of each clip, and the class that each model predicts.
    probabilities : dict of array
        Probabilities (n, C) float64, by model.
    """

    per_clip: SavedPredictions
    probabilities: dict[str, Floats]

    @property
    def corpora(self) -> npt.NDArray[np.str_]:
        """Corpus of each clip, (n,)."""
        return np.array([speaker.partition("/")[0] for speaker in self.per_clip.speakers.tolist()])

    def correct(self, model: str) -> npt.NDArray[np.bool_]:
        """Return whether the model's prediction is correct for each clip, (n,)."""
        return np.equal(self.per_clip.predicted[model], self.per_clip.targets)


@dataclass(frozen=True)
class ReadRun:
    """Data of a finished run that a report shows.

    Attributes
    ----------
    path : Path
        The run directory.
    record : RunRecord
        Contents of run.json.
    results : Results
        Contents of results.json.
    selection : Selection or None
        Contents of selection.json.
    data : RunData or None
        Clips and splits.
    predictions : ModelPredictions or None
        Contents of predictions.csv.
    epochs : dict
        Records of the epochs, by training. For a tuned training, the records are those of the
        chosen trial. A fused model that starts from the baselines has an epoch 0.
    summaries : dict
        Contents of training.json, by training.
    diagnosis : dict or None
        Contents of diagnosis.json.
    """

    path: Path
    record: RunRecord
    results: Results
    selection: Selection | None
    data: RunData | None
    predictions: ModelPredictions | None
    epochs: dict[Training, list[Record]]
    summaries: dict[Training, Record]
    diagnosis: Record | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.record.classes

    @property
    def config(self) -> RunConfig:
        """Configuration that the run was started with."""
        return self.record.config

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities."""
        return self.record.modalities

    @property
    def folds(self) -> int:
        """Number of folds."""
        return self.record.split.folds

    @property
    def label(self) -> str:
        """Strategy and balancers, such as ``"gated + gradscale"``."""
        return " + ".join([self.config.strategy, *self.config.balancers])

    @property
    def models(self) -> list[str]:
        """Names of all models in the results table."""
        return [model.name for model in self.results.models]

    def records(self, model: str) -> list[list[Record]]:
        """Return the epoch records of a model, for each fold that has any."""
        by_fold = (self.epochs.get(Training(fold, model), []) for fold in range(self.folds))
        return [records for records in by_fold if records]


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
            f"The run {path} is not finished: it has no results yet.",
            hint=f"Resume the run: fusion run --resume {path}",
        )
    trainings = all_trainings(run)
    summaries = {t: _object(run, f"{t.name}/training.json", TrainingSummary) for t in trainings}
    return ReadRun(
        path,
        run.record,
        Results.read(run),
        _selection(run),
        _clips(run),
        _predictions(run),
        {t: _epochs(run, t, summaries[t] or {}) for t in trainings},
        {t: summary for t, summary in summaries.items() if summary},
        _object(run, "diagnosis.json", DiagnosisRecord),
    )


def _object(run: Run, name: str, schema: type) -> dict[str, Any] | None:
    """Return the contents of a JSON file; None if the file can't be read or is damaged."""
    try:
        content = run.read_json(name)
        check_record(content, schema, run.path / name)
    except RunError:
        return None
    return content


def _selection(run: Run) -> Selection | None:
    """Return the selection; None if selection.json can't be read."""
    try:
        return Selection.read(run)
    except RunError:
        return None


def _clips(run: Run) -> RunData | None:
    """Return clips and splits; None if clips.csv can't be read."""
    try:
        return run.data
    except RunError:
        return None


def _epochs(run: Run, training: Training, summary: Record) -> list[Record]:
    """Return the epoch records, beginning with epoch 0 if the model starts from its baselines."""
    try:
        epochs: list[Record] = [*kept_epochs(run, training, summary)]
    except RunError:
        return []
    start = summary.get("start")
    return [start, *epochs] if epochs and isinstance(start, Mapping) else epochs


def _predictions(run: Run) -> ModelPredictions | None:
    """Return the predictions on test clips; None if predictions.csv can't be read."""
    classes = run.record.classes
    rows: dict[str, dict[tuple[int, str, str], list[float]]] = {}
    path = run.path / "predictions.csv"
    try:
        per_clip = SavedPredictions.read(run)
        with open_table(path) as file:
            reader = csv.reader(file)
            column = {name: i for i, name in enumerate(next(reader))}
            first = column[f"p_{classes[0]}"]
            for row in reader:
                clip = (int(row[column["fold"]]), row[column["corpus"]], row[column["clip"]])
                probabilities = [float(p) for p in row[first : first + len(classes)]]
                rows.setdefault(row[column["model"]], {})[clip] = probabilities
    except (OSError, KeyError, ValueError, IndexError, StopIteration, FusionError):
        return None
    clips = sorted(next(iter(rows.values())))  # the order of per_clip
    return ModelPredictions(
        per_clip, {m: np.array([of_model[c] for c in clips]) for m, of_model in rows.items()}
    )


def series(records: Sequence[Record], metric: str) -> Floats:
    """Return epoch and value, (E, 2), for the epochs that recorded a figure."""
    pairs = [
        (float(record["epoch"]), float(record[metric]))
        for record in records
        if isinstance(record.get(metric), int | float)
    ]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)
