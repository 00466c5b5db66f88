# Never edit: written against contract version 1. What breaks here breaks the plugins of others.
# ruff: noqa: RUF012
"""A strategy with weights, which knows absence."""

import torch
from torch import Tensor, nn

from fusion import Strategy, Uniform, hookimpl


class Weighted(Strategy):
    """A weighted mean of the embeddings.

    Parameters
    ----------
    dropout : float
        Share of the mean that is dropped in training.
    """

    name = "v1_weighted"
    takes = "embeddings"
    accepts_missing = True
    space = {"dropout": Uniform(0.0, 0.5)}

    def __init__(self, dims: dict[str, int], num_classes: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.names = list(dims)
        self.weights = nn.Parameter(torch.zeros(len(dims)))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(next(iter(dims.values())), num_classes)

    def forward(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        stacked = torch.stack([inputs[m] for m in self.names], dim=1)  # (B, M, D)
        weights = self.modality_weights(inputs)
        if present is not None:
            weights = weights * present
            weights = weights / weights.sum(dim=1, keepdim=True)
        return self.head(self.dropout((stacked * weights[:, :, None]).sum(dim=1)))

    def modality_weights(self, inputs: dict[str, Tensor]) -> Tensor:
        batch = len(inputs[self.names[0]])
        return self.weights.softmax(dim=0).expand(batch, -1)


@hookimpl
def fusion_strategies():
    return [Weighted]
