"""The model handed out: a weighted mean of trained models, in one safetensors file.

One fused model is a bundle of one member; an ensemble has a member per modality; with
cross-validation there is one choice per fold, and the bundle is their mean.
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

POPULATION = "population"  # of each member: what a speaker-adapted run shrinks towards


def members_of(run: Run, selection: Selection) -> list[Member]:
    """Return the trained models that validation chose, fold by fold."""
    found: list[Member] = []
    share = 1.0 / len(selection.folds)
    for index, fold in enumerate(selection.folds):
        powers = fold.weights if fold.chosen == ENSEMBLE else {fold.chosen: 1.0}
        for name, power in powers.items():
            if power > 0:
                training = Training(index, name)
                spec = spec_of(run, training)
                found.append(Member(training.name, share, spec, power, index))
    return found


def write_bundle(run: Run, selection: Selection) -> list[Member]:
    """Put the chosen models' weights into one file; returns its members."""
    members = members_of(run, selection)
    weights: dict[str, torch.Tensor] = {}
    for member in members:
        for name, tensor in load_weights(run.training(member.training) / WEIGHTS).items():
            weights[f"{member.training}/{name}"] = tensor
    if run.config.adapt == "speaker":
        for member in members:
            fold = int(member.training.partition("/")[0].removeprefix("fold"))
            found = populations_of(run, member.spec, fold)
            weights |= population_tensors(f"{POPULATION}/{member.training}", found)
    save_weights(run.path / WEIGHTS, weights, {"format": "fusion-bundle-1"})
    return members


@dataclass(frozen=True, slots=True)
class Part:
    """A trained model within a combination of several (:func:`log_probabilities`)."""

    model: FusionModel
    weight: float = 1.0
    power: float = 1.0
    group: int = 0


def log_probabilities(
    parts: Sequence[Part], said: Sequence[torch.Tensor], knows: Sequence[torch.Tensor | None]
) -> torch.Tensor:
    """Combine what models say: log-linear pools within groups, weighted mean over groups.

    Parameters
    ----------
    said : sequence of Tensor
        Log-probabilities of each part, (B, C).
    knows : sequence of Tensor or None
        (B,) bool: which clips a part has any modality of; None means all. A part that knows
        nothing of a clip is left out of its group, and a group of such parts out of the mean.

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
        scores, counted = torch.zeros_like(said[0]), torch.zeros_like(said[0][:, :1])
        for i in indices:
            there = knows[i]
            flags = torch.ones_like(counted) if there is None else there[:, None].to(counted)
            scores = scores + parts[i].power * flags * said[i]
            counted = torch.maximum(counted, flags)
        weight = parts[indices[0]].weight
        pools.append(scores.log_softmax(dim=1) + math.log(weight) + counted.log())
    mean = torch.stack(pools).logsumexp(dim=0)  # (B, C)
    return mean.log_softmax(dim=1)


class Bundle:
    """The model handed out, ready to label new recordings.

    Parameters
    ----------
    run : Run
        A finished run.
    """

    def __init__(self, run: Run) -> None:
        record = run.record
        if record.handed_out is None:
            raise RunError(
                f"The run {run.path} is not finished: it hands out no model yet.",
                hint=f"Finish it: fusion run --resume {run.path}",
            )
        self.classes = record.classes
        self.adapt = run.config.adapt
        self._rule = run.config.train.normalise
        weights = load_weights(run.path / WEIGHTS)
        self.parts: list[Part] = []
        self._inputs: dict[str, Modality] = {}
        self._populations: list[dict[str, Population]] = []  # of each part
        for number, member in enumerate(record.handed_out):
            prefix = member.training + "/"
            own = {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
            model = build_model(member.spec, run.registry)
            model.load_state_dict(own)
            group = number if member.group is None else member.group
            self.parts.append(Part(model.eval(), member.weight, member.power, group))
            self._inputs |= {b.modality.name: b.modality for b in member.spec.branches}
            populations = populations_from(f"{POPULATION}/{member.training}", weights)
            if self.adapt == "speaker" and populations.keys() != set(model.modalities):
                raise RunError(
                    f"{run.path / WEIGHTS} lacks the training population of {member.training}.",
                    hint=f"Delete it; fusion run --resume {run.path} makes it again.",
                )
            self._populations.append(populations)

    @property
    def modalities(self) -> list[str]:
        """Features that the members need."""
        names = [m for part in self.parts for m in part.model.modalities]
        return list(dict.fromkeys(names))

    def lacks(self, modalities: Collection[str]) -> str | None:
        """Why nothing can be said of a recording that has `modalities` and no others, or None."""
        if any(set(part.model.modalities) & set(modalities) for part in self.parts):
            return None
        return (
            f"it has no {' and no '.join(self.modalities)}, which the model that was handed out "
            "takes"
        )

    def kept_axes(self, modality: str) -> tuple[int, ...]:
        """Axes of a modality's array with speaker statistics of their own."""
        return adapted_axes(self._inputs[modality], self._rule)

    def adapted(
        self, member: int, inputs: Mapping[str, torch.Tensor], speaker: Mapping[str, Moments]
    ) -> dict[str, torch.Tensor]:
        """Standardise inputs of one speaker, (n, *shape) by modality, as a member was trained.

        Parameters
        ----------
        member : int
            Its number in `parts`.
        speaker : mapping
            Modality -> statistics of the speaker's recordings, S = 1. Ignored by a run without
            adaptation: the inputs stay as they are.

        Raises
        ------
        ParameterError
            If the run is speaker-adapted and there are no statistics.
        """
        if self.adapt != "speaker":
            return dict(inputs)
        if not speaker:
            raise ParameterError(
                f"The run is {NAME}, and nothing gives the speaker's statistics.",
                hint="Predictor.adapt_to(files, folder) computes them.",
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
        """What the model says of n recordings.

        Parameters
        ----------
        features : mapping
            Modality -> one array per recording, None where it lacks the modality. A member that
            takes none of what a recording has says nothing of it; the others share its weight.
        speaker : mapping, optional
            Modality -> statistics of the recordings' speaker, for a speaker-adapted run.

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
        said: list[torch.Tensor] = []
        knows: list[torch.Tensor | None] = []
        for number, model in enumerate(models):
            first = inputs[model.modalities[0]]
            clips = np.arange(len(first))
            presence = presence_of(absent, model.modalities, clips, first.device)
            scores = model(self.adapted(number, inputs, speaker or {}), presence)
            said.append(scores.double().log_softmax(dim=1))
            knows.append(None if presence is None else presence.table.any(dim=1))
        mean: npt.NDArray[np.float64] = log_probabilities(self.parts, said, knows).exp().numpy()
        return mean


def _stacked(rows: Sequence[npt.NDArray[Any] | None], shape: tuple[int, ...]) -> torch.Tensor:
    """(n, *shape), zero where there is no array."""
    blank = np.zeros(shape, dtype=np.float32)
    return torch.from_numpy(np.stack([blank if row is None else row for row in rows]))
