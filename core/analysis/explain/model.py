"""Trained models as a function of their standardised inputs, to be asked what they rest on."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ...runs.bundle import Part, log_probabilities
from ...toolkit.modules import evaluating

Inputs = dict[tuple[int, str], Tensor]
"""(Number of the member, modality) -> (B, *shape): each member standardises by its own training."""


class Explained:
    """A combination of trained models: one, a fold's ensemble, or one choice per fold.

    Computes in float32, whatever the training computed in.

    Parameters
    ----------
    parts : sequence of Part
        Models on one device, and how they are combined. Their parameters get no gradients.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        for part in parts:
            part.model.requires_grad_(False)
        names = [m for part in self.parts for m in part.model.modalities]
        self.modalities = list(dict.fromkeys(names))

    @property
    def knows_absence(self) -> bool:
        """Whether every member is told which modalities are absent."""
        return all(part.model.strategy.accepts_missing for part in self.parts)

    def standardised(self, raw: Mapping[str, Tensor]) -> Inputs:
        """Features as extracted, modality -> (B, *shape) -> what the branches take.

        Zero is the mean of the member's training clips.
        """
        return self.standardised_each([raw] * len(self.parts))

    def standardised_each(self, raw: Sequence[Mapping[str, Tensor]]) -> Inputs:
        """Standardise features that differ between members: one mapping for each of them."""
        return {
            (k, m): x
            for k, part in enumerate(self.parts)
            for m, x in part.model.standardised(raw[k]).items()
        }

    def represent(self, inputs: Inputs) -> Inputs:
        """Any of the standardised inputs -> what the strategies take of them."""
        found: Inputs = {}
        for (k, m), x in inputs.items():
            model = self.parts[k].model
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
        said: list[Tensor] = []
        for k, part in enumerate(self.parts):
            model = part.model
            own = {m: representations[k, m] for m in model.modalities}
            present = None
            if shown is not None:
                first = next(iter(own.values()))
                there = torch.tensor([m in shown for m in model.modalities], device=first.device)
                present = there.expand(len(first), -1)
            said.append(model.fuse(own, present).float().log_softmax(dim=1))  # (B, C)
        return log_probabilities(self.parts, said, [None] * len(said))

    def __call__(self, inputs: Inputs) -> Tensor:
        """Standardised inputs -> log-probabilities (B, C)."""
        return self.fuse(self.represent(inputs))

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """All members in evaluation mode, and differentiable, for a while."""
        with contextlib.ExitStack() as stack:
            recurrent = False
            for part in self.parts:
                stack.enter_context(evaluating(part.model))
                recurrent |= any(isinstance(layer, nn.RNNBase) for layer in part.model.modules())
            # In evaluation mode cuDNN's recurrent layers have no backward pass; torch's have.
            stack.enter_context(torch.backends.cudnn.flags(enabled=not recurrent))
            yield
