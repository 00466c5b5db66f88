"""Vietoris-Rips persistence in H0 and H1 from a distance matrix, compiled by numba.

Only a few triangles of the complex affect H1 (Koyama, Memoli, Robins, Turner: Faster computation of
degree-1 persistent homology using the reduced Vietoris-Rips filtration, 2023). Edges enter the
complex one by one, the shortest first. The *lune* of an edge is the set of points that are already
joined to both of its ends. The edge closes one triangle with each point of its lune. Two points of
the lune that are joined to each other, directly or by a path inside the lune, close the same hole.
Therefore

* an edge with an empty lune joins two components (H0) or opens a hole (H1);
* for every other edge, the first triangle makes the edge homologous to the triangle's two other
  edges, which are shorter. Therefore no hole opens and no hole closes;
* each further component of the lune contributes one triangle, which may close a hole. Only these
  triangles are reduced.

Sets of points are bits of 64-bit words, so that a lune takes one operation per 64 points.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._compiled import compiled

Bits = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int32]

# Values of `third` for edges with an empty lune. For every other edge, `third` is the point that
# forms the edge's first triangle.
_JOINS = -1
_OPENS = -2

_ONE = np.uint64(1)
_ZERO = np.uint64(0)


def diagrams(distances: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """Return the finite bars of positive length of the Vietoris-Rips filtration, in H0 and H1.

    Parameters
    ----------
    distances : array
        (t, t), symmetric, 0 on the diagonal, t >= 2. Distances are compared as float32.

    Returns
    -------
    list of array
        Two arrays (n, 2) float64 birth and death: H0 and H1.
    """
    single = np.abs(distances, dtype=np.float32)  # -0 is 0
    # Beyond the enclosing radius the complex is a cone, in which every hole is closed.
    radius = single.max(axis=1).min()
    # The bit patterns of non-negative floats have the same order as the floats.
    edges = np.sort(_edges_up_to(single.view(np.uint32), radius.view(np.uint32)))
    joining, holes = _pairs(edges, len(single))
    lengths = (edges >> np.uint64(32)).astype(np.uint32).view(np.float32).astype(np.float64)
    deaths = lengths[joining]
    pairs = [np.stack([np.zeros_like(deaths), deaths], axis=1), lengths[holes]]
    return [bars[bars[:, 1] > bars[:, 0]] for bars in pairs]


@compiled
def _edges_up_to(bits: npt.NDArray[np.uint32], radius: np.uint32) -> Bits:
    """Return the edges (m,) up to the radius as integers: length bits, then ``i * t + j``."""
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
    """Return how many bits of `word` are 1."""
    word -= (word >> _ONE) & np.uint64(0x5555555555555555)
    pairs = np.uint64(0x3333333333333333)
    word = (word & pairs) + ((word >> np.uint64(2)) & pairs)
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))  # type: ignore[return-value]


@compiled
def _lowest(word: np.uint64) -> int:
    """Return the position of the lowest 1 bit; `word` must not be 0."""
    return _ones((word & (~word + _ONE)) - _ONE)


@compiled
def _highest(word: np.uint64) -> int:
    """Return the position of the highest 1 bit; `word` must not be 0."""
    for shift in (1, 2, 4, 8, 16, 32):
        word |= word >> np.uint64(shift)
    return _ones(word) - 1


@compiled
def _flip(bits: Bits, place: int) -> None:
    bits[place >> 6] ^= _ONE << np.uint64(place & 63)


@compiled
def _first(bits: Bits) -> int:
    """Return the position of the first 1 bit, or -1 if all bits are 0."""
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
    """Remove `point` from the lune, and all points joined to `point` by paths inside the lune."""
    front[:] = _ZERO
    _flip(lune, point)
    while point >= 0:
        remaining = _ZERO
        for w in range(len(lune)):
            reached = lune[w] & joined[point, w]
            front[w] |= reached
            lune[w] ^= reached
            remaining |= lune[w]
        if remaining == _ZERO:
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
    sums: Integers,
    used: int,
) -> tuple[Integers, int]:
    """Append to `sums` a cycle of edges, expressed as a sum of open holes, the latest hole first.

    Every edge is replaced by the two earlier edges of its first triangle. An edge whose hole was
    closed earlier is replaced by the other holes of the sum that closed the hole. An edge that
    joined two components is dropped, because the other edges of the cycle determine it. `cycle` is
    empty afterwards. The function returns `sums`, which may have been reallocated, and the number
    of its entries in use.
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
                # The first entry is `edge` itself.
                for at in range(span[edge, 0] + 1, span[edge, 1]):
                    _flip(cycle, sums[at])
            else:
                if used == len(sums):
                    sums = np.append(sums, np.empty_like(sums))
                sums[used] = edge
                used += 1
    return sums, used


@compiled
def _pairs(edges: Bits, t: int) -> tuple[Integers, Integers]:
    """Return the edges that join components (H0), and the edges that open and close holes (H1).

    Parameters
    ----------
    edges : array
        (m,), the sorted result of :func:`_edges_up_to`.
    t : int
        Number of points.

    Returns
    -------
    array, array
        (a,) indices into `edges` of the joining edges; (b, 2) indices of the edges that open and
        close each hole.
    """
    m, words = len(edges), (t + 63) // 64
    joined = np.zeros((t, words), np.uint64)  # maps point to bits of the points joined to the point
    rank = np.empty((t, t), np.int32)  # index into `edges` of the edge between two points
    ends = np.empty((m, 2), np.int32)
    third = np.empty(m, np.int32)
    parent = np.arange(t).astype(np.int32)
    span = np.full((m, 2), -1, np.int32)  # maps closed hole to first and last + 1 index into `sums`
    sums, used = np.empty(1024, np.int32), 0
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
            first_root, second_root = _root(parent, i), _root(parent, j)
            third[edge] = _OPENS if first_root == second_root else _JOINS
            if first_root != second_root:
                parent[first_root] = second_root
                joining[a] = edge
                a += 1
            continue
        while True:
            _take_component(lune, point, joined, front)
            point = _first(lune)
            if point < 0:
                break
            top = 0
            for end in (i, j):  # the sum of both triangles; the edge itself cancels
                for corner in (first, point):
                    _flip(cycle, rank[end, corner])
                    top = max(top, rank[end, corner])
            begin = used
            sums, used = _reduce(cycle, top, rank, ends, third, span, sums, used)
            if used > begin:
                hole = sums[begin]
                span[hole, 0], span[hole, 1] = begin, used
                holes[b, 0], holes[b, 1] = hole, edge
                b += 1
    return joining[:a], holes[:b]
