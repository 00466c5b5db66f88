"""Gated fusion: each clip decides how much each modality counts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...core.contracts import Strategy, equal_dims, hookimpl
from ...core.errors import ParameterError


class Gated(Strategy):
    """w = softmax(MLP([z_1 .. z_M])), scores = head(sum of w_m z_m).

    After the gated multimodal unit (Arevalo et al. 2017), with weights that sum to one
    over the modalities, so that they can be read and reported.

    Parameters
    ----------
    dims : dict of str to int
        Modality -> size of its embedding; all equal.
    num_classes : int
        Number of classes.
    hidden : int
        Width of the gate's hidden layer.
    """

    name = "gated"
    default = True

    def __init__(self, dims: dict[str, int], num_classes: int, *, hidden: int = 32) -> None:
        super().__init__(dims, num_classes)
        if hidden < 1:
            raise ParameterError(f"gated.hidden must be 1 or more, and is {hidden}.")
        dim = equal_dims(dims, self.name)
        self.order = list(dims)
        # The share of a single modality is 1 whatever a gate says: it would never learn.
        self.gate = (
            nn.Sequential(
                nn.Linear(dim * len(dims), hidden), nn.ReLU(), nn.Linear(hidden, len(dims))
            )
            if len(dims) > 1
            else None
        )
        self.head = nn.Linear(dim, num_classes)

    def modality_weights(self, inputs: dict[str, Tensor]) -> Tensor:
        joined = torch.cat([inputs[m] for m in self.order], dim=1)  # (B, M * D)
        if self.gate is None:
            return joined.new_ones(len(joined), 1)
        weights: Tensor = self.gate(joined).softmax(dim=1)  # (B, M)
        return weights

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        weights = self.modality_weights(inputs)
        stacked = torch.stack([inputs[m] for m in self.order], dim=1)  # (B, M, D)
        scores: Tensor = self.head((weights[:, :, None] * stacked).sum(dim=1))  # (B, C)
        return scores


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Gated]
