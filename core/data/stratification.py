"""Stratification: the number of speakers in each part, and the choice of speakers for balance.

This module works on arrays only; :mod:`fusion.core.data.splits` applies the functions to clips.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
K = TypeVar("K", bound=Hashable)

# Limits of the search for a balanced split: random starts, sweeps of swaps, and partners tried per
# speaker. With few starts, another seed gives another split if several splits are about equally
# good.
_STARTS = 3
_SWEEPS = 10
_PARTNERS = 100
# Cost that counts as zero. A gain below this limit is no reason for a swap, and a cost below this
# limit ends the random starts.
_ENOUGH = 1e-2


def apportion(sizes: Mapping[K, int], shares: Floats) -> dict[K, Indices]:
    """Return how many members of each group go to each part, (P,), by group.

    The largest-remainder method is applied to one group after the other, starting with the largest
    group. Rounding errors of a part are carried to the next group, so that the totals match the
    shares as well.
    """
    counts: dict[K, Indices] = {}
    carry = np.zeros(len(shares))
    for group in sorted(sizes, key=lambda g: (-sizes[g], str(g))):
        counts[group] = _round(sizes[group], shares, carry)
        carry += sizes[group] * shares - counts[group]
    _fill_empty_parts(list(counts.values()))
    return counts


def _round(size: int, shares: Floats, carry: Floats) -> Indices:
    """Split `size` into whole numbers near `size * shares`, each at least 1 if possible."""
    quota = size * shares
    counts = np.floor(quota + 1e-9).astype(np.int64)
    if size >= len(shares):
        counts = np.maximum(counts, 1)
    missing = size - int(counts.sum())
    if missing > 0:
        # In a tie of remainders the last part comes first: test before val before train.
        wanting = np.argsort(-np.round(quota - counts + carry, 9)[::-1], kind="stable")
        counts[len(shares) - 1 - wanting[:missing]] += 1
    for _ in range(-missing):  # compensate for parts that were raised to 1
        counts[np.argmax(np.where(counts > 1, counts - quota, -np.inf))] -= 1
    return counts


def _fill_empty_parts(counts: Sequence[Indices]) -> None:
    """Move one member to each part that is empty because all groups are small, in place."""
    total = np.sum(counts, axis=0)
    while (total == 0).any() and total.max() > 1:
        largest, empty = int(np.argmax(total)), int(np.argmin(total))
        row = max(counts, key=lambda group: int(group[largest]))
        for array in (row, total):
            array[largest] -= 1
            array[empty] += 1


# -- balancing classes over parts ----------------------------------------------------


def balance(histograms: Floats, sizes: Indices, rng: np.random.Generator) -> Indices:
    """Return the part of each speaker, (n,), with `sizes` speakers per part and balanced classes.

    The search has a few random starts. Each start assigns speakers greedily in random order, then
    swaps speakers between parts while a swap lowers the cost. The result with the lowest cost is
    returned.

    Parameters
    ----------
    histograms : array [shape=(n, C)]
        Number of clips of each speaker by class; every class occurs.
    sizes : array of int [shape=(P,)]
        Number of speakers per part; the sum is n.
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


def _cost(counts: Floats, target: Floats) -> Floats:
    """Return the chi-square distance, (...), of class counts, (..., C), from their target."""
    cost: Floats = ((counts - target) ** 2 / np.maximum(target, 1e-9)).sum(axis=-1)
    return cost


def _by_part(part: Indices, histograms: Floats, parts: int) -> Floats:
    """Count the clips of each part by class, (P, C)."""
    counts = np.zeros((parts, histograms.shape[1]))
    np.add.at(counts, part, histograms)
    return counts


def _greedy(order: Indices, histograms: Floats, sizes: Indices, target: Floats) -> Indices:
    """Assign each speaker in turn to a part that is not full: the part whose cost rises least."""
    counts, room = np.zeros_like(target), sizes.copy()
    part = np.zeros(len(histograms), dtype=np.int64)
    for i in order:
        rise = _cost(counts + histograms[i], target) - _cost(counts, target)  # (P,)
        part[i] = np.argmin(np.where(room > 0, rise, np.inf))
        counts[part[i]] += histograms[i]
        room[part[i]] -= 1
    return part


def _swap(part: Indices, histograms: Floats, target: Floats, rng: np.random.Generator) -> None:
    """Swap pairs of speakers between parts, in place, while a swap lowers the cost."""
    speakers = len(part)
    counts = _by_part(part, histograms, len(target))
    for _ in range(_SWEEPS):
        swapped = False
        for i in range(speakers):
            partners = rng.permutation(speakers)[:_PARTNERS]
            partners = partners[part[partners] != part[i]]
            if not partners.size:
                continue
            own, other = part[i], part[partners]
            moved = histograms[i] - histograms[partners]  # (partners, C)
            change = (
                _cost(counts[own] - moved, target[own])
                + _cost(counts[other] + moved, target[other])
                - _cost(counts[own], target[own])
                - _cost(counts[other], target[other])
            )
            j = int(np.argmin(change))
            if change[j] < -_ENOUGH:
                counts[own] -= moved[j]
                counts[other[j]] += moved[j]
                part[i], part[partners[j]] = other[j], own
                swapped = True
        if not swapped:
            return
