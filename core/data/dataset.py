"""Data set of a run: clips, classes, splits, missing modalities and windows of long clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..contracts import Clip
from .features import Arrays
from .presence import Flags
from .splits import Split
from .windows import ClipRows, Selected, Window


@dataclass(frozen=True)
class RunData:
    """Clips of a run in the form that its trainings need.

    Attributes
    ----------
    clips : tuple of Clip
        The clips; indices in other fields refer to this order.
    keys : tuple of str
        Content digest of each recording, which is the recording's key in the cache.
    targets : array
        (n,) int64, class of each clip.
    classes : tuple of str
        Names of the classes.
    splits : tuple of Split
        One split, or one per fold.
    absent : mapping of str to array
        For each modality that some clip lacks, (n,) bool: True for the clips that lack the
        modality.
    windows : mapping of int to tuple of Window
        Windows of each long clip, by index of the clip. Other clips have none.
    divided : tuple of str
        Modalities with one array per window. Other modalities have one array per clip.
    """

    clips: tuple[Clip, ...]
    keys: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    splits: tuple[Split, ...]
    absent: Mapping[str, Flags] = field(default_factory=dict)
    windows: Mapping[int, tuple[Window, ...]] = field(default_factory=dict)
    divided: tuple[str, ...] = ()

    def present(self, modalities: Sequence[str], indices: npt.NDArray[np.int64]) -> Flags | None:
        """Return (len(indices), M) bool: True where a clip has a modality.

        Return None if all of the run's clips have all M modalities.
        """
        if not any(m in self.absent for m in modalities):
            return None
        none_absent = np.zeros(len(self.clips), dtype=np.bool_)
        return np.stack([~self.absent.get(m, none_absent)[indices] for m in modalities], axis=1)

    def keys_of(self, modality: str) -> list[str]:
        """Return the keys of a modality's arrays, in order; absent arrays are left out."""
        windows = self._windows_of(modality)
        flags = self.absent.get(modality)
        keys: list[str] = []
        for index, key in enumerate(self.keys):
            if flags is None or not flags[index]:
                own = windows.get(index)
                keys += [key] if own is None else [window.key for window in own]
        return keys

    def all_keys(self) -> set[str]:
        """Return the keys of all clips and windows."""
        return {*self.keys, *(window.key for own in self.windows.values() for window in own)}

    def arrays_of(self, modality: str) -> list[tuple[Clip, Window]]:
        """Return the clip, the location and the key of each array of a modality, in order.

        Arrays that clips lack are left out.
        """
        flags = self.absent.get(modality)
        return [
            (clip, part)
            for index, clip in enumerate(self.clips)
            if flags is None or not flags[index]
            for part in self._parts(modality, index)
        ]

    def shown(self, modality: str, index: int) -> Window:
        """Return the location and the key of a clip's array, in a long clip of its middle."""
        parts = self._parts(modality, index)
        return parts[len(parts) // 2]

    def _parts(self, modality: str, index: int) -> tuple[Window, ...]:
        whole = (Window(self.clips[index].recording, self.keys[index]),)
        return self._windows_of(modality).get(index, whole)

    def _windows_of(self, modality: str) -> Mapping[int, tuple[Window, ...]]:
        return self.windows if modality in self.divided else {}

    # -- rows of arrays ------------------------------------------------------------------

    @cached_property
    def rows(self) -> ClipRows | None:
        """Rows of each clip in arrays with one row per window; None if no clip has windows."""
        if not self.windows:
            return None
        counts = [len(self.windows.get(i, ("",))) for i in range(len(self.clips))]
        return ClipRows(np.cumsum([0, *counts]), self.divided)

    def clips_of(self, modality: str) -> npt.NDArray[np.int64]:
        """Return the clip of each array of a modality, blank arrays of absent clips included."""
        clips = np.arange(len(self.clips))
        if self.rows is None or modality not in self.divided:
            return clips
        return np.repeat(clips, np.diff(self.rows.first))

    def by_window(self, modality: str, arrays: Arrays) -> Arrays:
        """Return a view of a modality's arrays with one row per window of each clip."""
        if self.rows is None or modality in self.divided:
            return arrays
        return Selected(arrays, np.repeat(np.arange(len(self.clips)), np.diff(self.rows.first)))

    def by_clip(self, modality: str, arrays: Arrays) -> Arrays:
        """Return a view of a modality's arrays with one row per clip, that of its middle."""
        if self.rows is None or modality not in self.divided:
            return arrays
        return Selected(arrays, self.rows.middle(np.arange(len(self.clips))))
