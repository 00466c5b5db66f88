"""What a run's trained models say about their own folds' clips: on validation, then on test.

Said once: the answers are kept beside the weights, with a digest of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

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
    """Let every trained model predict its fold's test clips. Called once, after selection."""
    return _predict_all(run, "test", jobs)


def validate_all(run: Run, *, jobs: int) -> dict[Training, Predictions]:
    """Let every trained model predict its fold's validation clips.

    Equal-steps controls that are not trained yet are left out: no choice depends on them.
    """
    return _predict_all(run, "val", jobs)


def _predict_all(run: Run, part: str, jobs: int) -> dict[Training, Predictions]:
    """`jobs` processes at a time; with 0, one after the other in this one."""
    later = [t for t in controls_of(run) if not run.finished(t.name)]
    trainings = [training for training in all_trainings(run) if training not in later]
    predict_part = _PredictPart(part)
    found = in_processes(predict_part, run, trainings, jobs, lambda: None)
    return dict(zip(trainings, found, strict=True))


@dataclass(frozen=True)
class _PredictPart:
    """A trained model's predictions on one part of its fold, as a picklable call."""

    part: str

    def __call__(self, run: Run, training: Training, _: int) -> Predictions:
        with during(f"{self.part} {training.name}"):
            return self._predictions(run, training)

    def _predictions(self, run: Run, training: Training) -> Predictions:
        folder = run.training(training.name)
        file, weights = folder / f"{self.part}.npz", digest_of_weights(folder)
        if file.is_file() and (known := Predictions.load(file, weights)) is not None:
            return known
        model, features = fold_features(run, training)
        indices: Indices = getattr(run.data.splits[training.fold], self.part)
        precision = choose_precision(run.config.train.precision, features.device)
        prior = class_shares(run.data, training.fold)
        predictions = predict(model, features, indices, precision, prior=prior)
        predictions.save(file, weights)
        return predictions


def class_shares(data: RunData, fold: int) -> npt.NDArray[np.float32]:
    """(C,): how often each class occurs in a fold's training part. All that can be said of a
    clip that has none of a model's modalities."""
    counts = np.bincount(data.targets[data.splits[fold].train], minlength=len(data.classes))
    shares: npt.NDArray[np.float32] = (counts / counts.sum()).astype(np.float32)
    return shares


def digest_of_weights(folder: Path) -> str:
    """Which weights a training has: what they said is theirs alone."""
    path = folder / WEIGHTS
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise RunError(
            f"The weights {path} can't be read: {error}",
            hint=f"Delete {folder}; fusion run --resume then trains it again.",
        ) from error


def fold_features(
    run: Run, training: Training, device: str | None = None
) -> tuple[FusionModel, Features]:
    """A trained model, and the features it reads: not held in memory, for one pass.

    `device` is where they are computed with, where it is not the run's own.
    """
    spec = spec_of(run, training)
    features = features_of(run, spec, resident_bytes=0, fold=training.fold, device=device)
    model = trained_model(run, training).to(features.device)
    return model, features
