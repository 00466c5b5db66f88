"""Panels: plots as plain numbers."""

import numpy as np
import pytest

from fusion import Panel
from fusion.core.contracts.errors import PluginError


@pytest.mark.parametrize(
    "kind, shapes",
    [("image", [(3,)]), ("image", [(3, 3), (3, 3)]), ("points", [(3, 3)]), ("curve", [(3, 1)]),
     ("bars", [(3, 2), (4, 3)]), ("diagram", [(3, 3)]), ("film", [(3,)])],
)  # fmt: skip
def test_a_panel_that_cannot_be_drawn_is_refused(kind, shapes):
    with pytest.raises(PluginError, match="can't hold arrays"):
        Panel("t", kind, {str(i): np.zeros(shape) for i, shape in enumerate(shapes)})


@pytest.mark.parametrize(
    "kind, data, marks",
    [("image", (3, 3), (2, 3)), ("curve", (5,), (2, 2)), ("curve", (5,), (3,)),
     ("points", (4, 2), (1, 2)), ("diagram", (4, 2), (1, 2)), ("bars", (4, 2), (1, 3))],
)  # fmt: skip
def test_marks_that_cannot_be_drawn_are_refused(kind, data, marks):
    with pytest.raises(PluginError, match="can't have marks of the shapes"):
        Panel("t", kind, {"": np.zeros(data)}, marks={"": np.zeros(marks)})


def test_valid_panels_are_accepted():
    Panel("t", "image", {"": np.zeros((3, 4))}, marks={"": np.zeros((0, 2))})
    Panel("t", "points", {"a": np.zeros((0, 2)), "b": np.zeros((5, 2))}, diagonal=True)
    Panel("t", "curve", {"a": np.zeros(3), "b": np.zeros(7)}, marks={"": np.zeros((1, 3))})
    Panel("t", "bars", {"a": np.zeros((1, 2))})
    Panel("t", "points", {})
