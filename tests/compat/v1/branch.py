# Never edit: written against contract version 1. What breaks here breaks the plugins of others.
# ruff: noqa: RUF012
"""A branch for vectors."""

import torch
from torch import Tensor, nn

from fusion import Branch, Integer, hookimpl


class Linear(Branch):
    """Two layers.

    Parameters
    ----------
    dim : int
        Size of the embedding.
    hidden : int
        Units between the layers.
    """

    name = "v1_linear"
    space = {"hidden": Integer(2, 16)}

    def __init__(self, shape: tuple[int, ...], *, dim: int = 8, hidden: int = 4) -> None:
        super().__init__(shape, dim)
        self.map_channels = hidden
        self.first = nn.Linear(shape[0], hidden)
        self.second = nn.Linear(hidden, dim)

    @classmethod
    def accepts(cls, shape: tuple[int, ...]) -> bool:
        return len(shape) == 1

    def maps(self, x: Tensor) -> Tensor:
        return torch.relu(self.first(x))[:, :, None]  # (B, hidden, 1)

    def pool(self, maps: Tensor) -> Tensor:
        return self.second(maps.mean(dim=2))


@hookimpl
def fusion_branches() -> list[type[Branch]]:
    return [Linear]
