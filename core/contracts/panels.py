"""Plots of one clip's feature, as plain numbers that a report draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .errors import PluginError


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot of a clip's feature, as plain numbers that a report draws.

    Attributes
    ----------
    title : str
        Short description of the plot; may be empty.
    kind : {"image", "points", "diagram", "curve", "bars"}
        One of five kinds. An image (rows, columns) is drawn with row 0 at the bottom. Points
        (n, 2) are pairs of x and y. A persistence diagram (n, 2) holds pairs of birth and death;
        the death of a feature that never ends is infinite. A curve (n,) is drawn over its index.
        Bars (n, 2) are intervals on the x axis, each with a start and an end. The bars are drawn
        one above the other in the order given, as in a persistence barcode.
    data : mapping of str to array
        Arrays to draw in the same plot, by their name in the legend. A panel with an image has no
        other array.
    x, y : str
        Labels of the axes, with the unit; may be empty.
    diagonal : bool
        Whether to draw the line x = y under points.
    marks : mapping of str to array
        Marks to draw on top, by name. Marks on an image, (n, 2), are the column and the row of a
        pixel; a ring marks the pixel. Marks on a curve, (n, 3), are an index and two values; a
        vertical line connects the values. Other kinds have no marks.
    """

    title: str
    kind: Literal["image", "points", "diagram", "curve", "bars"]
    data: Mapping[str, npt.NDArray[Any]]
    x: str = ""
    y: str = ""
    diagonal: bool = False
    marks: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pairs = self.kind in ("points", "diagram", "bars")
        axes = 2 if pairs else {"image": 2, "curve": 1}.get(self.kind)
        shapes = [np.shape(array) for array in self.data.values()]
        fits = all(len(shape) == axes for shape in shapes) and (
            len(shapes) == 1 if self.kind == "image" else True
        )
        if pairs:
            fits = fits and all(shape[1] == 2 for shape in shapes)
        if not fits:
            raise PluginError(
                f"A panel {self.title!r} of kind {self.kind!r} can't hold arrays of the shapes "
                f"{shapes}.",
                hint="An image is one array (rows, columns); points, diagrams and bars are (n, 2); "
                "a curve is (n,).",
            )
        width = {"image": 2, "curve": 3}.get(self.kind)
        marked = [np.shape(array) for array in self.marks.values()]
        if any(len(shape) != 2 or shape[1] != width for shape in marked):
            raise PluginError(
                f"A panel {self.title!r} of kind {self.kind!r} can't have marks of the shapes "
                f"{marked}.",
                hint="Marks are (n, 2) on an image (column and row) and (n, 3) on a curve (index "
                "and two values); points, diagrams and bars have none.",
            )
