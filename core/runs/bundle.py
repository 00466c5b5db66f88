"""Chosen model of a run: a weighted mean of trained models, in one safetensors file.

A single fused model is a bundle of one member; an ensemble has one member per modality. With
cross-validation, validation chooses one model per fold, and the bundle is the mean of the
chosen models.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..contracts import Modality
from ..contracts.errors import ParameterError, RunError
from ..data.adaptation import (
    Moments,
    Population,
    adapt_tensor,
    adapted_axes,
    population_tensors,
    populations_from,
)
from ..data.presence import presence_of
from ..data.task import NAME
from ..toolkit.weights import load_weights, save_weights
from ..training.model import FusionModel, build_model
from .execution.jobs import populations_of
from .outcome.selection import ENSEMBLE, Selection
from .record import Member
from .run import WEIGHTS, Run
from .trainings import Training, spec_of

# Prefix of the names of the training population's tensors; each member has its own population. A
# speaker-adapted run shrinks a speaker's statistics towards the population's statistics.
POPULATION = "population"


def members_of(run: Run, selection: Selection) -> list[Member]:
    """Return the trained models that validation chose in each fold, with the models' weights."""
    members: list[Member] = []
    share = 1.0 / len(selection.folds)
    for index, fold in enumerate(selection.folds):
        powers = fold.weights if fold.chosen == ENSEMBLE else {fold.chosen: 1.0}
        for name, power in powers.items():
            if power > 0:
                training = Training(index, name)
                spec = spec_of(run, training)
                members.append(Member(training.name, share, spec, power, index))
    return members


def write_bundle(run: Run, selection: Selection) -> list[Member]:
    """Write the weights of the chosen models to one file, and return the models as members."""
    members = members_of(run, selection)
    weights: dict[str, torch.Tensor] = {}
    for member in members:
        for name, tensor in load_weights(run.training(member.training) / WEIGHTS).items():
            weights[f"{member.training}/{name}"] = tensor
    if run.config.adapt == "speaker":
        for member in members:
            fold = int(member.training.partition("/")[0].removeprefix("fold"))
            populations = populations_of(run, member.spec, fold)
            weights |= population_tensors(f"{POPULATION}/{member.training}", populations)
    save_weights(run.path / WEIGHTS, weights, {"format": "fusion-bundle-1"})
    return members


@dataclass(frozen=True, slots=True)
class Part:
    """Trained model that :func:`log_probabilities` combines with other models."""

    model: FusionModel
    weight: float = 1.0
    power: float = 1.0
    group: int = 0


def log_probabilities(
    parts: Sequence[Part], outputs: Sequence[torch.Tensor], covered: Sequence[torch.Tensor | None]
) -> torch.Tensor:
    """Combine log-probabilities of models: log-linear pools in groups, weighted mean over groups.

    Parameters
    ----------
    outputs : sequence of Tensor
        Log-probabilities of each part, (B, C).
    covered : sequence of Tensor or None
        (B,) bool for each part: True for the clips that have at least one of the part's modalities;
        None means all clips. The other parts of the group predict a clip that lacks all of a part's
        modalities. If no part of a group can predict a clip, the group is left out of the clip's
        mean.

    Returns
    -------
    Tensor
        (B, C) log-probabilities.
    """
    groups: dict[int, list[int]] = {}
    for index, part in enumerate(parts):
        groups.setdefault(part.group, []).append(index)
    pools: list[torch.Tensor] = []
    for indices in groups.values():
        scores, counted = torch.zeros_like(outputs[0]), torch.zeros_like(outputs[0][:, :1])
        for i in indices:
            flags = covered[i]
            mask = torch.ones_like(counted) if flags is None else flags[:, None].to(counted)
            scores = scores + parts[i].power * mask * outputs[i]
            counted = torch.maximum(counted, mask)
        weight = parts[indices[0]].weight
        pools.append(scores.log_softmax(dim=1) + math.log(weight) + counted.log())
    mean = torch.stack(pools).logsumexp(dim=0)  # (B, C)
    return mean.log_softmax(dim=1)


