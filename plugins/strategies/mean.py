"""Mean: the embeddings averaged."""

from __future__ import annotations

from torch import Tensor, nn

from ...core.contracts import Strategy, equal_dims, hookimpl
from ._presence import stacked


class Mean(Strategy):
    """scores = head(1/M * sum over m of z_m): the embeddings averaged, and a linear head.

    The same functions as sum, since a linear head can undo the factor 1/M; what differs is
    training: what the head sees keeps its size, and the gradient of each branch is M times
    smaller, however many modalities there are.

    Of a clip that lacks modalities, those it has are averaged.

    Parameters
    ----------
    dims : dict of str to int
        Modality -> size of its embedding; all equal.
    num_classes : int
        Number of classes.

    When to use
    -----------
    Instead of `sum` where the number of modalities varies, between experiments or from clip to
    clip.

    Cost
    ----
    D x C + C weights, and next to no time.
    """

    name = "mean"
    accepts_missing = True

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.head = nn.Linear(equal_dims(dims, self.name), num_classes)

    def forward(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        total = stacked(inputs, self.order, present).sum(dim=1)  # (B, D)
        count = len(self.order) if present is None else present.sum(dim=1, keepdim=True)
        scores: Tensor = self.head(total / count)  # (B, C)
        return scores


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Mean]
