"""The conformance suite, and numbers computed by hand."""

from __future__ import annotations

import math

import torch
from fusion.testing import StrategySuite

from .strategy import MyPlugin, smooth_maximum


class TestConformance(StrategySuite):
    """Shapes, dtypes, gradients, determinism and more, for one, two and three modalities."""

    plugin = MyPlugin


def test_smooth_maximum_by_hand() -> None:
    """One clip, two modalities, one entry each: log((1 + 3) / 2) = log 2."""
    values = torch.tensor([[[0.0], [math.log(3)]]])
    found = smooth_maximum(values, sharpness=1.0)
    torch.testing.assert_close(found, torch.tensor([[math.log(2)]]))


def test_what_is_absent_does_not_count() -> None:
    values = torch.tensor([[[5.0], [1.0]]])
    present = torch.tensor([[False, True]])
    assert smooth_maximum(values, 2.0, present).item() == 1.0
