"""Trained models as a function of their standardised inputs, to be asked what they rest on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..model import FusionModel
from ..modules import evaluating

Inputs = dict[tuple[int, str], Tensor]
"""(Number of the member, modality) -> (B, *shape): each member standardises by its own training."""


class Explained:
    """A weighted mean of trained models: of one, of a fold's ensemble, or of one per fold.

    Computes in float32, whatever the training computed in.

    Parameters
    ----------
    members : sequence of (float, FusionModel)
        Weights that sum to 1, and models on one device. Their parameters get no gradients.
    """

    def __init__(self, members: Sequence[tuple[float, FusionModel]]) -> None:
        self.members = [(weight, model.requires_grad_(False)) for weight, model in members]
        names = [m for _, model in self.members for m in model.modalities]
        self.modalities = list(dict.fromkeys(names))

    @property
    def knows_absence(self) -> bool:
        """Whether every member is told which modalities are absent."""
        return all(model.strategy.accepts_missing for _, model in self.members)

    def standardised(self, raw: Mapping[str, Tensor]) -> Inputs:
        """Features as extracted, modality -> (B, *shape) -> what the branches take.

        Zero is the mean of the member's training clips.
        """
        return self.standardised_each([raw] * len(self.members))

    def standardised_each(self, raw: Sequence[Mapping[str, Tensor]]) -> Inputs:
        """Standardise features that differ between members: one mapping for each of them."""
        return {
            (k, m): x
            for k, (_, model) in enumerate(self.members)
            for m, x in model.standardised(raw[k]).items()
        }

    def represent(self, inputs: Inputs) -> Inputs:
        """Any of the standardised inputs -> what the strategies take of them."""
        found: Inputs = {}
        for (k, m), x in inputs.items():
            model = self.members[k][1]
            branch = model.branches[m]
            maps = model.strategy.takes == "maps"
            found[k, m] = branch.maps(x) if maps else branch(x)  # type: ignore[operator]
        return found

    def fuse(self, representations: Inputs, shown: Collection[str] | None = None) -> Tensor:
        """What the strategies take -> log-probabilities (B, C) of the mean.

        Parameters
        ----------
        shown : collection of str, optional
            The modalities that the strategies may see; the others are absent, or blank (zero)
            for a strategy that knows no absence. None means all.
        """
        parts: list[Tensor] = []
        for k, (weight, model) in enumerate(self.members):
            own = {m: representations[k, m] for m in model.modalities}
            present = None
            if shown is not None:
                first = next(iter(own.values()))
                there = torch.tensor([m in shown for m in model.modalities], device=first.device)
                present = there.expand(len(first), -1)
            scores = model.fuse(own, present).float().log_softmax(dim=1)  # (B, C)
            parts.append(scores + math.log(weight))
        return torch.stack(parts).logsumexp(dim=0)

    def __call__(self, inputs: Inputs) -> Tensor:
        """Standardised inputs -> log-probabilities (B, C)."""
        return self.fuse(self.represent(inputs))

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """All members in evaluation mode, and differentiable, for a while."""
        with contextlib.ExitStack() as stack:
            recurrent = False
            for _, model in self.members:
                stack.enter_context(evaluating(model))
                recurrent |= any(isinstance(part, nn.RNNBase) for part in model.modules())
            # In evaluation mode cuDNN's recurrent layers have no backward pass; torch's have.
            stack.enter_context(torch.backends.cudnn.flags(enabled=not recurrent))
            yield
