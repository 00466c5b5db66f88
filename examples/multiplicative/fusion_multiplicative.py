"""A fusion strategy: multiplicative interactions between the modalities, two at a time."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar

import torch
from fusion import LogInteger, ParameterError, Strategy, Uniform, hookimpl
from torch import Tensor, nn

api_version = 1


class Multiplicative(Strategy):
    """Linear scores of each modality, and a bilinear form of every two.

    ::

        scores = b + sum over m of V_m z_m + sum over m < n of (P_m z_m)' W_mn (P_n z_n)

    The layer of the paper, f(x, z) = z' W x + z' U + V x + b with a tensor W of three axes, for
    any number of modalities: one such tensor for every two of them. What one modality says then
    decides what another one's values mean, which no sum of the two can do.

    Departures: the embeddings are projected to `width` first, so that the tensors stay small
    (with D = 64 and six classes W has 24576 weights, at width 16 it has 1536); and W starts near
    values that give the products the variance of one projected entry, where PyTorch's bilinear
    layer would start `width` times above. A single modality has no other to interact with: its
    scores are linear. Of a clip that lacks a modality, the terms with it are left out.

    Parameters
    ----------
    dims : dict of str to int
        Modality -> size of its embedding.
    num_classes : int
        Number of classes.
    width : int
        What each embedding is projected to before the products, >= 1.
    dropout : float
        Dropout on the embeddings, in [0, 1).

    When to use
    -----------
    Where one modality decides how another is to be read, such as a raised voice with a smile or
    without. For products of all orders in one, take a strategy on the outer product.

    Cost
    ----
    C x (sum of D_m) + width x (sum of D_m) + M (M - 1) / 2 x width^2 x C weights; little time.

    References
    ----------
    Jayakumar et al. (2020), "Multiplicative Interactions and Where to Find Them", ICLR.
    """

    name = "multiplicative"
    accepts_missing = True
    space: ClassVar = {"width": LogInteger(4, 64), "dropout": Uniform(0.0, 0.5)}

    def __init__(
        self,
        dims: dict[str, int],
        num_classes: int,
        *,
        width: int = 16,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dims, num_classes)
        if width < 1 or not 0 <= dropout < 1:
            raise ParameterError(
                f"{self.name} needs width >= 1 and 0 <= dropout < 1; given width={width}, "
                f"dropout={dropout}."
            )
        self.pairs = list(combinations(dims, 2))
        self.dropout = nn.Dropout(dropout)
        # Without biases: what is absent is zero, and has to leave the scores alone.
        self.linear = nn.ModuleDict(
            {m: nn.Linear(size, num_classes, bias=False) for m, size in dims.items()}
        )
        self.bias = nn.Parameter(torch.zeros(num_classes))
        # Of a single modality there is nothing to multiply, and nothing that would be trained.
        projected = dims if self.pairs else {}
        self.project = nn.ModuleDict(
            {m: nn.Linear(size, width, bias=False) for m, size in projected.items()}
        )
        # The variance of a sum of width^2 products, each with weights in +-sqrt(3) / width, is
        # that of one product.
        bound = 3**0.5 / width
        self.interactions = nn.ParameterList(
            torch.empty(num_classes, width, width).uniform_(-bound, bound) for _ in self.pairs
        )

    def forward(self, inputs: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        embeddings = {}
        for index, m in enumerate(self.linear):
            z = self.dropout(inputs[m])  # (B, D_m)
            embeddings[m] = z if present is None else z.masked_fill(~present[:, index, None], 0.0)
        scores: Tensor = self.bias + sum(v(embeddings[m]) for m, v in self.linear.items())  # (B, C)
        small = {m: project(embeddings[m]) for m, project in self.project.items()}  # (B, width)
        for (m, n), weights in zip(self.pairs, self.interactions, strict=True):
            scores = scores + torch.einsum("bi,cij,bj->bc", small[m], weights, small[n])
        return scores


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Multiplicative]
