"""Groups of input values whose contribution is explained: modalities, and parts of an axis.

A part is an entry of one axis of a modality, by default the channel axis. On an axis of many
entries, entries whose names begin with the same words form one part; without usable names,
neighbouring entries form one part. If the names have several words, entries that share a word are
also pooled into a group: "Euclidean H0" belongs to "Euclidean" and to "H0".
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
MAX_PARTS = 8  # maximum number of parts per axis; on a longer axis, several entries share a part


@dataclass(frozen=True, slots=True)
class Group:
    """Entries along one axis of a modality, or the whole modality.

    Attributes
    ----------
    modality : str
        The modality.
    name : str
        Name for display; empty for the whole modality.
    axis : int or None
        Axis of one clip's array (without the batch axis); None for the whole modality.
    entries : tuple of int
        Indices along `axis`; empty for the whole modality.
    pooled : bool
        True if the group joins several parts, which are groups as well.
    """

    modality: str
    name: str = ""
    axis: int | None = None
    entries: tuple[int, ...] = ()
    pooled: bool = False

    @property
    def title(self) -> str:
        """Name of the modality, followed by the name of the part if there is one."""
        return f"{self.modality}: {self.name}" if self.name else self.modality

    def replaced(self, x: Tensor, other: Tensor) -> Tensor:
        """Return `x` with this group's values taken from `other`; both are (B, *shape)."""
        if self.axis is None:
            return other
        index = self._index(x)
        return x.index_copy(self.axis + 1, index, other.index_select(self.axis + 1, index))

    def total(self, x: Tensor) -> Tensor:
        """Return the sum, (B,), of this group's values in each clip of `x`, (B, *shape)."""
        if self.axis is not None:
            x = x.index_select(self.axis + 1, self._index(x))
        return x.flatten(1).sum(dim=1)

    def _index(self, x: Tensor) -> Tensor:
        return torch.tensor(self.entries, device=x.device)

    def to_json(self) -> dict[str, Any]:
        """Return the group as plain values for JSON."""
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
    """Return every modality, each followed by its parts and by the groups that pool parts.

    A modality without the axis, or with a single entry on it, has no parts.

    Parameters
    ----------
    modalities : sequence of Modality
        Modalities of the model.
    channels : mapping
        Names of the entries of the ``"channel"`` axis, by modality; may be empty.
    axes : mapping, optional
        Name of the axis along which a modality is divided, by modality; ``"channel"`` by default.

    Raises
    ------
    UnknownNameError
        If a modality or axis does not exist.
    PluginError
        If an extractor has a different number of channel names than of channels.
    """
    axis_names = dict(axes or {})
    for m in axis_names:
        if m not in {modality.name for modality in modalities}:
            raise UnknownNameError(
                "modality to divide", m, [modality.name for modality in modalities]
            )
    groups: list[Group] = []
    for modality in modalities:
        name = axis_names.get(modality.name, DEFAULT_AXIS)
        groups.append(Group(modality.name))
        if name in modality.axes:
            axis = modality.axes.index(name)
            channel_names = channels.get(modality.name, ()) if name == DEFAULT_AXIS else ()
            groups += _parts(modality, axis, channel_names)
        elif modality.name in axis_names:
            raise UnknownNameError(f"axis of {modality.name}", name, modality.axes)
    return groups


def _parts(modality: Modality, axis: int, names: Sequence[str]) -> list[Group]:
    """Divide one axis into parts; return the parts, then the groups that pool parts."""
    size, meaning = modality.shape[axis], modality.axes[axis]
    if names and len(names) != size:
        raise PluginError(
            f"Extractor {modality.name!r} names {len(names)} channels, but its arrays have {size}.",
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
    """Group the entries of a long axis by the first words of their names, which are the keys.

    Keys have as many words as possible with at most `MAX_PARTS` parts. The result is empty in four
    cases: every entry can be a separate part, names differ in their number of words, all names
    have the same first words, or there are more than `MAX_PARTS` different first words.
    """
    if len(words) <= MAX_PARTS or len({len(w) for w in words}) > 1:
        return {}
    chosen: dict[str, list[int]] = {}
    for count in range(1, len(words[0])):
        entries_by_beginning: dict[str, list[int]] = {}
        for entry, name in enumerate(words):
            entries_by_beginning.setdefault(" ".join(name[:count]), []).append(entry)
        if len(entries_by_beginning) > MAX_PARTS:
            break
        chosen = entries_by_beginning
    return chosen if len(chosen) > 1 else {}


def _title(run: Sequence[int], meaning: str, names: Sequence[str]) -> str:
    """Return the name of a run of neighbouring entries."""
    if len(run) == 1:
        return names[run[0]] if names else f"{meaning} {run[0]}"
    return f"{meaning} {run[0]} to {run[-1]}"


def _pooled(parts: Sequence[Group], start: int = 0) -> list[Group]:
    """Return groups of the parts whose names share a word in the same position.

    The result is empty if names differ in their number of words. Words before position `start`
    form no groups.
    """
    words = [part.name.split() for part in parts]
    if len({len(w) for w in words}) > 1:
        return []
    groups: list[Group] = []
    for position in range(start, len(words[0])):
        column = [w[position] for w in words]
        for word in dict.fromkeys(column):
            members = [part for part, own in zip(parts, column, strict=True) if own == word]
            if 1 < len(members) < len(parts):
                entries = tuple(entry for part in members for entry in part.entries)
                groups.append(Group(parts[0].modality, word, parts[0].axis, entries, pooled=True))
    return groups
