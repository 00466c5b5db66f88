"""Explanations of single recordings by a run's chosen model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...contracts import Modality
from ...runs.outcome.results import finite
from ...runs.predictor import Predictor
from ...runs.run import Run
from ...training.hardware.device import choose_device
from . import absence_notes
from .evidence import Evidence, gather
from .groups import Group, groups_of
from .model import Explained
from .summary import probability_shapley


@dataclass(frozen=True, slots=True)
class ClipPart:
    """Contribution of one group of a recording's input to its most probable class.

    Attributes
    ----------
    group : Group
        A modality, a part of a modality, or several parts pooled.
    gradients : float
        Integrated gradients of the class's log-probability, in nats, summed over the group.
    without : float
        The class's probability with the group at its training mean, in [0, 1].
    """

    group: Group
    gradients: float
    without: float


@dataclass(frozen=True, slots=True)
class ClipExplanation:
    """Explanation of one recording's predicted label.

    Attributes
    ----------
    path : Path
        The recording.
    label : str or None
        The most probable class. None if the recording could not be explained; then only `path`
        and `error` are meaningful.
    probabilities : dict
        Probability by class.
    shapley : dict
        Shapley value for the label's probability, by modality; the values sum to that probability
        minus `none`.
    none : float
        The label's probability when the strategy sees no modality.
    parts : tuple of ClipPart
        Each modality, followed by its parts.
    difference, gap : float
        The label's log-probability minus its value with all inputs at their training mean, and
        the sum of the gradients minus this difference.
    error : str or None
        Reason why the recording could not be read or explained; None on success.
    """

    path: Path
    label: str | None
    probabilities: dict[str, float]
    shapley: dict[str, float]
    none: float
    parts: tuple[ClipPart, ...]
    difference: float
    gap: float
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as plain values for JSON; an undefined figure is None."""
        plain: dict[str, Any] = finite(
            {
                "file": str(self.path),
                "label": self.label,
                "probabilities": self.probabilities,
                "shapley": self.shapley,
                "none": self.none,
                "parts": [
                    {**p.group.to_json(), "gradients": p.gradients, "without": p.without}
                    for p in self.parts
                ],
                "difference": self.difference,
                "gap": self.gap,
                "error": self.error,
            }
        )
        return plain


class ClipExplainer(Predictor):
    """Explainer of recordings for the model that a run chose.

    Parameters
    ----------
    run : Run
        A finished run directory; the plugins that the run used must be installed.
    axes : mapping, optional
        Name of the axis whose entries are explained, by modality; ``"channel"`` by default.
    device : str
        Device to compute on, or ``"auto"``.

    Raises
    ------
    RunError
        If the run is not finished, or an installed extractor differs from the run's.
    UnknownNameError
        If the model does not have a named modality or axis.
    """

    def __init__(
        self,
        run: Run,
        *,
        axes: Mapping[str, str] | None = None,
        device: str = "auto",
    ) -> None:
        super().__init__(run)
        self._device = choose_device(device)
        for part in self.bundle.parts:
            part.model.to(self._device)
        self._model = Explained(self.bundle.parts)
        modalities = [
            Modality(m, tuple(e.shape), tuple(e.axes)) for m, e in self.extractors.items()
        ]
        channels = {m: e.channels for m, e in self.extractors.items()}
        self._groups = groups_of(modalities, channels, axes)

    @property
    def modalities(self) -> list[str]:
        """Modalities that the chosen model uses."""
        return self._model.modalities

    @property
    def notes(self) -> list[str]:
        """Caveats on the figures of an explanation."""
        if len(self.modalities) == 1:
            return [
                *self.task,
                f"The chosen model uses only {self.modalities[0]}, which contributes everything.",
            ]
        return self.task + absence_notes(self._model.knows_absence, "The chosen model")

    def explain(self, paths: Iterable[Path]) -> Iterator[ClipExplanation]:
        """Explain recordings in the given order; set `error` if a recording can't be explained."""
        for path in paths:
            arrays, reason = self.extracted(path)
            if reason is None and (lacking := [m for m in self.modalities if m not in arrays]):
                reason = (
                    f"{path}: it has no {' and no '.join(lacking)}; only clips that have all "
                    "modalities can be explained"
                )
            if reason is not None:
                nan = float("nan")
                yield ClipExplanation(path, None, {}, {}, nan, (), nan, nan, reason)
                continue
            raw = {m: torch.from_numpy(array)[None].to(self._device) for m, array in arrays.items()}
            no_permutations = np.zeros((0, 1), np.int64)  # a single clip can't be permuted
            indices = np.zeros(1, np.int64)
            members = range(len(self.bundle.parts))
            inputs = self._model.standardised_each(
                [self.bundle.adapted(k, raw, self.speaker) for k in members]
            )
            evidence = gather(self._model, inputs, indices, self._groups, no_permutations)
            yield self._summarised(path, evidence)

    def _summarised(self, path: Path, evidence: Evidence) -> ClipExplanation:
        """Return the explanation of one recording, given the model's predictions for it."""
        probabilities = np.exp(evidence.log_probabilities[0].astype(np.float64))
        best = int(probabilities.argmax())
        shapley = probability_shapley(evidence.subsets, np.array([best]), self.modalities)
        without = np.exp(evidence.left_out[:, 0, best])  # (G,)
        return ClipExplanation(
            path,
            self.classes[best],
            dict(zip(self.classes, probabilities.tolist(), strict=True)),
            {m: float(value[0]) for m, value in shapley.items()},
            float(evidence.subsets[frozenset()][0, best]),
            tuple(
                ClipPart(group, float(gradients), float(probability))
                for group, gradients, probability in zip(
                    self._groups, evidence.signed[:, 0], without, strict=True
                )
            ),
            float(evidence.difference[0]),
            float(evidence.gap[0]),
        )
