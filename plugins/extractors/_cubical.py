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

The neighbours of a pixel that entered before it are often connected among themselves. A table lists
one neighbour of each connected part for each of the 256 sets of neighbours, so that most pixels
look up one component in place of up to eight.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from ._compiled import compiled

Single = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]

# The neighbours of a pixel, clockwise: steps in rows and columns. Odd ones share an edge with it.
_RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def _representatives(diagonal: bool) -> npt.NDArray[np.int8]:
    """Return one neighbour of each connected part of every set of neighbours.

    Parameters
    ----------
    diagonal : bool
        Whether pixels that share only a corner are neighbours.

    Returns
    -------
    array
        (256, 5): for each set, given as bits, up to four places in `_RING`, then -1.
    """
    table = np.full((256, 5), -1, np.int8)
    for members in range(256):
        inside = [place for place in range(8) if members >> place & 1]
        part = {place: place for place in inside}
        for one, other in combinations(inside, 2):
            down, right = (abs(a - b) for a, b in zip(_RING[one], _RING[other], strict=True))
            if down + right == 1 or (diagonal and down == right == 1):
                part = {p: part[one] if q == part[other] else q for p, q in part.items()}
        # Further neighbours only connect those that touch the pixel itself.
        touching = {part[place]: place for place in inside if diagonal or place % 2}
        table[members, : len(touching)] = sorted(touching.values())
    return table


_JOINED_BY_CORNERS = _representatives(diagonal=True)
_JOINED_BY_EDGES = _representatives(diagonal=False)


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
    peaks, _, loops = _bars(image)
    return peaks, loops


def image_peaks(image: Single) -> tuple[Single, Integers]:
    """Return the bars of :func:`image_bars` in H0, and where each is born.

    Returns
    -------
    array, array
        (n, 2) float32 birth and death; (n, 2) row and column of the peak.
    """
    peaks, summits, _ = _bars(image)
    return peaks, np.stack(np.divmod(summits, image.shape[1]), axis=1)


def _bars(image: Single) -> tuple[Single, Integers, Single]:
    values = np.ascontiguousarray(image).ravel()
    return _image_bars(values, np.sort(_keys(values.view(np.uint32))), image.shape[1])


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
    return [bars for bars, _ in series_peaks(series)]


def series_peaks(series: Single) -> list[tuple[Single, Integers]]:
    """Return the bars of :func:`series_bars`, each with the index of the peak it is born at."""
    bars, peaks, ends = _series_bars(series, np.argsort(series, axis=1))
    starts = np.concatenate([[0], ends[:-1]])
    return [(bars[i:j], peaks[i:j]) for i, j in zip(starts, ends, strict=True)]


@compiled
def _root(parent: Integers, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def _keys(bits: npt.NDArray[np.uint32]) -> Bits:
    """Return one word per float: an order-preserving code in the upper half, its index below.

    No two words are equal. `np.argsort` of the floats themselves takes two to five times as long
    where a large part of the pixels has the lowest value.
    """
    keys = np.empty(len(bits), np.uint64)
    for i in range(len(bits)):
        negative = bits[i] >> np.uint32(31)
        ordered = ~bits[i] if negative else bits[i] | np.uint32(0x80000000)
        keys[i] = np.uint64(ordered) << np.uint64(32) | np.uint64(i)
    return keys


@compiled
def _image_bars(values: Single, keys: Bits, columns: int) -> tuple[Single, Integers, Single]:
    """Return the bars of a flattened image: H0, the indices of their peaks, and H1.

    Parameters
    ----------
    keys : array
        The result of :func:`_keys`, sorted.
    """
    n = len(values)
    width = columns + 2  # with a pixel of the outside at either end
    ranks = np.zeros((n // columns + 2) * width, np.int32)
    place = np.empty(n + 1, np.int32)  # rank -> index into `ranks`
    flat = np.empty(n + 1, np.int32)  # rank -> index into `values`
    height = np.empty(n + 1, np.float32)  # rank -> value
    for k in range(n):
        pixel = int(np.int64(keys[k] & np.uint64(0xFFFFFFFF)))
        flat[k + 1] = pixel
        at = (pixel // columns + 1) * width + pixel % columns + 1
        ranks[at] = k + 1
        place[k + 1] = at
        height[k + 1] = values[pixel]
    steps = np.empty(8, np.int64)
    for bit, (row, column) in enumerate(_RING):
        steps[bit] = row * width + column
    parent = np.arange(n + 1).astype(np.int32)
    higher = np.empty(n + 1, np.uint8)  # rank -> which neighbours are above, as bits

    peaks, summits, found = np.empty((n, 2), np.float32), np.empty(n, np.int32), 0
    for pixel in range(n, 0, -1):
        at = place[pixel]
        above = 0
        for bit in range(8):
            above |= (1 << bit) * (ranks[at + steps[bit]] > pixel)
        higher[pixel] = above
        root = pixel
        for asked in _JOINED_BY_CORNERS[above]:
            if asked < 0:
                break
            other = _root(parent, ranks[at + steps[asked]])
            if other == root:
                continue
            younger, root = (other, root) if other < root else (root, other)
            parent[younger] = root
            if height[younger] > height[pixel]:
                peaks[found, 0], peaks[found, 1] = height[younger], height[pixel]
                summits[found] = flat[younger]
                found += 1

    for node in range(n + 1):
        parent[node] = node
    loops, closed = np.empty((n, 2), np.float32), 0
    for pixel in range(1, n + 1):
        root = pixel
        for asked in _JOINED_BY_EDGES[255 - higher[pixel]]:  # the outside is below everything
            if asked < 0:
                break
            other = _root(parent, ranks[place[pixel] + steps[asked]])
            if other == root:
                continue
            younger, root = (other, root) if other > root else (root, other)
            parent[younger] = root
            if height[younger] < height[pixel]:
                loops[closed, 0], loops[closed, 1] = height[pixel], height[younger]
                closed += 1
    return peaks[:found], summits[:found], loops[:closed]


@compiled
def _series_bars(series: Single, order: Places) -> tuple[Single, Integers, Places]:
    """Return the bars of all series in one array, their peaks, and where each series ends.

    Parameters
    ----------
    order : array
        (n, t), sorts each series.
    """
    count, t = series.shape
    bars, found = np.empty((count * t, 2), np.float32), 0
    peaks = np.empty(count * t, np.int32)
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
                younger, root = (other, root) if other < root else (root, other)
                parent[younger] = root
                peak = order[row, younger - 1]
                if series[row, peak] > series[row, at]:
                    bars[found, 0], bars[found, 1] = series[row, peak], series[row, at]
                    peaks[found] = peak
                    found += 1
        ends[row] = found
    return bars[:found], peaks[:found], ends
