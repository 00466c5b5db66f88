"""Helpers for strategies on feature maps: grids of one size, and tokens from grid cells.

All functions accept any number of grid axes and need only a few matrix products. The results are
therefore bit-identical on every call on every device. (The gradients of torch's own adaptive
pooling and interpolation are not deterministic on a GPU.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...core.contracts.errors import ParameterError


def with_grid(maps: Tensor) -> Tensor:
    """Return the map with at least one grid axis: (B, C) becomes (B, C, 1)."""
    return maps[:, :, None] if maps.dim() == 2 else maps


def capped_grid(grid: tuple[int, ...], cells: int) -> tuple[int, ...]:
    """Halve the longest axis of a grid, rounding up, until the grid has at most `cells` cells.

    Among equally long axes the first is halved. For example, ``capped_grid((64, 128), 64)`` is
    ``(8, 8)``.
    """
    sizes = list(grid)
    while math.prod(sizes) > cells:
        longest = sizes.index(max(sizes))
        sizes[longest] = (sizes[longest] + 1) // 2
    return tuple(sizes)


def resize(maps: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Resize feature maps, (B, C, *old), axis by axis to (B, C, *grid).

    A shrinking axis is averaged as in adaptive average pooling, so that every cell counts. A
    growing axis is interpolated linearly.
    """
    for axis, size in enumerate(grid, start=2):
        if maps.shape[axis] != size:
            weights = _weights(maps.shape[axis], size, maps.device).to(maps.dtype)  # (new, old)
            maps = (maps.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return maps


def _weights(old: int, new: int, device: torch.device) -> Tensor:
    """Return the share of each old cell in each new cell, (new, old); the rows sum to 1."""
    cells = torch.arange(old, device=device)
    rows = torch.arange(new, device=device)[:, None]
    if new < old:
        start = rows * old // new
        end = ((rows + 1) * old + new - 1) // new
        inside = (start <= cells) & (cells < end)
        return inside.float() / (end - start)
    centre = ((rows + 0.5) * old / new - 0.5).clamp(0, old - 1)
    return (1 - (cells - centre).abs()).clamp_min(0)


def positions(grid: tuple[int, ...], width: int, device: torch.device) -> Tensor:
    """Return sinusoidal positions of the cells of a grid, (cells, width), in cell order.

    Each axis with more than one cell has an equal share of the width. The share holds the sines,
    then the cosines, of the cell's index along the axis. The wavelengths are a geometric sequence
    from 2 pi to 10000 * 2 pi (Vaswani et al. 2017). The remainder of the width is 0.

    Raises
    ------
    ParameterError
        If the width is too small for one sine and one cosine per axis.
    """
    axes = [axis for axis, size in enumerate(grid) if size > 1]
    encoding = torch.zeros(*grid, width, device=device)
    if not axes:
        return encoding.reshape(-1, width)
    waves = width // (2 * len(axes))
    if waves < 1:
        raise ParameterError(
            f"A width of {width} is too small for positions on a grid of {grid}: "
            f"it must be {2 * len(axes)} or more."
        )
    steps = torch.arange(waves, device=device) / max(1, waves - 1)
    for share, axis in enumerate(axes):
        shape = [-1 if other == axis else 1 for other in range(len(grid))]
        angle = torch.arange(grid[axis], device=device)[:, None] * 10000.0**-steps  # (n, waves)
        both = torch.cat([angle.sin(), angle.cos()], dim=1)  # (n, 2 * waves)
        start = share * 2 * waves
        encoding[..., start : start + 2 * waves] = both.view(*shape, 2 * waves)
    return encoding.reshape(-1, width)


class Tokens(nn.Module):
    """Projection of feature maps, (B, C, *grid), to tokens, (B, T, width).

    The grid cells are pooled and projected, and the positions of the cells are added. The positions
    are sinusoidal instead of learned, because the size of the grid is unknown when a strategy is
    created.

    Parameters
    ----------
    channels : int
        Channels of the map, C.
    width : int
        Size of a token.
    max_tokens : int
        Maximum number of tokens: a larger grid is averaged down, longest axis first.
    """

    def __init__(self, channels: int, width: int, max_tokens: int) -> None:
        super().__init__()
        self.width = width
        self.max_tokens = max_tokens
        self.project = nn.Linear(channels, width)

    def forward(self, maps: Tensor) -> Tensor:
        maps = with_grid(maps)
        grid = capped_grid(tuple(maps.shape[2:]), self.max_tokens)
        cells = resize(maps, grid).flatten(2).transpose(1, 2)  # (B, T, C)
        tokens: Tensor = self.project(cells) + positions(grid, self.width, maps.device)
        return tokens  # (B, T, width)


def encoder_layer(width: int, heads: int, dropout: float) -> nn.TransformerEncoderLayer:
    """Return a pre-norm transformer layer whose feed-forward part has twice the width."""
    return nn.TransformerEncoderLayer(
        width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True
    )


def check_sizes(name: str, *, width: int, heads: int, dropout: float, **sizes: int) -> None:
    """Raise if `width` is not a multiple of `heads`, or if a size is below 1.

    Raises
    ------
    ParameterError
        If `width` or a size is invalid. The message names the strategy `name` and the parameter.
    """
    check_counts(name, width=width, heads=heads, **sizes)
    if width % heads:
        raise ParameterError(
            f"{name}.width must be a multiple of {name}.heads, and is {width} with {heads} heads."
        )
    check_dropout(name, dropout)


def check_counts(name: str, **counts: int) -> None:
    """Raise if a count or size is below 1."""
    for parameter, value in counts.items():
        if value < 1:
            raise ParameterError(f"{name}.{parameter} must be 1 or more, and is {value}.")


def check_dropout(name: str, dropout: float) -> None:
    """Raise if a dropout rate is outside [0, 1)."""
    if not 0 <= dropout < 1:
        raise ParameterError(f"{name}.dropout must be in [0, 1), and is {dropout}.")
