"""A branch: convolutions along time, then mean and deviation over it."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from fusion import Branch, LogInteger, ParameterError, hookimpl
from torch import Tensor, nn

api_version = 1


class MyPlugin(Branch):
    """Two convolutions along the last axis, and statistics pooling over it.

    Whatever lies before the last axis becomes channels, so that any shape will do: a spectrogram
    (1, 128, 256) has 128 channels and 256 positions, a vector (24,) has 24 channels and one.
    Mean and deviation over the positions make the embedding, which suits features whose level
    and movement count more than their place.

    Parameters
    ----------
    shape : tuple of int
        Any shape, its last axis time where it has one.
    dim : int
        Size of the embedding.
    width : int
        Channels of the convolutions, >= 1.

    When to use
    -----------
    Frame-wise features of some length: contours, spectrograms, the frames of other networks.

    Cost
    ----
    3 x width x (channels + width) + 2 x width x D weights; little time.

    References
    ----------
    Snyder et al. (2018), "X-Vectors: Robust DNN Embeddings for Speaker Recognition", ICASSP,
    whose pooling this is; their network is deeper.
    """

    name = "my_plugin"
    recordable = True  # all of it is done on the device, and the same on every batch
    space: ClassVar = {"width": LogInteger(16, 128)}

    def __init__(self, shape: tuple[int, ...], dim: int = 64, *, width: int = 64) -> None:
        super().__init__(shape, dim)
        if width < 1:
            raise ParameterError(f"{self.name}.width must be 1 or more, and is {width}.")
        self.map_channels = width  # what `maps` returns: strategies on maps ask for it
        channels = math.prod(shape[:-1]) if len(shape) > 1 else shape[0]
        self.layers = nn.Sequential(
            nn.Conv1d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.embed = nn.Linear(2 * width, dim)

    @classmethod
    def accepts(cls, shape: tuple[int, ...]) -> bool:
        return len(shape) > 0 and min(shape) > 0

    def maps(self, x: Tensor) -> Tensor:
        # (B, channels, T); of a vector, T = 1.
        sequence = x[:, :, None] if x.dim() == 2 else x.flatten(1, -2)
        maps: Tensor = self.layers(sequence)  # (B, width, T)
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        maps = maps.float()
        mean = maps.mean(dim=2)  # (B, width)
        # Not torch.std: its gradient is infinite where all positions are equal.
        deviation = (maps.var(dim=2, correction=0) + 1e-5).sqrt()  # (B, width)
        embedding: Tensor = self.embed(torch.cat([mean, deviation], dim=1)).relu()  # (B, D)
        return embedding


@hookimpl
def fusion_branches() -> list[type[Branch]]:
    return [MyPlugin]
