"""Predictions of a run's trained models for the validation and test clips of their folds.

Each model predicts once. The predictions are stored beside the model's weights, with the
weights' digest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....cache.guarded_arrays import check_regular
from ...contracts.errors import RunError
from ...data.dataset import RunData
from ...data.features import Features, Indices
from ...registry.trace import during
from ...training.hardware.device import choose_precision
from ...training.inference import Predictions, predict
from ...training.model import FusionModel
from ..execution.jobs import features_of, trained_model
from ..execution.scheduler import in_processes
from ..run import WEIGHTS, Run
from ..trainings import Training, all_trainings, controls_of, spec_of


def test_all(run: Run, *, jobs: int) -> dict[Training, Predictions]:
    """Predict each fold's test clips with the fold's trained models.

    Call this function only once, after selection.
    """
    return _predict_all(run, "test", jobs)


def validate_all(run: Run, *, jobs: int) -> dict[Training, Predictions]:
    """Predict each fold's validation clips with the fold's trained models.

    Equal-steps controls that are not trained yet are left out: selection does not depend on the
    controls.
    """
    return _predict_all(run, "val", jobs)


def _predict_all(run: Run, part: str, jobs: int) -> dict[Training, Predictions]:
    """Predict one part of each fold in up to `jobs` processes; 0 uses only this process."""
    later = [t for t in controls_of(run) if not run.finished(t.name)]
    trainings = [training for training in all_trainings(run) if training not in later]
    predict_part = _PredictPart(part)
    predictions = in_processes(predict_part, run, trainings, jobs, lambda: None)
    return dict(zip(trainings, predictions, strict=True))


@dataclass(frozen=True)
class _PredictPart:
    """Prediction of one part of a fold by a trained model, as a picklable callable."""

    part: str

    def __call__(self, run: Run, training: Training, _: int) -> Predictions:
        with during(f"{self.part} {training.name}"):
            return self._predictions(run, training)

    def _predictions(self, run: Run, training: Training) -> Predictions:
        folder = run.training(training.name)
        file, weights = folder / f"{self.part}.npz", digest_of_weights(folder)
        if file.is_file() and (stored := Predictions.load(file, weights)) is not None:
            return stored
        model, features = fold_features(run, training)
        indices: Indices = getattr(run.data.splits[training.fold], self.part)
        precision = choose_precision(run.config.train.precision, features.device)
        prior = class_shares(run.data, training.fold)
        predictions = predict(model, features, indices, precision, prior=prior)
        predictions.save(file, weights)
        return predictions


def class_shares(data: RunData, fold: int) -> npt.NDArray[np.float32]:
    """Return the share of each class in a fold's training part, (C,) float32.

    These shares are the prediction for a clip that has none of a model's modalities.
    """
    counts = np.bincount(data.targets[data.splits[fold].train], minlength=len(data.classes))
    shares: npt.NDArray[np.float32] = (counts / counts.sum()).astype(np.float32)
    return shares


def digest_of_weights(folder: Path) -> str:
    """Return the digest of a training's weights, which is stored with the model's predictions.

    Raises
    ------
    RunError
        If the weights can't be read.
    """
    path = folder / WEIGHTS
    try:
        check_regular(path)
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise RunError(
            f"The weights {path} can't be read: {error}",
            hint=f"Delete the folder {folder}: fusion run --resume then trains again.",
        ) from error


def fold_features(
    run: Run, training: Training, device: str | None = None
) -> tuple[FusionModel, Features]:
    """Return a trained model and its features, which are read from disk batch by batch.

    `device` replaces the run's device.
    """
    spec = spec_of(run, training)
    features = features_of(run, spec, resident_bytes=0, fold=training.fold, device=device)
    model = trained_model(run, training).to(features.device)
    return model, features
