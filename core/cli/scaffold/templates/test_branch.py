"""The conformance suite, and what the pooling makes of constants."""

from __future__ import annotations

import torch
from fusion.testing import BranchSuite

from .branch import MyPlugin


class TestConformance(BranchSuite):
    """Shapes, dtypes, gradients, determinism and more, for an image, a vector, a sequence."""

    plugin = MyPlugin


def test_pooling_forgets_where() -> None:
    """Positions in another order have the same mean and deviation."""
    branch = MyPlugin((3, 10), dim=4, width=8).eval()
    maps = torch.randn(2, 8, 10)
    torch.testing.assert_close(branch.pool(maps.flip(2)), branch.pool(maps))


def test_the_last_axis_is_the_grid() -> None:
    branch = MyPlugin((2, 5, 7), dim=4, width=8).eval()
    assert branch.maps(torch.randn(3, 2, 5, 7)).shape == (3, 8, 7)
