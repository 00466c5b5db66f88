"""Sharing out speakers: how many each part gets, and which, so that classes are balanced.

Numbers only: what the numbers mean is known to :mod:`fusion.core.data.splits`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
K = TypeVar("K", bound=Hashable)

# The search for a balanced split: fresh starts, sweeps of swaps, and partners tried per swap.
# Few starts, so that another seed gives another split where several are about as good.
_STARTS = 3
_SWEEPS = 10
_PARTNERS = 100
# Gains of cost below this are not worth a swap; a cost below this not worth another start.
_ENOUGH = 1e-2


def apportion(sizes: Mapping[K, int], shares: Floats) -> dict[K, Indices]:
    """How many members of each group go to each part.

    Largest remainders, group by group from the largest on; what rounding gave a part too much
    or too little is carried to the next group, so that the totals come out right as well.
    """
    counts: dict[K, Indices] = {}
    carry = np.zeros(len(shares))
    for group in sorted(sizes, key=lambda g: (-sizes[g], str(g))):
        counts[group] = _round(sizes[group], shares, carry)
        carry += sizes[group] * shares - counts[group]
    _fill_empty_parts(list(counts.values()))
    return counts


def _round(size: int, shares: Floats, carry: Floats) -> Indices:
    """Split `size` into whole numbers near `size * shares`; 1 or more each if size allows it."""
    quota = size * shares
    counts = np.floor(quota + 1e-9).astype(np.int64)
    if size >= len(shares):
        counts = np.maximum(counts, 1)
    missing = size - int(counts.sum())
    if missing > 0:
        # Among equal remainders the last part comes first: test before val before train.
        wanting = np.argsort(-np.round(quota - counts + carry, 9)[::-1], kind="stable")
        counts[len(shares) - 1 - wanting[:missing]] += 1
    for _ in range(-missing):  # taken back for those that had to be given their 1
        counts[np.argmax(np.where(counts > 1, counts - quota, -np.inf))] -= 1
    return counts


def _fill_empty_parts(counts: Sequence[Indices]) -> None:
    """Where many small groups left a part with nothing at all, move one member there."""
    total = np.sum(counts, axis=0)
    while (total == 0).any() and total.max() > 1:
        largest, empty = int(np.argmax(total)), int(np.argmin(total))
        row = max(counts, key=lambda group: int(group[largest]))
        for array in (row, total):
            array[largest] -= 1
            array[empty] += 1


# -- balancing classes over parts ----------------------------------------------------


def balance(histograms: Floats, sizes: Indices, rng: np.random.Generator) -> Indices:
    """Part of each speaker, with `sizes` speakers per part and classes in proportion.

    Greedy in random order, then swaps between parts while they help; the best of a few starts.

    Parameters
    ----------
    histograms : array [shape=(n, C)]
        Clips of each speaker by class; every class occurs.
    sizes : array of int [shape=(P,)]
        Speakers per part; their sum is n.
    """
    speakers = len(histograms)
    target = np.outer(sizes / speakers, histograms.sum(axis=0))  # (P, C)
    best, best_cost = np.zeros(speakers, dtype=np.int64), np.inf
    for _ in range(_STARTS):
        part = _greedy(rng.permutation(speakers), histograms, sizes, target)
        _swap(part, histograms, target, rng)
        cost = _cost(_by_part(part, histograms, len(sizes)), target).sum()
        if cost < best_cost:
            best, best_cost = part, cost
        if best_cost < _ENOUGH:
            break
    return best


def _cost(held: Floats, target: Floats) -> Floats:
    """Squared distance from the target in units of the target (chi-square): (..., C) -> (...)."""
    cost: Floats = ((held - target) ** 2 / np.maximum(target, 1e-9)).sum(axis=-1)
    return cost


def _by_part(part: Indices, histograms: Floats, parts: int) -> Floats:
    """Clips of each part by class, (P, C)."""
    held = np.zeros((parts, histograms.shape[1]))
    np.add.at(held, part, histograms)
    return held


def _greedy(order: Indices, histograms: Floats, sizes: Indices, target: Floats) -> Indices:
    """Put each speaker in turn where it lowers the cost most, among the parts with room."""
    held, room = np.zeros_like(target), sizes.copy()
    part = np.zeros(len(histograms), dtype=np.int64)
    for i in order:
        rise = _cost(held + histograms[i], target) - _cost(held, target)  # (P,)
        part[i] = np.argmin(np.where(room > 0, rise, np.inf))
        held[part[i]] += histograms[i]
        room[part[i]] -= 1
    return part


def _swap(part: Indices, histograms: Floats, target: Floats, rng: np.random.Generator) -> None:
    """Swap pairs of speakers between parts, in place, while it lowers the cost."""
    speakers = len(part)
    held = _by_part(part, histograms, len(target))
    for _ in range(_SWEEPS):
        swapped = False
        for i in range(speakers):
            partners = rng.permutation(speakers)[:_PARTNERS]
            partners = partners[part[partners] != part[i]]
            if not partners.size:
                continue
            here, there = part[i], part[partners]
            moved = histograms[i] - histograms[partners]  # (partners, C)
            change = (
                _cost(held[here] - moved, target[here])
                + _cost(held[there] + moved, target[there])
                - _cost(held[here], target[here])
                - _cost(held[there], target[there])
            )
            j = int(np.argmin(change))
            if change[j] < -_ENOUGH:
                held[here] -= moved[j]
                held[there[j]] += moved[j]
                part[i], part[partners[j]] = there[j], here
                swapped = True
        if not swapped:
            return
