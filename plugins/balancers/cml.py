"""Calibrated multimodal learning: one modality more must not make a model less sure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import Balancer, Context, LogUniform, Space, Step, hookimpl
from ...core.contracts.errors import ParameterError
from ._means import mean_over


class CML(Balancer):
    """Trains on fewer and fewer modalities, and punishes confidence that rises meanwhile.

    In every batch the modalities are taken away one after the other in a random order:
    all = S_1 > S_2 > .. > S_M, the last a single one. With f(S) the scores of the strategy
    when it is shown S, and conf the largest probability of a clip,

        L = l(f(all)) + sum over k > 1 of l(f(S_k))
            + penalty * sum over k > 1 of mean over the batch of
              max(0, conf(f(S_k)) - conf(f(S_(k-1)))).

    Calibrating multimodal learning (Ma et al. 2023, ICML). Departures: the losses along the
    chain are added, not averaged, so that the loss of the fused scores stays what it is
    without this balancer and composes with others; under Adam that is the averaged one with
    `penalty` divided by M. The hinge is taken for each clip and then averaged, as in the paper
    (a public version sums the differences over the batch first, where one clip's fall pays
    for another's rise, and divides no sum by its length). The order is drawn for every batch
    from the step's generator (public code: once an epoch), so that every subset has its
    turn. Gradients go through both confidences. The smaller sets are shown by leaving the
    others out (absent, or blank where the strategy knows no absence), which works with
    every strategy; public code subtracts a linear head's parts. A clip that has nothing of S_k
    has no part in the means of k.

    Parameters
    ----------
    penalty : float
        Weight of the rise in confidence, >= 0; 0 leaves training on subsets.

    When to use
    -----------
    Where a modality may be missing or damaged in use, or the fused model is sure of itself for
    the wrong reasons. As it trains on subsets, it also keeps the weaker modality learning.

    Cost
    ----
    M - 1 more passes through the strategy (not the branches), forward and backward.

    References
    ----------
    Ma, H., Zhang, Q., Zhang, C., Wu, B., Fu, H., Zhou, J. T., Hu, Q. (2023). Calibrating
    multimodal learning. ICML.
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
        # By name, so that what is drawn does not depend on the order of the modalities.
        left = sorted(step.shown)
        if len(left) < 2:
            return losses
        order = [left[i] for i in torch.randperm(len(left), generator=step.generator).tolist()]
        assert step.logits is not None
        before, subsets, rises = _confidence(step.logits), [], []
        for modality in order[:-1]:
            left.remove(modality)
            logits = step.fuse(left)
            after = _confidence(logits)
            subsets.append(step.cross_entropy(logits, left))
            rises.append(mean_over((after - before).relu(), step.sees(left)))
            self._rises[modality] = rises[-1].detach()
            before = after
        return {
            **losses,
            "cml.subsets": torch.stack(subsets).sum(),
            "cml.confidence": self.penalty * torch.stack(rises).sum(),
        }

    def metrics(self) -> dict[str, float]:
        """How much surer the model was when it last lost a modality, mean over the batch."""
        return {f"cml.{m}": float(rise) for m, rise in self._rises.items()}


def _confidence(logits: Tensor) -> Tensor:
    """Class scores (B, C) -> largest probability, (B,)."""
    return logits.softmax(dim=1).amax(dim=1)


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [CML]
