"""Concatenation: one linear head over the concatenated embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...core.contracts import Strategy, hookimpl


class Concat(Strategy):
    """Concatenation of the embeddings, classified by a linear head.

    ::

        scores = head([z_1 .. z_M])

    The scores are a sum of one linear part per modality, so the modalities never interact. The
    embeddings may differ in size. The strategy does not know which modalities
    are missing: the embedding of a missing modality is zero.

    Parameters
    ----------
    dims : dict of str to int
        Size of the embedding by modality.
    num_classes : int
        Number of classes.

    When to use
    -----------
    As the baseline for every other strategy: many strategies do not beat concatenation.

    Cost
    ----
    (sum of D_m) x C + C weights; the time is negligible.
    """

    name = "concat"

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.head = nn.Linear(sum(dims.values()), num_classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        joined = torch.cat([inputs[m] for m in self.order], dim=1)  # (B, sum D_m)
        scores: Tensor = self.head(joined)  # (B, C)
        return scores


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Concat]
