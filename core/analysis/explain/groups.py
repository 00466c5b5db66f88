"""The parts of a model's input whose contribution is asked for: modalities, and entries of an axis.

A part is an entry of one axis of a modality (a channel, unless another axis is asked for). On an
axis of many entries those whose names begin alike form one part, or neighbours where no names say
more. Where the entries have names of several words, the words that some of them share are groups as
well: "Euclidean H0" belongs to "Euclidean" and to "H0".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...contracts import Modality
from ...contracts.errors import PluginError, UnknownNameError

DEFAULT_AXIS = "channel"
MAX_PARTS = 8  # of one axis; neighbours share a part of a longer one


@dataclass(frozen=True, slots=True)
class Group:
    """Entries along one axis of a modality, or all of it.

    Attributes
    ----------
    modality : str
        The modality.
    name : str
        What people call it; empty for the whole modality.
    axis : int or None
        Axis of one clip's array; None for the whole modality.
    entries : tuple of int
        Indices along it; empty for the whole modality.
    pooled : bool
        Whether it unites parts that are listed by themselves as well.
    """

    modality: str
    name: str = ""
    axis: int | None = None
    entries: tuple[int, ...] = ()
    pooled: bool = False

    @property
    def title(self) -> str:
        """The modality, and the part where it is one."""
        return f"{self.modality}: {self.name}" if self.name else self.modality

    def replaced(self, x: Tensor, other: Tensor) -> Tensor:
        """`x` with this group's values taken from `other`: both (B, *shape) of the modality."""
        if self.axis is None:
            return other
        index = self._index(x)
        return x.index_copy(self.axis + 1, index, other.index_select(self.axis + 1, index))

    def total(self, x: Tensor) -> Tensor:
        """Sum of this group's values in each clip: (B, *shape) -> (B,)."""
        if self.axis is not None:
            x = x.index_select(self.axis + 1, self._index(x))
        return x.flatten(1).sum(dim=1)

    def _index(self, x: Tensor) -> Tensor:
        return torch.tensor(self.entries, device=x.device)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "modality": self.modality,
            "name": self.name or None,
            "entries": list(self.entries) or None,
            "pooled": self.pooled,
        }


def groups_of(
    modalities: Sequence[Modality],
    channels: Mapping[str, Sequence[str]],
    axes: Mapping[str, str] | None = None,
) -> list[Group]:
    """Every modality, followed by its parts and by the groups that their names form.

    A modality without the axis, or with one entry on it, has no parts.

    Parameters
    ----------
    channels : mapping
        Modality -> names of the entries of its axis called ``"channel"``; may be empty.
    axes : mapping, optional
        Modality -> name of the axis to part it along; ``"channel"`` for the others.

    Raises
    ------
    UnknownNameError
        For a modality or axis that does not exist.
    PluginError
        If an extractor names more or fewer channels than it has.
    """
    asked = dict(axes or {})
    for m in asked:
        if m not in {modality.name for modality in modalities}:
            raise UnknownNameError("modality to part", m, [one.name for one in modalities])
    found: list[Group] = []
    for modality in modalities:
        name = asked.get(modality.name, DEFAULT_AXIS)
        found.append(Group(modality.name))
        if name in modality.axes:
            axis = modality.axes.index(name)
            given = channels.get(modality.name, ()) if name == DEFAULT_AXIS else ()
            found += _parts(modality, axis, given)
        elif modality.name in asked:
            raise UnknownNameError(f"axis of {modality.name}", name, modality.axes)
    return found


def _parts(modality: Modality, axis: int, names: Sequence[str]) -> list[Group]:
    size, meaning = modality.shape[axis], modality.axes[axis]
    if names and len(names) != size:
        raise PluginError(
            f"Extractor {modality.name!r} names {len(names)} channels and has {size}.",
            hint="Set self.channels in __init__ to one name for each entry of its channel axis.",
        )
    words = [name.split() for name in names]
    beginnings = _beginnings(words)
    if beginnings:
        begun = [
            Group(modality.name, beginning, axis, tuple(entries))
            for beginning, entries in beginnings.items()
        ]
        place = len(next(iter(beginnings)).split())
        entries = [Group(modality.name, name, axis, (i,)) for i, name in enumerate(names)]
        return begun + _pooled(entries, place)
    runs = np.array_split(np.arange(size), min(size, MAX_PARTS))
    if len(runs) < 2:
        return []
    titles = [_title(run.tolist(), meaning, names) for run in runs]
    parts = [
        Group(modality.name, title, axis, tuple(run.tolist()))
        for title, run in zip(titles, runs, strict=True)
    ]
    return parts + _pooled(parts)


def _beginnings(words: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """Part a long axis by the first words of its entries' names: beginning -> entries.

    Takes as many words as make no more than `MAX_PARTS` parts. The result is empty where every
    entry can be a part by itself, where names differ in their number of words, and where all
    names begin alike or more than `MAX_PARTS` first words differ.
    """
    if len(words) <= MAX_PARTS or len({len(w) for w in words}) > 1:
        return {}
    chosen: dict[str, list[int]] = {}
    for count in range(1, len(words[0])):
        found: dict[str, list[int]] = {}
        for entry, own in enumerate(words):
            found.setdefault(" ".join(own[:count]), []).append(entry)
        if len(found) > MAX_PARTS:
            break
        chosen = found
    return chosen if len(chosen) > 1 else {}


def _title(run: Sequence[int], meaning: str, names: Sequence[str]) -> str:
    if len(run) == 1:
        return names[run[0]] if names else f"{meaning} {run[0]}"
    return f"{meaning} {run[0]} to {run[-1]}"


def _pooled(parts: Sequence[Group], start: int = 0) -> list[Group]:
    """Groups of parts whose names share a word in one place, if all have as many words.

    Places before `start` are left out.
    """
    words = [part.name.split() for part in parts]
    if len({len(w) for w in words}) > 1:
        return []
    found: list[Group] = []
    for place in range(start, len(words[0])):
        column = [w[place] for w in words]
        for word in dict.fromkeys(column):
            members = [part for part, own in zip(parts, column, strict=True) if own == word]
            if 1 < len(members) < len(parts):
                entries = tuple(entry for part in members for entry in part.entries)
                found.append(Group(parts[0].modality, word, parts[0].axis, entries, pooled=True))
    return found
