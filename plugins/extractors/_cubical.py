"""Persistence of images and series by union-find, compiled by numba.

Pixels are the top-dimensional cells of a cubical complex. The pixels enter the filtration from the
highest value to the lowest (superlevel sets). The sublevel bars of a function are the superlevel
bars of its negative.

For H0, a union-find over the pixels, with 8 neighbours each, pairs every peak with the pass at
which the component of the peak meets a component with a higher peak (Edelsbrunner and Harer 2010,
VII). H1 of a planar image needs no triangles: by Alexander duality the loops are the components of
the complement (Garin, Heiss, Maggs, Bleile and Robins: Duality in persistent homology of images,
2020). A second union-find therefore visits the pixels from the lowest to the highest, with 4
neighbours each. The outside of the image is a component that is born before all other components.
Both passes use the same sorted order.

A pixel is identified by its rank, 1 for the lowest value; rank 0 is the outside. Of two components,
the older component is the component whose root has the higher rank (H0) or the lower rank (H1).

The neighbours that entered before a pixel are often connected to each other. For each of the 256
sets of neighbours, a table lists one neighbour of each connected part. Most pixels therefore look
up one component instead of up to eight.
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

# Offsets (rows, columns) of a pixel's neighbours, clockwise. Neighbours at odd indices share an
# edge with the pixel, neighbours at even indices only a corner.
_RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def _representatives(diagonal: bool) -> npt.NDArray[np.int8]:
    """Return one neighbour of each connected part, for every set of neighbours.

    Parameters
    ----------
    diagonal : bool
        Whether pixels that share only a corner are neighbours.

    Returns
    -------
    array
        (256, 5): for each set, encoded as bits, up to four indices into `_RING`, then -1.
    """
    table = np.full((256, 5), -1, np.int8)
    for members in range(256):
        inside = [place for place in range(8) if members >> place & 1]
        part = {place: place for place in inside}
        for first, second in combinations(inside, 2):
            down, right = (abs(a - b) for a, b in zip(_RING[first], _RING[second], strict=True))
            if down + right == 1 or (diagonal and down == right == 1):
                part = {p: part[first] if q == part[second] else q for p, q in part.items()}
        # A neighbour that does not touch the pixel only connects neighbours that touch the pixel.
        touching = {part[place]: place for place in inside if diagonal or place % 2}
        table[members, : len(touching)] = sorted(touching.values())
    return table


_JOINED_BY_CORNERS = _representatives(diagonal=True)
_JOINED_BY_EDGES = _representatives(diagonal=False)


def image_bars(image: Single) -> tuple[Single, Single]:
    """Return the finite bars of the superlevel-set filtration of an image, in H0 and H1.

    The bars equal those of ``gudhi.CubicalComplex(top_dimensional_cells=-image)`` with the sign
    of births and deaths reversed. The infinite bar of the highest peak and bars of length 0 are
    omitted.

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
    """Return the H0 bars of :func:`image_bars` and the pixel at which each bar is born.

    Returns
    -------
    array, array
        (n, 2) float32 birth and death; (n, 2) int32 row and column of the peak.
    """
    peaks, summits, _ = _bars(image)
    return peaks, np.stack(np.divmod(summits, image.shape[1]), axis=1)


def _bars(image: Single) -> tuple[Single, Integers, Single]:
    values = np.ascontiguousarray(image).ravel()
    return _image_bars(values, np.sort(_keys(values.view(np.uint32))), image.shape[1])


def series_bars(series: Single) -> list[Single]:
    """Return the finite superlevel bars of each of several series.

    The infinite bar of the highest peak and bars of length 0 are omitted.

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
    """Return the bars of :func:`series_bars` and the index of the peak that starts each bar."""
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
    """Return a sort key for each float: order-preserving code (upper 32 bits), index (lower 32).

    No two keys are equal. If many pixels have the lowest value, `np.argsort` of the floats takes
    two to five times as long as sorting the keys.
    """
    keys = np.empty(len(bits), np.uint64)
    for i in range(len(bits)):
        negative = bits[i] >> np.uint32(31)
        ordered = ~bits[i] if negative else bits[i] | np.uint32(0x80000000)
        keys[i] = np.uint64(ordered) << np.uint64(32) | np.uint64(i)
    return keys


@compiled
def _image_bars(values: Single, keys: Bits, columns: int) -> tuple[Single, Integers, Single]:
    """Return the H0 bars of a flattened image, the indices of their peaks, and the H1 bars.

    Parameters
    ----------
    keys : array
        The result of :func:`_keys`, sorted.
    """
    n = len(values)
    width = columns + 2  # with one outside pixel at either end
    ranks = np.zeros((n // columns + 2) * width, np.int32)
    place = np.empty(n + 1, np.int32)  # maps rank to index into `ranks`
    flat = np.empty(n + 1, np.int32)  # maps rank to index into `values`
    height = np.empty(n + 1, np.float32)  # maps rank to value
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
    higher = np.empty(n + 1, np.uint8)  # maps rank to bits of the neighbours that are higher

    peaks, summits, n_peaks = np.empty((n, 2), np.float32), np.empty(n, np.int32), 0
    for pixel in range(n, 0, -1):
        at = place[pixel]
        above = 0
        for bit in range(8):
            above |= (1 << bit) * (ranks[at + steps[bit]] > pixel)
        higher[pixel] = above
        root = pixel
        for neighbour in _JOINED_BY_CORNERS[above]:
            if neighbour < 0:
                break
            other = _root(parent, ranks[at + steps[neighbour]])
            if other == root:
                continue
            younger, root = (other, root) if other < root else (root, other)
            parent[younger] = root
            if height[younger] > height[pixel]:
                peaks[n_peaks, 0], peaks[n_peaks, 1] = height[younger], height[pixel]
                summits[n_peaks] = flat[younger]
                n_peaks += 1

    for node in range(n + 1):
        parent[node] = node
    loops, n_loops = np.empty((n, 2), np.float32), 0
    for pixel in range(1, n + 1):
        root = pixel
        for neighbour in _JOINED_BY_EDGES[255 - higher[pixel]]:  # outside counts as lower
            if neighbour < 0:
                break
            other = _root(parent, ranks[place[pixel] + steps[neighbour]])
            if other == root:
                continue
            younger, root = (other, root) if other > root else (root, other)
            parent[younger] = root
            if height[younger] < height[pixel]:
                loops[n_loops, 0], loops[n_loops, 1] = height[pixel], height[younger]
                n_loops += 1
    return peaks[:n_peaks], summits[:n_peaks], loops[:n_loops]


@compiled
def _series_bars(series: Single, order: Places) -> tuple[Single, Integers, Places]:
    """Return the bars of all series, the peak of each bar, and the end of each series' bars.

    Parameters
    ----------
    series : array
        (n, t) float32.
    order : array
        (n, t), the indices that sort each series in ascending order.

    Returns
    -------
    array, array, array
        (m, 2) float32 birth and death, series after series; (m,) the frame of each bar's peak; (n,)
        for each series the index after its last bar.
    """
    count, t = series.shape
    bars, n_bars = np.empty((count * t, 2), np.float32), 0
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
                    bars[n_bars, 0], bars[n_bars, 1] = series[row, peak], series[row, at]
                    peaks[n_bars] = peak
                    n_bars += 1
        ends[row] = n_bars
    return bars[:n_bars], peaks[:n_bars], ends
