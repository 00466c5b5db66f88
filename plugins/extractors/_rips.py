"""Vietoris-Rips persistence in H0 and H1 from a distance matrix, compiled by numba.

Of all triangles of the complex few matter in H1 (Koyama, Memoli, Robins, Turner: Faster
computation of degree-1 persistent homology using the reduced Vietoris-Rips filtration, 2023).
Edges come one after the other, shortest first. The *lune* of an edge is the set of points to
which both of its ends are joined already: with each the edge closes a triangle, and two such
points that are joined to each other, or by a path inside the lune, close the same hole. So

* an edge with an empty lune joins two components (H0) or opens a hole (H1);
* in every other edge the first triangle says that the edge is worth the two others, which are
  shorter: nothing opens, nothing closes;
* one more triangle per further component of the lune may close a hole. Only these are reduced.

Sets of points are bits of 64-bit words: a lune takes a few operations, whatever its size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._compiled import compiled

Bits = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int32]

# What an edge is that no triangle explains; other edges have the third point of theirs.
_JOINS = -1
_OPENS = -2

_ONE = np.uint64(1)
_ZERO = np.uint64(0)


def diagrams(distances: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """Finite bars of H0 and H1 of the Vietoris-Rips filtration, those of no length left out.

    Parameters
    ----------
    distances : array
        (t, t), symmetric, 0 on the diagonal, t >= 2. They are compared as float32.

    Returns
    -------
    list of array
        (n, 2) birth and death, for H0 and H1.
    """
    single = np.abs(distances, dtype=np.float32)  # -0 is 0
    # Beyond the enclosing radius the complex is a cone, in which every hole is closed.
    radius = single.max(axis=1).min()
    # Floats from 0 up are ordered as their bits are.
    edges = np.sort(_edges_up_to(single.view(np.uint32), radius.view(np.uint32)))
    joining, holes = _pairs(edges, len(single))
    lengths = (edges >> np.uint64(32)).astype(np.uint32).view(np.float32).astype(np.float64)
    deaths = lengths[joining]
    found = [np.stack([np.zeros_like(deaths), deaths], axis=1), lengths[holes]]
    return [bars[bars[:, 1] > bars[:, 0]] for bars in found]


@compiled
def _edges_up_to(bits: npt.NDArray[np.uint32], radius: np.uint32) -> Bits:
    """(m,) the edges not longer than the radius: the bits of the length, then ``i * t + j``."""
    t = len(bits)
    edges = np.empty(t * (t - 1) // 2, np.uint64)
    m = 0
    for i in range(t):
        for j in range(i):
            if bits[i, j] <= radius:
                edges[m] = (np.uint64(bits[i, j]) << np.uint64(32)) | np.uint64(i * t + j)
                m += 1
    return edges[:m]


@compiled
def _ones(word: np.uint64) -> int:
    """How many bits are 1."""
    word -= (word >> _ONE) & np.uint64(0x5555555555555555)
    pairs = np.uint64(0x3333333333333333)
    word = (word & pairs) + ((word >> np.uint64(2)) & pairs)
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))  # type: ignore[return-value]


@compiled
def _lowest(word: np.uint64) -> int:
    """Place of the lowest 1, of a word that has one."""
    return _ones((word & (~word + _ONE)) - _ONE)


@compiled
def _highest(word: np.uint64) -> int:
    """Place of the highest 1, of a word that has one."""
    for shift in (1, 2, 4, 8, 16, 32):
        word |= word >> np.uint64(shift)
    return _ones(word) - 1


@compiled
def _flip(bits: Bits, place: int) -> None:
    bits[place >> 6] ^= _ONE << np.uint64(place & 63)


@compiled
def _first(bits: Bits) -> int:
    """Place of the first 1; -1 if there is none."""
    for w in range(len(bits)):
        if bits[w] != _ZERO:
            return 64 * w + _lowest(bits[w])
    return -1


@compiled
def _root(parent: Integers, point: int) -> int:
    while parent[point] != point:
        parent[point] = parent[parent[point]]
        point = parent[point]
    return point


@compiled
def _take_component(lune: Bits, point: int, joined: Bits, front: Bits) -> None:
    """Remove from the lune all points that paths inside it join to `point`."""
    front[:] = _ZERO
    _flip(lune, point)
    while point >= 0:
        left = _ZERO
        for w in range(len(lune)):
            reached = lune[w] & joined[point, w]
            front[w] |= reached
            lune[w] ^= reached
            left |= lune[w]
        if left == _ZERO:
            return
        point = _first(front)
        if point >= 0:
            _flip(front, point)


@compiled
def _reduce(
    cycle: Bits,
    top: int,
    rank: Integers,
    ends: Integers,
    third: Integers,
    span: Integers,
    kept: Integers,
    used: int,
) -> tuple[Integers, int]:
    """Write a cycle of edges as a sum of holes that are still open, latest first, into `kept`.

    Every edge is replaced by earlier ones, or by the holes that its own hole was found equal
    to; one that joined two components says nothing that the others do not. Leaves `cycle`
    empty. Returns `kept`, which may have grown, and where it ends.
    """
    w = top >> 6
    while w >= 0:
        if cycle[w] == _ZERO:
            w -= 1
            continue
        edge = 64 * w + _highest(cycle[w])
        _flip(cycle, edge)
        point = third[edge]
        if point >= 0:
            _flip(cycle, rank[ends[edge, 0], point])
            _flip(cycle, rank[ends[edge, 1], point])
        elif point == _OPENS:
            if span[edge, 0] >= 0:
                for at in range(span[edge, 0] + 1, span[edge, 1]):  # the first is itself
                    _flip(cycle, kept[at])
            else:
                if used == len(kept):
                    kept = np.append(kept, np.empty_like(kept))
                kept[used] = edge
                used += 1
    return kept, used


@compiled
def _pairs(edges: Bits, t: int) -> tuple[Integers, Integers]:
    """Which edges join components (H0), and which open and close the holes of H1.

    Parameters
    ----------
    edges : array
        (m,), as :func:`_edges_up_to` makes them, sorted.
    t : int
        Points.

    Returns
    -------
    array, array
        (a,) places in `edges`, and (b, 2) pairs of such.
    """
    m, words = len(edges), (t + 63) // 64
    joined = np.zeros((t, words), np.uint64)  # to which points a point is joined
    rank = np.empty((t, t), np.int32)  # the place in `edges` of the edge between two points
    ends = np.empty((m, 2), np.int32)
    third = np.empty(m, np.int32)
    parent = np.arange(t).astype(np.int32)
    span = np.full((m, 2), -1, np.int32)  # of a closed hole: from where to where it is in `kept`
    kept, used = np.empty(1024, np.int32), 0
    lune, front = np.empty(words, np.uint64), np.empty(words, np.uint64)
    cycle = np.zeros(m // 64 + 1, np.uint64)
    joining, a = np.empty(t, np.int32), 0
    holes, b = np.empty((m, 2), np.int32), 0
    for edge in range(m):
        i, j = divmod(int(np.int64(edges[edge] & np.uint64(0xFFFFFFFF))), t)
        rank[i, j] = rank[j, i] = edge
        ends[edge, 0], ends[edge, 1] = i, j
        for w in range(words):
            lune[w] = joined[i, w] & joined[j, w]
        _flip(joined[i], j)
        _flip(joined[j], i)
        first = point = _first(lune)
        third[edge] = first
        if first < 0:
            one, other = _root(parent, i), _root(parent, j)
            third[edge] = _OPENS if one == other else _JOINS
            if one != other:
                parent[one] = other
                joining[a] = edge
                a += 1
            continue
        while True:
            _take_component(lune, point, joined, front)
            point = _first(lune)
            if point < 0:
                break
            top = 0
            for end in (i, j):  # the sum of both triangles: the edge itself is in both
                for corner in (first, point):
                    _flip(cycle, rank[end, corner])
                    top = max(top, rank[end, corner])
            begin = used
            kept, used = _reduce(cycle, top, rank, ends, third, span, kept, used)
            if used > begin:
                hole = kept[begin]
                span[hole, 0], span[hole, 1] = begin, used
                holes[b, 0], holes[b, 1] = hole, edge
                b += 1
    return joining[:a], holes[:b]
