"""Branch for features without a grid: statistics, pooled embeddings and tables."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from ...core.contracts import Branch, Uniform, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.toolkit.ranges import check_ranges


class MLP(Branch):
    """Two linear layers on the flattened input, with batch normalisation, ReLU and dropout.

    Parameters
    ----------
    shape : tuple of int
        Any shape; the array is flattened.
    dim : int
        Size of the embedding.
    hidden : int
        Width of the hidden layer.
    dropout : float
        Dropout after the hidden layer, in [0, 1).
    input_dropout : float
        Dropout on the input, in [0, 1): for inputs with many redundant features.
    shrink : int
        First average the input over squares of `shrink` x `shrink` cells in its last two axes.
    normalise : bool
        Standardise each value of the (shrunk) input by batch normalisation without weights. Useful
        for images whose pixels differ in scale.

    When to use
    -----------
    For features without a grid: statistics, pooled embeddings of other networks, tables. On an
    image or a spectrogram an MLP must learn a pattern separately at every position, so use `cnn`.
    The map for strategies has one cell, so a strategy on maps has no positions to attend to.

    Cost
    ----
    (product of the shape) x hidden + hidden x D weights; negligible time. A large input makes the
    first layer large.
    """

    name = "mlp"
    recordable = True
    space: ClassVar = {"dropout": Uniform(0.0, 0.6)}

    def __init__(
        self,
        shape: tuple[int, ...],
        dim: int = 64,
        *,
        hidden: int = 256,
        dropout: float = 0.3,
        input_dropout: float = 0.0,
        shrink: int = 1,
        normalise: bool = False,
    ) -> None:
        super().__init__(shape, dim)
        check_ranges(self.name, "hidden >= 1, and dropout and input_dropout in [0, 1)", locals())
        if shrink != 1 and (len(shape) < 2 or not 1 <= shrink <= min(shape[-2:])):
            raise ParameterError(
                f"mlp.shrink={shrink} does not fit arrays of shape {shape}: the last two axes must "
                "have at least that length.",
            )
        self.map_channels = hidden
        self.shrink = shrink
        shrunk = shape if shrink == 1 else (*shape[:-2], shape[-2] // shrink, shape[-1] // shrink)
        size = math.prod(shrunk)
        before: list[nn.Module] = [nn.BatchNorm1d(size, affine=False)] if normalise else []
        before += [nn.Dropout(input_dropout)] if input_dropout else []
        self.layers = nn.Sequential(
            nn.Flatten(),
            *before,
            nn.Linear(size, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.embed = nn.Linear(hidden, dim)

    def maps(self, x: Tensor) -> Tensor:
        if self.shrink > 1:
            images = x.reshape(len(x), -1, *x.shape[-2:])  # (B, any, rows, columns)
            x = functional.avg_pool2d(images, self.shrink)
        hidden: Tensor = self.layers(x)  # (B, hidden)
        return hidden[:, :, None]  # (B, hidden, 1): a grid of one cell

    def pool(self, maps: Tensor) -> Tensor:
        embedding: Tensor = self.embed(maps.mean(dim=2)).relu()  # (B, D)
        return embedding


@hookimpl
def fusion_branches() -> list[type[Branch]]:
    return [MLP]
