"""Reference branch: a plain stack of convolution blocks."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...core.contracts import Branch, Uniform, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.toolkit.ranges import check_ranges

_SMALLEST = 1e-4  # added to the variance, because the slope of the square root is infinite at 0


class CNN(Branch):
    """Convolution blocks, each halving the grid, then pooling and a linear layer.

    A block is convolution, max pooling, batch normalisation and ReLU, in this order. Pooling before
    normalisation computes nearly the same function as pooling after normalisation. Pooling first
    needs a quarter of the memory traffic, which takes most of the time on a CPU.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width).
    dim : int
        Size of the embedding.
    blocks : int
        Number of convolution blocks. An axis of one cell is not halved further.
    channels : int
        Channels of the first block's output.
    growth : float
        Factor on the channels from one block to the next.
    max_channels : int
        Largest number of channels of a block.
    stem_stride : int
        Stride of the first convolution, 1 or 2. Stride 2 replaces the pooling of the first block
        and reduces the cost of this block, the most expensive one, to about a third.
    dropout : float
        Dropout on the pooled features, in [0, 1).
    shrink : int
        First average the input over squares of `shrink` x `shrink` cells. 2 means a quarter of the
        cost.
    pooling : {"mean", "statistics"}
        "mean": mean over the whole grid. "statistics": mean and standard deviation over the width
        (time) for each row (frequency), which keep the level of each frequency and its variation
        (statistics pooling: Snyder et al. 2017).

    When to use
    -----------
    The first choice for images and spectrograms, and the default for the extractors `mel` and
    `persistence`. Each block halves both axes. For a strategy on feature maps, use few enough
    blocks to leave a map of several cells.

    Cost
    ----
    About 9 * channels^2 * (blocks - 1) weights if the channels do not grow (28,000 by default). The
    first block takes most of the time, because it runs on the largest grid.
    """

    name = "cnn"
    recordable = True
    space: ClassVar = {"dropout": Uniform(0.0, 0.6)}

    def __init__(
        self,
        shape: tuple[int, ...],
        dim: int = 64,
        *,
        blocks: int = 4,
        channels: int = 32,
        growth: float = 1.0,
        max_channels: int = 128,
        stem_stride: int = 2,
        dropout: float = 0.2,
        shrink: int = 1,
        pooling: Literal["mean", "statistics"] = "mean",
    ) -> None:
        super().__init__(shape, dim)
        check_ranges(
            self.name,
            "blocks, channels and max_channels >= 1, growth > 0 and dropout in [0, 1)",
            locals(),
        )
        if stem_stride not in (1, 2):
            raise ParameterError(f"cnn.stem_stride must be 1 or 2, and is {stem_stride}.")
        if not 1 <= shrink <= min(shape[1:]):
            raise ParameterError(
                f"cnn.shrink must be 1 to {min(shape[1:])} for arrays of shape {shape}, and is "
                f"{shrink}."
            )
        wide, height, width = shape[0], shape[1] // shrink, shape[2] // shrink
        stack: list[nn.Module] = []
        for index in range(blocks):
            narrow, wide = wide, max(1, min(max_channels, round(channels * growth**index)))
            stride = stem_stride if index == 0 else 1
            stack.append(nn.Conv2d(narrow, wide, 3, stride=stride, padding=1, bias=False))
            if stride == 2:
                height, width = (height + 1) // 2, (width + 1) // 2
            else:
                window = (2 if height > 1 else 1, 2 if width > 1 else 1)
                stack.append(nn.MaxPool2d(window))
                height, width = height // window[0], width // window[1]
            # In place, to save memory traffic: the normalised values are not needed again.
            stack += [nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
        self.blocks = nn.Sequential(*stack).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.map_channels = wide
        self.shrink = shrink
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.embed = nn.Linear(wide if pooling == "mean" else 2 * wide * height, dim)

    @classmethod
    def accepts(cls, shape: tuple[int, ...]) -> bool:
        return len(shape) == 3

    def maps(self, x: Tensor) -> Tensor:
        # With channels_last the convolutions need no reordering, on CPU and GPU.
        if self.shrink > 1:
            x = functional.avg_pool2d(x, self.shrink)
        x = x.contiguous(memory_format=torch.channels_last)
        maps: Tensor = self.blocks(x)  # (B, C, H, W)
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        if self.pooling == "mean":
            pooled = maps.mean(dim=(2, 3))  # (B, C)
        else:
            rows = maps.flatten(1, 2).float()  # (B, C * H, W)
            spread = (rows.var(dim=2, unbiased=False) + _SMALLEST).sqrt()
            pooled = torch.cat([rows.mean(dim=2), spread], dim=1)  # (B, 2 * C * H)
        embedding: Tensor = self.embed(self.dropout(pooled)).relu()  # (B, D)
        return embedding


@hookimpl
def fusion_branches() -> list[type[Branch]]:
    return [CNN]
