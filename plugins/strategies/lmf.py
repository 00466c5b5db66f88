"""Low-rank multimodal fusion: `tensor` fusion without building the outer product."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ...core.contracts import LogInteger, Strategy, hookimpl
from ...core.contracts.errors import ParameterError


class LMF(Strategy):
    """Low-rank form of a linear head over the outer product of all embeddings.

    ::

        scores = sum over r of (product over m of W_m^r [z_m; 1]) + b,    products entry by entry

    The strategy is low-rank multimodal fusion (LMF): a linear head over the outer product of all
    [z_m; 1] (strategy `tensor`), with weights restricted to tensors of rank `rank`, r = 1 .. rank.
    The outer product is never built. The weights on the appended 1s start at 1. The scores
    therefore start near a sum of linear scores of each modality, and the gradients do not shrink
    with every factor.

    Parameters
    ----------
    dims : dict of str to int
        Size of the embedding by modality.
    num_classes : int
        Number of classes.
    rank : int
        Number of products that are summed, >= 1.

    When to use
    -----------
    For interactions of all orders between modalities if `tensor` is too large, which is always the
    case with four modalities or more.

    Cost
    ----
    rank x C x (sum of D_m + M) + C weights, linear in the number of modalities; little time.

    References
    ----------
    Liu et al. (2018), "Efficient Low-rank Multimodal Fusion with Modality-Specific Factors", ACL.
    """

    name = "lmf"
    space: ClassVar = {"rank": LogInteger(1, 16)}

    def __init__(self, dims: dict[str, int], num_classes: int, *, rank: int = 4) -> None:
        super().__init__(dims, num_classes)
        if rank < 1:
            raise ParameterError(f"lmf.rank must be 1 or more, and is {rank}.")
        self.shape = (rank, num_classes)
        # A linear layer's bias is its weight on the 1 of [z; 1]. The factors are in a ModuleDict
        # and not in a list: factors in a list would not be registered and never be trained.
        self.factors = nn.ModuleDict({m: nn.Linear(d, rank * num_classes) for m, d in dims.items()})
        for factor in self.factors.values():
            nn.init.ones_(cast(nn.Linear, factor).bias)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        terms = [factor(inputs[m]) for m, factor in self.factors.items()]  # (B, rank * C) each
        product = terms[0]
        for term in terms[1:]:
            product = product * term
        scores: Tensor = product.unflatten(1, self.shape).sum(dim=1) + self.bias  # (B, C)
        return scores


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [LMF]
