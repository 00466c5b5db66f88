"""A branch for features without a grid: statistics, pooled embeddings, tables."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor, nn

from ...core.contracts import Branch, Uniform, hookimpl
from ...core.errors import ParameterError


class MLP(Branch):
    """Flattens its input; two linear layers with batch normalisation, ReLU and dropout.

    Parameters
    ----------
    shape : tuple of int
        Any shape; it is flattened.
    dim : int
        Size of the embedding.
    hidden : int
        Width of the hidden layer.
    dropout : float
        Dropout after the hidden layer, in [0, 1).

    When to use
    -----------
    For what has no grid: statistics, pooled embeddings of other networks, tables. On an image or a
    spectrogram it has to learn every place by itself: take `cnn`. The map it offers has one cell,
    so a strategy on maps has nothing to attend to.

    Cost
    ----
    (product of the shape) x hidden + hidden x D weights; next to no time. A large input makes the
    first layer large.
    """

    name = "mlp"
    recordable = True
    space: ClassVar = {"dropout": Uniform(0.0, 0.6)}

    def __init__(
        self, shape: tuple[int, ...], dim: int = 64, *, hidden: int = 256, dropout: float = 0.3
    ) -> None:
        super().__init__(shape, dim)
        if hidden < 1 or not 0 <= dropout < 1:
            raise ParameterError(
                f"mlp needs hidden >= 1 and 0 <= dropout < 1; given hidden={hidden}, "
                f"dropout={dropout}."
            )
        self.map_channels = hidden
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.embed = nn.Linear(hidden, dim)

    def maps(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.layers(x)  # (B, hidden)
        return hidden[:, :, None]  # (B, hidden, 1): a grid of one cell

    def pool(self, maps: Tensor) -> Tensor:
        embedding: Tensor = self.embed(maps.mean(dim=2)).relu()  # (B, D)
        return embedding


@hookimpl
def fusion_branches() -> list[type[Branch]]:
    return [MLP]
