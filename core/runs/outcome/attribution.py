"""Contribution of each modality to the fused model's test UAR, as Shapley values."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from ...toolkit.shapley import shapley_values
from ...training.hardware.device import choose_precision
from ...training.inference import outputs
from ..run import Run
from ..trainings import FUSED, Training
from .predictions import fold_features
from .selection import uar_of

FILE = "contributions.json"


def write_contributions(run: Run) -> dict[str, float]:
    """Compute, write and return each modality's Shapley value for the fused model's test UAR.

    The value v(S) of a set S of modalities is the UAR over all folds' test clips if the strategy
    receives only the modalities in S. The other modalities are absent, or blank for a strategy that
    does not support absence. The value of the empty set is chance, 1 / C for C classes. The Shapley
    values sum to the fused model's UAR minus chance. Call this function only after selection, since
    it reads the test clips.
    """
    data, modalities = run.data, run.record.modalities
    parts: dict[frozenset[str], list[Any]] = {}
    for fold, split in enumerate(data.splits):
        for subset, probabilities in _by_subset(run, Training(fold, FUSED), split.test).items():
            parts.setdefault(subset, []).append(probabilities)
    targets = data.targets[np.concatenate([split.test for split in data.splits])]

    def worth(members: Collection[str]) -> float:
        if not members:
            return 1.0 / len(data.classes)
        return uar_of(np.concatenate(parts[frozenset(members)]), targets, len(data.classes))

    values = {m: round(v, 6) for m, v in shapley_values(worth, modalities).items()}
    run.write_json(FILE, values)
    return values


def _by_subset(run: Run, training: Training, indices: Any) -> dict[frozenset[str], Any]:
    """Return a trained model's probabilities for each set of modalities that the model receives."""
    model, features = fold_features(run, training)
    precision = choose_precision(run.config.train.precision, features.device)
    output = outputs(model, features, indices, precision, subsets=True)
    return {
        frozenset(names): scores.softmax(dim=1).cpu().numpy()
        for names, scores in output.subsets.items()
    }
