"""Valid strategies and branches, and the base classes of broken ones."""

import torch
from torch import nn

from fusion import Branch, Strategy
from fusion.core.contracts import equal_dims


class Plain(Strategy):
    """Valid: concatenation; the base class of the broken strategies."""

    name = "plain"

    def __init__(self, dims, num_classes):
        super().__init__()
        self.order = list(dims)
        self.head = nn.Linear(sum(dims.values()), num_classes)

    def join(self, inputs):
        return torch.cat([inputs[m] for m in self.order], dim=1)

    def forward(self, inputs):
        return self.head(self.join(inputs))


class Maps(Plain):
    """Valid: means of the maps."""

    name = "maps"
    takes = "maps"

    def join(self, inputs):
        return torch.cat([inputs[m].flatten(2).mean(dim=2) for m in self.order], dim=1)


class Picky(Plain):
    """Valid: refuses unequal sizes with a message."""

    name = "picky"

    def __init__(self, dims, num_classes, *, weight: float = 1.0):
        """`weight` is documented in the class."""
        super().__init__(dims, num_classes)
        equal_dims(dims, self.name)

    __doc__ += "\n\n    Parameters\n    ----------\n    weight : float\n        A factor.\n    "

    def modality_weights(self, inputs):
        first = inputs[self.order[0]]
        return first.new_full((len(first), len(self.order)), 1 / len(self.order))


class Present(Picky):
    """Valid: a mean over the present modalities of a clip.

    Parameters
    ----------
    weight : float
        A factor.
    """

    accepts_missing = True

    def __init__(self, dims, num_classes, *, weight: float = 1.0):
        super().__init__(dims, num_classes, weight=weight)
        self.head = nn.Linear(equal_dims(dims, self.name), num_classes)

    def masks(self, inputs, present):
        """Return float masks (M, B, 1)."""
        if present is None:
            first = inputs[self.order[0]]
            return first.new_ones(len(self.order), len(first), 1)
        return present.T[:, :, None].float()

    def join(self, inputs, present=None):
        masks = self.masks(inputs, present)
        stacked = torch.stack([inputs[m] for m in self.order])
        return (stacked * masks).sum(dim=0) / masks.sum(dim=0)

    def forward(self, inputs, present=None):
        return self.head(self.join(inputs, present))


class Fine(Branch):
    """Valid: means over all axes except channels.

    Parameters
    ----------
    dim : int
        Size of the embedding.
    """

    name = "fine"

    def __init__(self, shape: tuple[int, ...], dim: int = 64):
        super().__init__(shape, dim)
        self.map_channels = shape[0]
        self.embed = nn.Linear(shape[0], dim)

    def maps(self, x):
        return x if x.dim() > 2 else x[:, :, None]

    def pool(self, maps):
        return self.embed(maps.flatten(2).mean(dim=2))
