"""Resizing of grids to one size, and conversion of grid cells to tokens."""

import math

import pytest
import torch
from torch.nn import functional

from fusion.core.contracts.errors import ParameterError
from fusion.plugins.strategies._tokens import Tokens, capped_grid, positions, resize


@pytest.mark.parametrize(
    ("grid", "cells", "expected"),
    [
        ((64, 128), 64, (8, 8)),
        ((64, 128), 8192, (64, 128)),
        ((5,), 2, (2,)),  # 5 -> 3 -> 2
        ((5, 3), 1, (1, 1)),
        ((4, 4), 8, (2, 4)),  # the first of two axes of equal length
        ((3, 3, 3), 12, (2, 2, 3)),
        ((), 1, ()),
    ],
)
def test_a_grid_is_halved_along_its_longest_axis(grid, cells, expected):
    assert capped_grid(grid, cells) == expected


def test_resizing_by_hand():
    five = torch.tensor([1.0, 2, 3, 4, 6]).view(1, 1, 5)
    # The windows are cells 0..2 and cells 2..4: both contain the middle cell.
    assert resize(five, (2,)).flatten().tolist() == pytest.approx([2, 13 / 3])
    two = torch.tensor([0.0, 4]).view(1, 1, 2)
    # The centres of the new cells are at positions -1/4, 1/4, 3/4 and 5/4 of the old grid.
    assert resize(two, (4,)).flatten().tolist() == pytest.approx([0, 1, 3, 4])
    one = torch.tensor([7.0]).view(1, 1, 1, 1)
    assert resize(one, (2, 3)).flatten().tolist() == [7.0] * 6


@pytest.mark.parametrize("old", [(7,), (9, 6), (3, 8, 5)])
def test_resizing_equals_torchs_adaptive_pooling_or_interpolation(old):
    maps = torch.randn(2, 3, *old)
    rank = len(old)
    smaller = tuple(max(1, size - 2 - axis) for axis, size in enumerate(old))
    pool = getattr(functional, f"adaptive_avg_pool{rank}d")
    assert torch.allclose(resize(maps, smaller), pool(maps, smaller), atol=1e-6)
    larger = tuple(2 * size + axis for axis, size in enumerate(old))
    mode = ["linear", "bilinear", "trilinear"][rank - 1]
    assert torch.allclose(
        resize(maps, larger), functional.interpolate(maps, larger, mode=mode), atol=1e-5
    )


def test_downsampling_uses_every_cell():
    maps = torch.randn(1, 1, 13, 7, requires_grad=True)
    resize(maps, (4, 3)).sum().backward()
    assert (maps.grad > 0).all()


def test_positions_by_hand():
    result = positions((3,), 4, torch.device("cpu"))
    for cell in range(3):
        slow = cell / 10000
        expected = [math.sin(cell), math.sin(slow), math.cos(cell), math.cos(slow)]
        assert result[cell].tolist() == pytest.approx(expected, abs=1e-6)
    # Two axes share the width, rows first. The axis of one cell between them has no share.
    both = positions((2, 1, 3), 5, torch.device("cpu"))
    for cell, (row, column) in enumerate((r, c) for r in range(2) for c in range(3)):
        expected = [math.sin(row), math.cos(row), math.sin(column), math.cos(column), 0]
        assert both[cell].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("grid", [(64,), (8, 8), (3, 4, 5), (2, 2, 2, 2)])
def test_every_cell_has_a_different_position(grid):
    result = positions(grid, 16, torch.device("cpu"))
    apart = torch.cdist(result, result) + torch.eye(len(result))
    assert apart.min() > 1e-2


def test_a_single_cell_has_no_position():
    assert positions((1, 1), 6, torch.device("cpu")).tolist() == [[0.0] * 6]


def test_a_width_without_room_for_positions_is_refused():
    with pytest.raises(
        ParameterError, match=r"width of 3 is too small .* grid of \(2, 2\): it must be 4 or more"
    ):
        positions((2, 2), 3, torch.device("cpu"))


@pytest.mark.parametrize(
    ("grid", "count"), [((), 1), ((1,), 1), ((9,), 9), ((3, 4), 12), ((9, 9), 15), ((2, 3, 2), 12)]
)
def test_tokens_of_any_grid(grid, count):
    tokens = Tokens(3, 8, max_tokens=15)
    assert tokens(torch.randn(2, 3, *grid)).shape == (2, count, 8)


def test_tokens_are_the_cells_in_the_order_of_their_positions():
    tokens = Tokens(1, 8, max_tokens=6)
    with torch.no_grad():
        tokens.project.weight.fill_(10.0)
        tokens.project.bias.fill_(1.0)
    maps = torch.arange(6.0).view(1, 1, 2, 3)
    expected = 10 * torch.arange(6.0)[:, None] + 1 + positions((2, 3), 8, torch.device("cpu"))
    assert torch.allclose(tokens(maps)[0], expected)
