"""Sum fusion: one linear head over the sum of the embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from ...core.contracts import Strategy, equal_dims, hookimpl
from ._presence import stack_embeddings


class Sum(Strategy):
    """Sum of the embeddings, classified by a linear head.

    ::

        scores = head(sum over m of z_m)

    Sum and concatenation are the two plain baselines of fusion papers. Sum is concatenation with
    the same head weights for every modality, so the branches must agree on what each entry of an
    embedding means. All embeddings receive the same gradient, whichever modality caused it.

    If a clip lacks modalities, the sum is over the modalities that it has.

    Parameters
    ----------
    dims : dict of str to int
        Size of the embedding by modality; all sizes equal.
    num_classes : int
        Number of classes.

    When to use
    -----------
    As a baseline, and for many modalities, because the size of the head does not depend on the
    number of modalities.

    Cost
    ----
    D x C + C weights; the time is negligible.
    """

    name = "sum"
    accepts_missing = True

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.head = nn.Linear(equal_dims(dims, self.name), num_classes)

    def forward(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        total = stack_embeddings(inputs, self.order, present).sum(dim=1)  # (B, D)
        scores: Tensor = self.head(total)  # (B, C)
        return scores


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Sum]
