"""Selection on validation: ensemble weights, the best single modality, the chosen model.

This module reads no test clip. The selection is written to selection.json before the test clips
are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data.dataset import RunData
from ...toolkit.ensemble import Rule, combine, pool, pool_weights
from ...toolkit.metrics import confusion_matrix, uar
from ...toolkit.run_files import as_type
from ...training.inference import Predictions
from ..run import Run
from ..trainings import CONTROL, FUSED, Training

ENSEMBLE = "ensemble"
FILE = "selection.json"


@dataclass(frozen=True, slots=True)
class FoldSelection:
    """Selection on the validation part of one fold.

    Attributes
    ----------
    val_uar : dict
        UAR on the fold's validation clips, by candidate.
    weights : dict
        Weight in the ensemble (:func:`~fusion.core.toolkit.ensemble.pool_weights`), by modality.
    chosen : str
        The candidate with the highest validation UAR. In a tie the simplest wins: a single
        modality before the ensemble, the ensemble before the fused model.
    """

    val_uar: dict[str, float]
    weights: dict[str, float]
    chosen: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Selection on the validation parts of all folds.

    Attributes
    ----------
    folds : tuple of FoldSelection
        One selection per fold.
    best_single : str
        The modality with the highest validation UAR, averaged over folds.
    rule : {"log-linear", "linear"}
        How the ensemble combines probabilities; ``"linear"`` in runs of version 0.1.
    control : str
        Modality of the equal-steps control, which is not a candidate; empty without a control.
    control_val_uar : tuple of float
        Validation UAR of the control on each fold.
    """

    folds: tuple[FoldSelection, ...]
    best_single: str
    rule: Rule = "log-linear"
    control: str = ""
    control_val_uar: tuple[float, ...] = ()

    @property
    def candidates(self) -> list[str]:
        """Names of the candidates, the simplest first: modalities, ensemble, fused."""
        return list(self.folds[0].val_uar)

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities."""
        return list(self.folds[0].weights)

    def mean_val_uar(self, candidate: str) -> float:
        """Return a candidate's validation UAR, averaged over folds."""
        return float(np.mean([fold.val_uar[candidate] for fold in self.folds]))

    def to_json(self) -> dict[str, Any]:
        """Return the selection as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], file: Path = Path(FILE)) -> Selection:
        """Make a selection from JSON values; without a rule (version 0.1) the rule is linear."""
        return as_type({"rule": "linear", **data}, cls, file)

    @classmethod
    def read(cls, run: Run) -> Selection:
        """Read the selection of a run.

        Raises
        ------
        RunError
            If selection.json is missing or damaged.
        """
        return cls.from_json(run.read_json(FILE), run.path / FILE)


def select(
    data: RunData,
    modalities: Sequence[str],
    validation: Mapping[Training, Predictions],
    control: str = "",
) -> Selection:
    """Choose a model for every fold by the validation predictions.

    `control` names the modality of the equal-steps control; `control` is empty if `validation`
    holds no predictions of a control.
    """
    folds: list[FoldSelection] = []
    control_uar: list[float] = []
    for index, split in enumerate(data.splits):
        targets = data.targets[split.val]
        singles = [validation[Training(index, m)].probabilities for m in modalities]
        present = data.present(modalities, split.val)
        weights = pool_weights(singles, targets, present)
        scores = dict(zip(modalities, singles, strict=True))
        scores[ENSEMBLE] = pool(singles, weights, present).astype(np.float32)
        scores[FUSED] = validation[Training(index, FUSED)].probabilities
        val_uar = {
            name: uar_of(probabilities, targets, len(data.classes))
            for name, probabilities in scores.items()
        }
        folds.append(
            FoldSelection(
                val_uar,
                {m: round(float(w), 4) for m, w in zip(modalities, weights, strict=True)},
                max(val_uar, key=val_uar.__getitem__),  # in a tie, the first
            )
        )
        if control:
            probabilities = validation[Training(index, CONTROL)].probabilities
            control_uar.append(uar_of(probabilities, targets, len(data.classes)))
    means = {m: np.mean([fold.val_uar[m] for fold in folds]) for m in modalities}
    best = max(means, key=means.__getitem__)
    return Selection(tuple(folds), best, control=control, control_val_uar=tuple(control_uar))


def uar_of(
    probabilities: npt.NDArray[np.floating], targets: npt.NDArray[np.int64], num_classes: int
) -> float:
    """Return the UAR of predicting each clip's most probable class, rounded to 6 digits."""
    confusion = confusion_matrix(targets, probabilities.argmax(axis=1), num_classes)
    return round(float(uar(confusion)), 6)


def candidate_probabilities(
    data: RunData, selection: Selection, predictions: Mapping[Training, Predictions]
) -> dict[str, list[npt.NDArray[np.float32]]]:
    """Return the probabilities of each fold's test clips, (n_fold, C), by candidate.

    The result includes the equal-steps control if the run has one, although it is not a candidate.
    """
    probabilities: dict[str, list[npt.NDArray[np.float32]]] = {
        name: [] for name in selection.candidates
    }
    for index, split in enumerate(data.splits):
        for name in (*selection.modalities, FUSED):
            probabilities[name].append(predictions[Training(index, name)].probabilities)
        control = predictions.get(Training(index, CONTROL))
        if control is not None:
            probabilities.setdefault(CONTROL, []).append(control.probabilities)
        singles = [probabilities[m][index] for m in selection.modalities]
        weights = np.array([selection.folds[index].weights[m] for m in selection.modalities])
        present = data.present(selection.modalities, split.test)
        combined = combine(selection.rule, singles, weights, present)
        probabilities[ENSEMBLE].append(combined.astype(np.float32))
    return probabilities
