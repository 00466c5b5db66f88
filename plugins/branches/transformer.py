"""Branch that is a small transformer over patches."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...core.contracts import Branch, Uniform, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.toolkit.ranges import check_ranges

_AUTO_TOKENS = 128  # largest number of tokens for the automatic patch size
_MOST_TOKENS = 4096  # attention is quadratic: with more tokens a batch does not fit into memory


class Transformer(Branch):
    """Small audio spectrogram transformer, trained from scratch.

    ::

        embedding = embed(pool(transformer(patches + positions)))

    The input is cut into square patches. Each patch is projected to a token, and a learned position
    embedding is added; pre-norm transformer layers follow, and embed is a linear layer with ReLU.
    If patches do not divide the input, the input is padded after its last row and column with
    zeros, the mean of standardised features.

    Departures from the paper: patches do not overlap; in the paper, patches of side 16 overlap by
    6. A class token, if requested, attends to the final tokens in a separate layer (as in CaiT) and
    does not pass through the other layers. Pooling and strategies on maps therefore use the same
    grid of tokens, (B, width, rows, columns).

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width).
    dim : int
        Size of the embedding.
    patch : int or None
        Side of a patch, >= 1. None means the smallest power of two with at most 128 tokens: 16 for
        (1, 128, 256), 4 for (6, 32, 32).
    width : int
        Size of a token; a multiple of `heads`.
    heads : int
        Attention heads, >= 1.
    layers : int
        Transformer layers, >= 1.
    pooling : {"mean", "class"}
        Mean of the tokens, or a class token that attends to the tokens.
    dropout : float
        Dropout in the layers and on the pooled features, in [0, 1).

    When to use
    -----------
    If there are many clips, or to produce tokens for `bottleneck` and `cross_attention`. The paper
    starts from weights trained on ImageNet. A transformer that starts untrained must learn from the
    clips the local structure that a convolution has by design.

    Cost
    ----
    For T tokens, attention has T^2 * heads values per clip and layer. Each layer has about 8 *
    width^2 weights.

    References
    ----------
    Gong, Chung and Glass (2021), "AST: Audio Spectrogram Transformer", Interspeech. Class token
    at the end: Touvron et al. (2021), "Going Deeper with Image Transformers", ICCV.
    """

    name = "transformer"
    recordable = True
    space: ClassVar = {"dropout": Uniform(0.0, 0.4)}

    def __init__(
        self,
        shape: tuple[int, ...],
        dim: int = 64,
        *,
        patch: int | None = None,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        pooling: Literal["mean", "class"] = "mean",
        dropout: float = 0.1,
    ) -> None:
        super().__init__(shape, dim)
        self.patch = _fitting_patch(shape) if patch is None else patch
        self._check(width, heads, layers, dropout)
        rows, columns = _grid(shape, self.patch)
        self.map_channels = width
        self.project = nn.Conv2d(shape[0], width, self.patch, stride=self.patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, rows * columns, width))
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True
                )
                for _ in range(layers)
            ),
            nn.LayerNorm(width),
        )
        self.class_token: nn.Parameter | None = None
        if pooling == "class":
            self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
            self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.embed = nn.Linear(width, dim)

    def _check(self, width: int, heads: int, layers: int, dropout: float) -> None:
        values = locals() | {"patch": self.patch}
        check_ranges(self.name, "patch, width, heads and layers >= 1 and dropout in [0, 1)", values)
        if width % heads:
            raise ParameterError(
                "transformer.width must be a multiple of transformer.heads, and is "
                f"{width} with {heads} heads."
            )
        rows, columns = _grid(self.shape, self.patch)
        if rows * columns > _MOST_TOKENS:
            raise ParameterError(
                f"transformer.patch={self.patch} cuts {self.shape} into {rows * columns} tokens; "
                f"at most {_MOST_TOKENS} are accepted.",
                hint="Leave out patch to use the default for this shape, "
                f"{_fitting_patch(self.shape)}.",
            )

    @classmethod
    def accepts(cls, shape: tuple[int, ...]) -> bool:
        return len(shape) == 3 and min(shape) > 0

    def maps(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = functional.pad(x, (0, -width % self.patch, 0, -height % self.patch))
        patches = self.project(x)  # (B, width, rows, columns)
        tokens = patches.flatten(2).transpose(1, 2) + self.position  # (B, T, width)
        after: Tensor = self.layers(tokens).transpose(1, 2)  # (B, width, T)
        return after.reshape(patches.shape)

    def pool(self, maps: Tensor) -> Tensor:
        tokens = maps.flatten(2).transpose(1, 2)  # (B, T, width)
        if self.class_token is None:
            pooled = tokens.mean(dim=1)  # (B, width)
        else:
            query = self.class_token.expand(len(tokens), -1, -1)  # (B, 1, width)
            pooled = self.attention(query, tokens, tokens, need_weights=False)[0][:, 0]
        embedding: Tensor = self.embed(self.dropout(pooled)).relu()  # (B, D)
        return embedding


def _grid(shape: tuple[int, ...], patch: int) -> tuple[int, int]:
    """Return the numbers of rows and columns of patches, including padded patches."""
    return -(-shape[1] // patch), -(-shape[2] // patch)


def _fitting_patch(shape: tuple[int, ...]) -> int:
    patch = 1
    while (grid := _grid(shape, patch))[0] * grid[1] > _AUTO_TOKENS:
        patch *= 2
    return patch


@hookimpl
def fusion_branches() -> list[type[Branch]]:
    return [Transformer]
