"""Mean: the embeddings averaged."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...core.contracts import Strategy, equal_dims, hookimpl


class Mean(Strategy):
    """scores = head(1/M * sum over m of z_m): the embeddings averaged, and a linear head.

    The same functions as sum, since a linear head can undo the factor 1/M; what differs is
    training: what the head sees keeps its size, and the gradient of each branch is M times
    smaller, however many modalities there are.

    When to use: instead of sum where the number of modalities varies between experiments.
    Cost: D x C + C weights, and next to no time.

    Parameters
    ----------
    dims : dict of str to int
        Modality -> size of its embedding; all equal.
    num_classes : int
        Number of classes.
    """

    name = "mean"

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.head = nn.Linear(equal_dims(dims, self.name), num_classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        stacked = torch.stack([inputs[m] for m in self.order])  # (M, B, D)
        scores: Tensor = self.head(stacked.mean(dim=0))  # (B, C)
        return scores


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Mean]
