"""Early fusion: feature maps on a common grid, concatenated and convolved together."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ...core.contracts import Strategy, Uniform, hookimpl
from ._tokens import capped_grid, check_counts, check_dropout, resize, with_grid


class Early(Strategy):
    """Shared convolutions over feature maps that are resized to a common grid.

    ::

        scores = head(mean over cells of shared([resize(block_m(map_m)) for each m]))

    Each modality has one convolution block on its feature map. The outputs of these blocks are
    resized to a common grid and concatenated on the channels. Shared convolution blocks, global
    average pooling and a linear head follow. The strategy is the earliest fusion of learned
    features among the built-in strategies.

    Maps are first made two-dimensional. A map with a single axis (time, tokens) becomes a single
    row. If a map has more than two axes, all axes but the last are flattened into one. A map
    without a grid is one cell.

    Along each of the two axes the common grid is as long as the longest map, so that no modality
    loses detail. The grid's longer axis is then halved until the grid has at most `max_cells`
    cells. A shrinking axis is averaged, a growing one is interpolated linearly, and a single row or
    cell is repeated. The time axis of a sequence is thus aligned with the last axis of a
    spectrogram, which is also time. The sequence is repeated at every frequency.

    Parameters
    ----------
    dims : dict of str to int
        Channels of the feature map by modality.
    num_classes : int
        Number of classes.
    channels : int
        Channels of every block's output, >= 1.
    blocks : int
        Shared convolution blocks, >= 1.
    max_cells : int
        Maximum number of cells of the common grid, >= 1.
    dropout : float
        Dropout before the linear head, in [0, 1).

    When to use
    -----------
    If the cells of the maps correspond (spectrograms and sequences of the same clip over time), so
    that a convolution can detect patterns across modalities. If the axes have different meanings,
    as in a spectrogram and a persistence image, cells at the same position are unrelated: use
    `bottleneck` or `cross_attention`. If the map of a branch has few cells (`cnn` with 7 blocks),
    use fewer blocks.

    Cost
    ----
    9 * channels * (sum of map channels + (M + blocks - 1) * channels) weights. The block of each
    modality runs on the modality's whole map.

    References
    ----------
    Snoek, Worring and Smeulders (2005), "Early versus Late Fusion in Semantic Video Analysis", ACM
    Multimedia.
    """

    name = "early"
    takes = "maps"
    space: ClassVar = {"dropout": Uniform(0.0, 0.5)}

    def __init__(
        self,
        dims: dict[str, int],
        num_classes: int,
        *,
        channels: int = 64,
        blocks: int = 2,
        max_cells: int = 256,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(dims, num_classes)
        check_counts(self.name, channels=channels, blocks=blocks, max_cells=max_cells)
        check_dropout(self.name, dropout)
        self.order = list(dims)
        self.max_cells = max_cells
        self.own = nn.ModuleDict({m: _block(wide, channels) for m, wide in dims.items()})
        first = _block(len(dims) * channels, channels)
        rest = [_block(channels, channels) for _ in range(blocks - 1)]
        self.shared = nn.Sequential(first, *rest)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        own = [self.own[m](_two_axes(inputs[m])) for m in self.order]  # (B, C, H_m, W_m) each
        longest = tuple(max(map_.shape[axis] for map_ in own) for axis in (2, 3))
        grid = capped_grid(longest, self.max_cells)
        joined = torch.cat([resize(map_, grid) for map_ in own], dim=1)  # (B, M * C, H, W)
        pooled = self.shared(joined).mean(dim=(2, 3))  # (B, C)
        scores: Tensor = self.head(self.dropout(pooled))  # (B, num_classes)
        return scores


def _two_axes(maps: Tensor) -> Tensor:
    """Reshape maps, (B, C, *grid), to two grid axes, (B, C, H, W); W is the last axis."""
    maps = with_grid(maps)
    return maps[:, :, None] if maps.dim() == 3 else maps.flatten(2, -2)


def _block(narrow: int, wide: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(narrow, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()
    )


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Early]
