"""Why the model that a run handed out labels a recording as it does."""

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
    """What one group of a recording's input brings to its most probable class.

    Attributes
    ----------
    group : Group
        A modality, a part of it, or several parts together.
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
    """Why one recording is labelled as it is.

    Attributes
    ----------
    path : Path
        The file.
    label : str or None
        The most probable class; None where the recording could not be read, and then nothing
        but `error` says anything.
    probabilities : dict
        Class -> probability.
    shapley : dict
        Modality -> Shapley value for the label's probability; they sum to it minus `none`.
    none : float
        The label's probability when the strategy sees no modality.
    parts : tuple of ClipPart
        Each modality, followed by its parts.
    difference, gap : float
        The label's log-probability minus that of inputs at their training mean, and by how
        much the sum of the gradients misses it.
    error : str or None
        Why it could not be read.
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
        """Plain values; an undefined figure is None."""
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
    """Explains recordings by the model that a run handed out.

    Parameters
    ----------
    run : Run
        A finished run directory; the plugins that it was made with must be there.
    axes : mapping, optional
        Modality -> name of the axis whose entries are explained; ``"channel"`` for the others.
    device : str
        Where to compute.

    Raises
    ------
    RunError
        If the run is not finished, or an installed extractor is another one.
    UnknownNameError
        For a modality or axis that the model doesn't have.
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
        """What the model handed out takes."""
        return self._model.modalities

    @property
    def notes(self) -> list[str]:
        """What a reader has to know about these figures."""
        if len(self.modalities) == 1:
            return [
                *self.task,
                f"The model handed out takes {self.modalities[0]} alone: everything is its.",
            ]
        return self.task + absence_notes(self._model.knows_absence, "The model handed out")

    def explain(self, paths: Iterable[Path]) -> Iterator[ClipExplanation]:
        """Explain recordings, in the order given; one that can't be read has its `error` set."""
        for path in paths:
            arrays, reason = self.extracted(path)
            if reason is None and (lacking := [m for m in self.modalities if m not in arrays]):
                reason = (
                    f"{path}: it has no {' and no '.join(lacking)}; clips that have all "
                    "modalities can be explained"
                )
            if reason is not None:
                nan = float("nan")
                yield ClipExplanation(path, None, {}, {}, nan, (), nan, nan, reason)
                continue
            raw = {m: torch.from_numpy(array)[None].to(self._device) for m, array in arrays.items()}
            nobody = np.zeros((0, 1), np.int64)  # one clip can't be permuted
            only = np.zeros(1, np.int64)
            members = range(len(self.bundle.parts))
            inputs = self._model.standardised_each(
                [self.bundle.adapted(k, raw, self.speaker) for k in members]
            )
            yield self._told(path, gather(self._model, inputs, only, self._groups, nobody))

    def _told(self, path: Path, answers: Evidence) -> ClipExplanation:
        probabilities = np.exp(answers.said[0].astype(np.float64))
        best = int(probabilities.argmax())
        shapley = probability_shapley(answers.subsets, np.array([best]), self.modalities)
        without = np.exp(answers.left_out[:, 0, best])  # (G,)
        return ClipExplanation(
            path,
            self.classes[best],
            dict(zip(self.classes, probabilities.tolist(), strict=True)),
            {m: float(value[0]) for m, value in shapley.items()},
            float(answers.subsets[frozenset()][0, best]),
            tuple(
                ClipPart(group, float(gradients), float(probability))
                for group, gradients, probability in zip(
                    self._groups, answers.signed[:, 0], without, strict=True
                )
            ),
            float(answers.difference[0]),
            float(answers.gap[0]),
        )
