"""Tensor fusion: a weight for every product of entries, one entry from each modality."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...core.contracts import Strategy, hookimpl
from ...core.contracts.errors import ParameterError


class TensorFusion(Strategy):
    """Outer product of all embeddings, classified by a linear head.

    ::

        scores = W vec([z_1; 1] x ... x [z_M; 1]),    x the outer product

    The strategy is the tensor fusion network of the paper. A 1 is appended to each embedding, so
    that the outer product also contains the products of fewer modalities and the embeddings
    themselves.

    Departure from the paper: the head is linear, while the paper's head has two hidden layers. With
    a linear head, `lmf` is this strategy with weights of low rank.

    Parameters
    ----------
    dims : dict of str to int
        Size of the embedding by modality.
    num_classes : int
        Number of classes.
    max_weights : int
        Maximum number of weights of the head, >= 1.

    When to use
    -----------
    For two modalities, or three with small embeddings, if interactions matter and there are enough
    clips to learn them.

    Cost
    ----
    C x product of (D_m + 1) weights, exponential in the number of modalities: 25,350 for two
    modalities of size 64 and 6 classes, 1.6 million for three, 107 million for four. The strategy
    rejects more than `max_weights` weights. Each batch also needs B x product of (D_m + 1) values
    of memory.

    References
    ----------
    Zadeh et al. (2017), "Tensor Fusion Network for Multimodal Sentiment Analysis", EMNLP.
    """

    name = "tensor"

    def __init__(
        self, dims: dict[str, int], num_classes: int, *, max_weights: int = 10_000_000
    ) -> None:
        super().__init__(dims, num_classes)
        if max_weights < 1:
            raise ParameterError(f"tensor.max_weights must be 1 or more, and is {max_weights}.")
        size = math.prod(d + 1 for d in dims.values())
        if size * num_classes > max_weights:
            raise _too_large(dims, num_classes, max_weights)
        self.order = list(dims)
        # No bias: the product of all appended ones is an entry of the outer product.
        self.head = nn.Linear(size, num_classes, bias=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        first, *rest = [_with_one(inputs[m]) for m in self.order]  # (B, D_m + 1) each
        product = first
        for z in rest:
            product = (product[:, :, None] * z[:, None, :]).flatten(1)
        scores: Tensor = self.head(product)  # (B, product of D_m + 1) -> (B, C)
        return scores


def _with_one(z: Tensor) -> Tensor:
    return torch.cat([z, z.new_ones(len(z), 1)], dim=1)


def _too_large(dims: dict[str, int], num_classes: int, max_weights: int) -> ParameterError:
    factors = " x ".join(str(d + 1) for d in dims.values())
    weights = num_classes * math.prod(d + 1 for d in dims.values())
    fits = _largest_dim(len(dims), num_classes, max_weights)
    smaller = f"embeddings of {fits} or less (--set train.dim={fits}), " if fits else ""
    return ParameterError(
        f"tensor needs {factors} x {num_classes} classes = {weights:,} weights for {dims}, and "
        f"tensor.max_weights allows {max_weights:,}.",
        hint="Use --strategy lmf, its low-rank form, "
        f"{smaller}or raise the limit (--set tensor.max_weights={weights}) if memory allows.",
    )


def _largest_dim(modalities: int, num_classes: int, max_weights: int) -> int:
    """Return the largest size that all embeddings may have, or 0 if no size fits."""
    dim = int((max_weights / num_classes) ** (1 / modalities))
    while dim > 0 and num_classes * (dim + 1) ** modalities > max_weights:
        dim -= 1
    return dim


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [TensorFusion]
