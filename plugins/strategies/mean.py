"""Mean fusion: one linear head over the mean of the embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from ...core.contracts import Strategy, equal_dims, hookimpl
from ._presence import stack_embeddings


class Mean(Strategy):
    """Mean of the embeddings, classified by a linear head.

    ::

        scores = head(1/M * sum over m of z_m)

    Mean and `sum` can express the same functions, because a linear head can undo the factor 1/M.
    Training differs: the scale of the head's input does not depend on the number of modalities, and
    the gradient of each branch is divided by M.

    If a clip lacks modalities, the mean is over the modalities that it has.

    Parameters
    ----------
    dims : dict of str to int
        Size of the embedding by modality; all sizes equal.
    num_classes : int
        Number of classes.

    When to use
    -----------
    Instead of `sum`, if the number of modalities varies between experiments or between clips.

    Cost
    ----
    D x C + C weights; the time is negligible.
    """

    name = "mean"
    accepts_missing = True

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.head = nn.Linear(equal_dims(dims, self.name), num_classes)

    def forward(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        total = stack_embeddings(inputs, self.order, present).sum(dim=1)  # (B, D)
        count = len(self.order) if present is None else present.sum(dim=1, keepdim=True)
        scores: Tensor = self.head(total / count)  # (B, C)
        return scores


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Mean]
