"""Sum: the embeddings added up."""

from __future__ import annotations

from torch import Tensor, nn

from ...core.contracts import Strategy, equal_dims, hookimpl
from ._presence import stacked


class Sum(Strategy):
    """scores = head(sum over m of z_m): the embeddings added, and a linear head over them.

    The other plain baseline of fusion papers, beside concat. It is concat with the head's
    weights shared between the modalities, so the branches must agree on what each entry of
    an embedding means. Every branch receives the same gradient, whichever modality earned it.

    Of a clip that lacks modalities, those it has are added.

    Parameters
    ----------
    dims : dict of str to int
        Modality -> size of its embedding; all equal.
    num_classes : int
        Number of classes.

    When to use
    -----------
    As a baseline; with many modalities, since the head does not grow with them.

    Cost
    ----
    D x C + C weights, and next to no time.
    """

    name = "sum"
    accepts_missing = True

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.head = nn.Linear(equal_dims(dims, self.name), num_classes)

    def forward(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        total = stacked(inputs, self.order, present).sum(dim=1)  # (B, D)
        scores: Tensor = self.head(total)  # (B, C)
        return scores


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Sum]
