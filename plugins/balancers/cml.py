"""Calibrated multimodal learning: fewer modalities must not make a model more confident."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import Balancer, Context, LogUniform, Space, Step, hookimpl
from ...core.contracts.errors import ParameterError
from ._means import mean_over


class CML(Balancer):
    """Losses on a chain of modality subsets, and a penalty if confidence rises along the chain.

    ::

        all = S_1 > S_2 > .. > S_M,  one modality removed at a time in a random order
        L = l(f(all)) + sum over k > 1 of l(f(S_k))
            + penalty * sum over k > 1 of mean over the batch of
              max(0, conf(f(S_k)) - conf(f(S_(k-1))))

    f(S) are the scores of the strategy if it sees only the modalities of S, and conf is the largest
    class probability of a clip.

    Departures from the paper: the losses along the chain are summed instead of averaged. The loss
    of the fused scores thus keeps the weight that it has without this balancer, and other balancers
    can be added. Under Adam the sum is equivalent to the average with `penalty` divided by M. The
    hinge is applied per clip and then averaged, as in the paper. (A public version sums the
    differences over the batch first, so a fall on one clip cancels a rise on another clip. That
    version does not divide the sum by the batch size.) A new order is drawn for every batch from
    the step's generator, so that every subset is used; public code draws one order per epoch. The
    gradient of the penalty flows through both confidences. Removed modalities are marked as absent,
    or set to zero if the strategy does not accept missing modalities. Removal thus works with every
    strategy, while public code subtracts parts of a linear head. A clip without any modality of S_k
    is left out of both means for k.

    Parameters
    ----------
    penalty : float
        Weight of the rise in confidence, >= 0; with 0 only the losses on subsets remain.

    When to use
    -----------
    If a modality may be missing or damaged in use, or if the fused model is confident for the wrong
    reasons. The losses on subsets also keep the weaker modality learning.

    Cost
    ----
    M - 1 more passes through the strategy (not the branches), forward and backward.

    References
    ----------
    Ma, H., Zhang, Q., Zhang, C., Wu, B., Fu, H., Zhou, J. T., Hu, Q. (2023). Calibrating multimodal
    learning. ICML.
    """

    name = "cml"
    space: ClassVar[Mapping[str, Space]] = {"penalty": LogUniform(0.01, 1.0)}

    def __init__(self, *, penalty: float = 0.1) -> None:
        if penalty < 0:
            raise ParameterError(f"cml.penalty must be 0 or more, and is {penalty}.")
        self.penalty = penalty
        self._rises: dict[str, Tensor] = {}

    def setup(self, context: Context) -> None:
        self._rises = {}

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        # Sorted by name, so that the draw does not depend on the order of the modalities.
        remaining = sorted(step.shown)
        if len(remaining) < 2:
            return losses
        order = [
            remaining[i] for i in torch.randperm(len(remaining), generator=step.generator).tolist()
        ]
        assert step.logits is not None
        before, subsets, rises = _confidence(step.logits), [], []
        for modality in order[:-1]:
            remaining.remove(modality)
            logits = step.fuse(remaining)
            after = _confidence(logits)
            subsets.append(step.cross_entropy(logits, remaining))
            rises.append(mean_over((after - before).relu(), step.sees(remaining)))
            self._rises[modality] = rises[-1].detach()
            before = after
        return {
            **losses,
            "cml.subsets": torch.stack(subsets).sum(),
            "cml.confidence": self.penalty * torch.stack(rises).sum(),
        }

    def metrics(self) -> dict[str, float]:
        """Return the batch mean of the rise in confidence at the last removal of each modality."""
        return {f"cml.{m}": float(rise) for m, rise in self._rises.items()}


def _confidence(logits: Tensor) -> Tensor:
    """Return the largest probability of each clip, (B,), from class scores, (B, C)."""
    return logits.softmax(dim=1).amax(dim=1)


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [CML]