class Bundle:
    """Chosen model of a run, ready to label new recordings.

    Parameters
    ----------
    run : Run
        A finished run.
    """

    def __init__(self, run: Run) -> None:
        record = run.record
        if record.handed_out is None:
            raise RunError(
                f"The run {run.path} is not finished: it has no chosen model yet.",
                hint=f"Resume the run: fusion run --resume {run.path}",
            )
        self.classes = record.classes
        self.adapt = run.config.adapt
        self._rule = run.config.train.normalise
        weights = load_weights(run.path / WEIGHTS)
        self.parts: list[Part] = []
        self._inputs: dict[str, Modality] = {}
        self._populations: list[dict[str, Population]] = []  # per part, by modality
        for number, member in enumerate(record.handed_out):
            prefix = member.training + "/"
            own = {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
            try:
                model = build_model(member.spec, run.registry)
                model.load_state_dict(own)
            except (RuntimeError, MemoryError) as error:
                raise RunError(
                    f"{run.path / WEIGHTS} does not hold the weights of {member.training}.",
                    hint="run.json or the weights are damaged.",
                ) from error
            group = number if member.group is None else member.group
            self.parts.append(Part(model.eval(), member.weight, member.power, group))
            self._inputs |= {b.modality.name: b.modality for b in member.spec.branches}
            populations = populations_from(f"{POPULATION}/{member.training}", weights)
            if self.adapt == "speaker" and populations.keys() != set(model.modalities):
                raise RunError(
                    f"{run.path / WEIGHTS} lacks the training population of {member.training}.",
                    hint=f"Delete the file: fusion run --resume {run.path} then creates it again.",
                )
            self._populations.append(populations)

    @property
    def modalities(self) -> list[str]:
        """Modalities that at least one member takes, without duplicates."""
        names = [m for part in self.parts for m in part.model.modalities]
        return list(dict.fromkeys(names))

    def lacks(self, modalities: Collection[str]) -> str | None:
        """Return why a recording with only `modalities` can't be labelled; else None."""
        if any(set(part.model.modalities) & set(modalities) for part in self.parts):
            return None
        return f"it has no {' and no '.join(self.modalities)}, which the chosen model takes"

    def kept_axes(self, modality: str) -> tuple[int, ...]:
        """Return the axes of a modality's array that have separate speaker statistics."""
        return adapted_axes(self._inputs[modality], self._rule)

    def adapted(
        self, member: int, inputs: Mapping[str, torch.Tensor], speaker: Mapping[str, Moments]
    ) -> dict[str, torch.Tensor]:
        """Standardise one speaker's inputs, (n, *shape) by modality, as in the member's training.

        Without speaker adaptation the inputs are returned unchanged.

        Parameters
        ----------
        member : int
            Index of the member in `parts`.
        speaker : mapping
            Statistics of the speaker's recordings by modality, each with one speaker (S is 1).

        Raises
        ------
        ParameterError
            If the run is speaker-adapted and `speaker` is empty.
        """
        if self.adapt != "speaker":
            return dict(inputs)
        if not speaker:
            raise ParameterError(
                f"The run is {NAME}, but no statistics of the speaker were given.",
                hint="Call Predictor.adapt_to(files, folder), which computes the statistics.",
            )
        populations = self._populations[member]
        return {
            m: adapt_tensor(x, speaker[m], populations[m]) if m in populations else x
            for m, x in inputs.items()
        }

    @torch.no_grad()
    def probabilities(
        self,
        features: Mapping[str, Sequence[npt.NDArray[Any] | None]],
        speaker: Mapping[str, Moments] | None = None,
    ) -> npt.NDArray[np.float64]:
        """Return the class probabilities of n recordings.

        Parameters
        ----------
        features : mapping
            For each modality, a sequence with one item per recording: an array, or None for a
            recording that lacks the modality. If a recording has none of a member's modalities, the
            member is left out and the other members share its weight.
        speaker : mapping, optional
            Statistics of the recordings' speaker by modality, for a speaker-adapted run.

        Returns
        -------
        array
            (n, C) float64, rows summing to 1.
        """
        absent = {
            m: np.array([row is None for row in rows])
            for m, rows in features.items()
            if any(row is None for row in rows)
        }
        models = [part.model for part in self.parts]
        shapes = {m: model.shape_of(m) for model in models for m in model.modalities}
        inputs = {m: _stacked(rows, shapes[m]) for m, rows in features.items()}
        outputs: list[torch.Tensor] = []
        covered: list[torch.Tensor | None] = []
        for number, model in enumerate(models):
            first = inputs[model.modalities[0]]
            clips = np.arange(len(first))
            presence = presence_of(absent, model.modalities, clips, first.device)
            scores = model(self.adapted(number, inputs, speaker or {}), presence)
            outputs.append(scores.double().log_softmax(dim=1))
            covered.append(None if presence is None else presence.table.any(dim=1))
        mean: npt.NDArray[np.float64] = (
            log_probabilities(self.parts, outputs, covered).exp().numpy()
        )
        return mean


def _stacked(rows: Sequence[npt.NDArray[Any] | None], shape: tuple[int, ...]) -> torch.Tensor:
    """Stack the recordings' arrays to (n, *shape), with zeros for a missing array."""
    blank = np.zeros(shape, dtype=np.float32)
    return torch.from_numpy(np.stack([blank if row is None else row for row in rows]))
