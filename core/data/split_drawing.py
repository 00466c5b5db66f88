"""Drawing of one split: a part for every group of clips, with balanced corpora and classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..contracts import Clip
from ..contracts.errors import SplitError
from .shared_recordings import join
from .split_modes import Group, Mode
from .stratification import Floats, Indices, apportion, balance


@dataclass(frozen=True)
class Pool:
    """Clips to divide into parts.

    Attributes
    ----------
    clips : sequence of Clip
    shared : sequence of sequence of int
        Indices of the clips of each group that shares a recording.
    """

    clips: Sequence[Clip]
    shared: Sequence[Sequence[int]]

    def only(self, indices: Sequence[int]) -> Pool:
        """Return the pool of the clips at `indices`, in this order."""
        position = {index: i for i, index in enumerate(indices)}
        shared = [sorted(position[i] for i in group if i in position) for group in self.shared]
        pairs = sorted(group for group in shared if len(group) > 1)
        return Pool([self.clips[i] for i in indices], pairs)

    def groups(self, mode: Mode) -> list[Group]:
        """Return the group of each clip; groups that share a recording are one group."""
        return join([mode.group(clip) for clip in self.clips], self.shared)


def draw(pool: Pool, shares: Floats, mode: Mode, seed: int) -> Indices:
    """Draw the part of each clip, (n,); parts are numbered as in `shares`, (P,).

    No group of the mode and no recording is in two parts.

    Raises
    ------
    SplitError
        If there are fewer groups than parts.
    """
    rng = np.random.default_rng(seed)
    groups = pool.groups(mode)
    check_number(len(set(groups)), mode, len(shares))
    if mode.name == "random":
        return _draw_clips(pool.clips, groups, shares, rng)
    return _draw_groups(pool.clips, groups, shares, rng)


def check_number(count: int, mode: Mode, needed: int) -> None:
    """Raise SplitError if there are fewer groups than parts."""
    if count >= needed:
        return
    fewer = ""
    if count >= mode.min_folds:  # fewer folds are possible
        fewer = f"Use --folds {count}{' or fewer' if count > mode.min_folds else ''}. "
    raise SplitError(
        f"{needed} parts that share no {mode.unit} need at least {needed} {mode.units}; there "
        f"{'is' if count == 1 else 'are'} {count}.",
        hint=f"{fewer}{mode.more}",
    )


def _draw_clips(
    clips: Sequence[Clip], groups: Sequence[Group], shares: Floats, rng: np.random.Generator
) -> Indices:
    """Draw the part of each clip, (n,), stratified by corpus and class.

    Clips that share a recording are a group. A group is drawn as its first clip, among groups of
    equal size.
    """
    sizes = Counter(groups)
    first: dict[Group, int] = {}
    cells: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, (clip, group) in enumerate(zip(clips, groups, strict=True)):
        if first.setdefault(group, i) == i:
            size = (str(sizes[group]),) if sizes[group] > 1 else ()
            cells[clip.corpus, clip.label, *size].append(i)
    part = np.zeros(len(clips), dtype=np.int64)
    counts = apportion({cell: len(members) for cell, members in cells.items()}, shares)
    for cell, members in cells.items():
        part[rng.permutation(members)] = np.repeat(np.arange(len(shares)), counts[cell])
    return part[[first[group] for group in groups]]


def _draw_groups(
    clips: Sequence[Clip], groups: Sequence[Group], shares: Floats, rng: np.random.Generator
) -> Indices:
    """Draw the part of each group, with balanced classes, and return the part of each clip, (n,).

    A group is a pair of kind and name. The groups of each kind are spread over all parts.
    """
    names = sorted(set(groups))
    number = {name: i for i, name in enumerate(names)}
    column = {label: i for i, label in enumerate(sorted({clip.label for clip in clips}))}
    histograms = np.zeros((len(names), len(column)))
    for clip, group in zip(clips, groups, strict=True):
        histograms[number[group], column[clip.label]] += 1
    kinds = np.array([kind for kind, _ in names])
    part = np.zeros(len(names), dtype=np.int64)
    for kind, counts in apportion(Counter(kinds.tolist()), shares).items():
        members = np.flatnonzero(kinds == kind)
        part[members] = balance(histograms[members], counts, rng)
    return part[[number[group] for group in groups]]
