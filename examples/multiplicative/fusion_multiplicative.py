"""Fusion strategy with multiplicative interactions between pairs of modalities."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar

import torch
from fusion import LogInteger, ParameterError, Strategy, Uniform, hookimpl
from torch import Tensor, nn

api_version = 1


class Multiplicative(Strategy):
    """Linear scores of each modality, plus a bilinear form of every pair of modalities.

    ::

        scores = b + sum over m of V_m z_m + sum over m < n of (P_m z_m)' W_mn (P_n z_n)

    The strategy generalises the paper's layer, f(x, z) = z' W x + z' U + V x + b with a tensor W
    of three axes, to any number of modalities: each pair has its own tensor. The values of one
    modality then change how another modality is interpreted, which no sum of the two can express.

    Departures from the paper: the embeddings are first projected to `width`, so that the tensors
    stay small (with D = 64 and six classes W has 24576 weights; at width 16 it has 1536). W is
    initialised such that the interaction has the variance of one product of projected entries;
    PyTorch's bilinear layer would start `width` times above. A single modality gives linear
    scores. For a clip that lacks a modality, the terms of this modality are left out.

    Parameters
    ----------
    dims : dict of str to int
        Modality -> size of its embedding.
    num_classes : int
        Number of classes.
    width : int
        Size to which each embedding is projected before the products, >= 1.
    dropout : float
        Dropout on the embeddings, in [0, 1).

    When to use
    -----------
    If one modality determines how another is to be interpreted, such as a raised voice with or
    without a smile. For products of all orders, use a strategy based on the outer product.

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
        # Without biases, because the zeros of an absent modality must not change the scores.
        self.linear = nn.ModuleDict(
            {m: nn.Linear(size, num_classes, bias=False) for m, size in dims.items()}
        )
        self.bias = nn.Parameter(torch.zeros(num_classes))
        # A single modality needs no projection: its weights would never be trained.
        projected = dims if self.pairs else {}
        self.project = nn.ModuleDict(
            {m: nn.Linear(size, width, bias=False) for m, size in projected.items()}
        )
        # With weights uniform in +-sqrt(3) / width, the weighted sum of width^2 products has the
        # variance of one product.
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
