"""Trained models as one differentiable function of their standardised inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ...runs.bundle import Part, log_probabilities
from ...toolkit.modules import evaluating

Inputs = dict[tuple[int, str], Tensor]
"""Inputs, (B, *shape), by member number and modality; each member has its own statistics."""


class Explained:
    """Combination of trained models: one model, a fold's ensemble, or the chosen models of folds.

    The computation is in float32, whatever the precision of the training.

    Parameters
    ----------
    parts : sequence of Part
        Models on one device, and their weights in the combination. The constructor switches off
        the gradients of their parameters.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        for part in parts:
            part.model.requires_grad_(False)
        names = [m for part in self.parts for m in part.model.modalities]
        self.modalities = list(dict.fromkeys(names))

    @property
    def knows_absence(self) -> bool:
        """True if every member's strategy accepts missing modalities."""
        return all(part.model.strategy.accepts_missing for part in self.parts)

    def standardised(self, raw: Mapping[str, Tensor]) -> Inputs:
        """Standardise extracted features, (B, *shape) by modality, for the branches of all members.

        A value of 0 in the result is the mean of the member's training clips.
        """
        return self.standardised_each([raw] * len(self.parts))

    def standardised_each(self, raw: Sequence[Mapping[str, Tensor]]) -> Inputs:
        """Standardise features that differ between members, one mapping per member."""
        return {
            (k, m): x
            for k, part in enumerate(self.parts)
            for m, x in part.model.standardised(raw[k]).items()
        }

    def represent(self, inputs: Inputs) -> Inputs:
        """Return the embeddings of standardised inputs, or feature maps for strategies on maps."""
        represented: Inputs = {}
        for (k, m), x in inputs.items():
            model = self.parts[k].model
            branch = model.branches[m]
            maps = model.strategy.takes == "maps"
            represented[k, m] = branch.maps(x) if maps else branch(x)  # type: ignore[operator]
        return represented

    def fuse(self, representations: Inputs, shown: Collection[str] | None = None) -> Tensor:
        """Fuse representations, and return the log-probabilities (B, C) of the combination.

        Parameters
        ----------
        shown : collection of str, optional
            Modalities that the strategies may use. The other modalities are absent, or all zeros
            for a strategy that can't handle absent modalities. None means all.
        """
        log_probs: list[Tensor] = []
        for k, part in enumerate(self.parts):
            model = part.model
            own = {m: representations[k, m] for m in model.modalities}
            present = None
            if shown is not None:
                first = next(iter(own.values()))
                flags = torch.tensor([m in shown for m in model.modalities], device=first.device)
                present = flags.expand(len(first), -1)
            log_probs.append(model.fuse(own, present).float().log_softmax(dim=1))  # (B, C)
        return log_probabilities(self.parts, log_probs, [None] * len(log_probs))

    def __call__(self, inputs: Inputs) -> Tensor:
        """Return log-probabilities (B, C) for standardised inputs."""
        return self.fuse(self.represent(inputs))

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put all members into evaluation mode within the context, and keep them differentiable."""
        with contextlib.ExitStack() as stack:
            recurrent = False
            for part in self.parts:
                stack.enter_context(evaluating(part.model))
                recurrent |= any(isinstance(layer, nn.RNNBase) for layer in part.model.modules())
            # In evaluation mode, recurrent layers of cuDNN have no backward pass, but those of
            # PyTorch do.
            stack.enter_context(torch.backends.cudnn.flags(enabled=not recurrent))
            yield
