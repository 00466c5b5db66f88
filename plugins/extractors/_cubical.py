"""Persistence of images and series by union-find, compiled by numba.

Pixels are the top-dimensional cells of a cubical complex, and enter from the highest value to the
lowest (superlevel sets). The sublevel bars of a function are the superlevel bars of its negative.

In H0 a union-find over the pixels, 8 neighbours each, pairs every peak with the pass at which its
component meets a higher one (Edelsbrunner and Harer 2010, VII). H1 of a planar image needs no
triangles: by Alexander duality its loops are the components of the complement, so a second
union-find takes the pixels from the lowest to the highest, 4 neighbours each, and the outside of
the image as a component born before all others (Garin, Heiss, Maggs, Bleile and Robins: Duality in
persistent homology of images, 2020). One sorting serves both.

Every pixel is called by its rank, 1 for the lowest; rank 0 is the outside. Of two components the
older one is then the one whose root has the higher rank (H0) or the lower rank (H1).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._compiled import compiled

Single = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]


def image_bars(image: Single) -> tuple[Single, Single]:
    """Return the finite bars of the superlevel-set filtration of an image, in H0 and H1.

    The numbers of ``gudhi.CubicalComplex(top_dimensional_cells=-image)`` with the signs turned
    back. The bar of the highest peak never ends and is left out, and so are bars of length 0.

    Parameters
    ----------
    image : array
        (rows, columns) float32, finite, at least one pixel.

    Returns
    -------
    array, array
        (n, 2) float32 birth and death for H0 and H1, birth > death, in no particular order.
    """
    values = np.ascontiguousarray(image).ravel()
    return _image_bars(values, np.argsort(values), image.shape[1])


def series_bars(series: Single) -> list[Single]:
    """Return the finite superlevel bars of each of several series.

    The bar of the highest peak never ends and is left out, and so are bars of length 0.

    Parameters
    ----------
    series : array
        (n, t) float32, finite, t >= 1.

    Returns
    -------
    list of array
        n arrays (m, 2) float32 birth and death, birth > death, in no particular order.
    """
    bars, ends = _series_bars(series, np.argsort(series, axis=1))
    return np.split(bars, ends[:-1])


@compiled
def _root(parent: Integers, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def _image_bars(
    values: Single, order: npt.NDArray[np.int64], columns: int
) -> tuple[Single, Single]:
    """Bars of a flattened image; `order` sorts it."""
    n = len(values)
    width = columns + 2  # with a pixel of the outside at either end
    ranks = np.zeros((n // columns + 2) * width, np.int32)
    place = np.empty(n + 1, np.int32)  # rank -> index into `ranks`
    height = np.empty(n + 1, np.float32)  # rank -> value
    for k in range(n):
        row = order[k] // columns
        at = (row + 1) * width + order[k] - row * columns + 1
        ranks[at] = k + 1
        place[k + 1] = at
        height[k + 1] = values[order[k]]
    parent = np.arange(n + 1).astype(np.int32)

    beside = (-width - 1, -width, 1 - width, -1, 1, width - 1, width, width + 1)
    peaks, found = np.empty((n, 2), np.float32), 0
    for pixel in range(n, 0, -1):
        root = pixel
        for step in beside:
            neighbour = ranks[place[pixel] + step]
            if neighbour <= pixel:  # not there yet, or outside
                continue
            other = _root(parent, neighbour)
            if other == root:
                continue
            younger = min(root, other)
            root = max(root, other)
            parent[younger] = root
            if height[younger] > height[pixel]:
                peaks[found, 0], peaks[found, 1] = height[younger], height[pixel]
                found += 1

    for node in range(n + 1):
        parent[node] = node
    loops, closed = np.empty((n, 2), np.float32), 0
    for pixel in range(1, n + 1):
        root = pixel
        for step in (-width, -1, 1, width):
            neighbour = ranks[place[pixel] + step]
            if neighbour >= pixel:
                continue
            other = _root(parent, neighbour)
            if other == root:
                continue
            younger = max(root, other)
            root = min(root, other)
            parent[younger] = root
            if height[younger] < height[pixel]:
                loops[closed, 0], loops[closed, 1] = height[pixel], height[younger]
                closed += 1
    return peaks[:found], loops[:closed]


@compiled
def _series_bars(
    series: Single, order: npt.NDArray[np.int64]
) -> tuple[Single, npt.NDArray[np.int64]]:
    """Bars of all series, one after the other, and where those of each series end."""
    count, t = series.shape
    bars, found = np.empty((count * t, 2), np.float32), 0
    ends = np.empty(count, np.int64)
    ranks = np.empty(t + 2, np.int32)
    parent = np.empty(t + 1, np.int32)
    for row in range(count):
        ranks[:] = 0
        for k in range(t):
            ranks[order[row, k] + 1] = k + 1
            parent[k + 1] = k + 1
        for frame in range(t, 0, -1):
            at = order[row, frame - 1]
            root = frame
            for neighbour in (ranks[at], ranks[at + 2]):
                if neighbour <= frame:
                    continue
                other = _root(parent, neighbour)
                younger = min(root, other)
                root = max(root, other)
                parent[younger] = root
                birth = series[row, order[row, younger - 1]]
                if birth > series[row, at]:
                    bars[found, 0], bars[found, 1] = birth, series[row, at]
                    found += 1
        ends[row] = found
    return bars[:found], ends
