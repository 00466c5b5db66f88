"""What validation chooses: ensemble weights, the best single modality, the model handed out.

Nothing here sees a test clip. The result is written before test is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .ensemble import ensemble_weights, mix
from .inference import Predictions
from .metrics import confusion_matrix, uar
from .run_dir import RunData
from .trainings import FUSED, Training

ENSEMBLE = "ensemble"


@dataclass(frozen=True, slots=True)
class FoldSelection:
    """What the validation part of one fold chose.

    Attributes
    ----------
    val_uar : dict
        Candidate -> UAR on the fold's validation clips.
    weights : dict
        Modality -> its weight in the ensemble.
    chosen : str
        The candidate with the highest validation UAR; among equals the simplest: a single
        modality before the ensemble, the ensemble before the fused model.
    """

    val_uar: dict[str, float]
    weights: dict[str, float]
    chosen: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What validation chose over all folds.

    Attributes
    ----------
    folds : tuple of FoldSelection
        One per fold.
    best_single : str
        The modality with the highest validation UAR, averaged over folds.
    """

    folds: tuple[FoldSelection, ...]
    best_single: str

    @property
    def candidates(self) -> list[str]:
        """Modalities, ensemble, fused: from the simplest on."""
        return list(self.folds[0].val_uar)

    @property
    def modalities(self) -> list[str]:
        return list(self.folds[0].weights)

    def mean_val_uar(self, candidate: str) -> float:
        """Validation UAR, averaged over folds."""
        return float(np.mean([fold.val_uar[candidate] for fold in self.folds]))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Selection:
        folds = tuple(FoldSelection(**fold) for fold in data["folds"])
        return cls(folds, data["best_single"])


def select(
    data: RunData, modalities: Sequence[str], validation: Mapping[Training, Predictions]
) -> Selection:
    """Choose on validation predictions, fold by fold."""
    folds: list[FoldSelection] = []
    for index, split in enumerate(data.splits):
        targets = data.targets[split.val]
        singles = [validation[Training(index, m)].probabilities for m in modalities]
        present = data.present(modalities, split.val)
        weights = ensemble_weights(singles, targets, present)
        scores = dict(zip(modalities, singles, strict=True))
        scores[ENSEMBLE] = mix(singles, weights, present).astype(np.float32)
        scores[FUSED] = validation[Training(index, FUSED)].probabilities
        val_uar = {
            name: uar_of(probabilities, targets, len(data.classes))
            for name, probabilities in scores.items()
        }
        folds.append(
            FoldSelection(
                val_uar,
                {m: round(float(w), 4) for m, w in zip(modalities, weights, strict=True)},
                max(val_uar, key=val_uar.__getitem__),  # the first among equals
            )
        )
    means = {m: np.mean([fold.val_uar[m] for fold in folds]) for m in modalities}
    return Selection(tuple(folds), max(means, key=means.__getitem__))


def uar_of(
    probabilities: npt.NDArray[np.floating], targets: npt.NDArray[np.int64], num_classes: int
) -> float:
    """UAR of the most probable class."""
    confusion = confusion_matrix(targets, probabilities.argmax(axis=1), num_classes)
    return round(float(uar(confusion)), 6)


def candidate_probabilities(
    data: RunData, selection: Selection, predictions: Mapping[Training, Predictions]
) -> dict[str, list[npt.NDArray[np.float32]]]:
    """Candidate -> probabilities of each fold's test clips, (n_fold, C), ensemble included."""
    found: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in selection.candidates}
    for index, split in enumerate(data.splits):
        for name in (*selection.modalities, FUSED):
            found[name].append(predictions[Training(index, name)].probabilities)
        singles = [found[m][index] for m in selection.modalities]
        weights = np.array([selection.folds[index].weights[m] for m in selection.modalities])
        present = data.present(selection.modalities, split.test)
        mixed = mix(singles, weights / weights.sum(), present)
        found[ENSEMBLE].append(mixed.astype(np.float32))
    return found
