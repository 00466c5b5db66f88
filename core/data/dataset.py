"""Data set of a run: clips, classes, splits and missing modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..contracts import Clip
from .presence import Flags
from .splits import Split


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
    """

    clips: tuple[Clip, ...]
    keys: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    splits: tuple[Split, ...]
    absent: Mapping[str, Flags] = field(default_factory=dict)

    def present(self, modalities: Sequence[str], indices: npt.NDArray[np.int64]) -> Flags | None:
        """Return (len(indices), M) bool: True where a clip has a modality.

        Return None if all of the run's clips have all M modalities.
        """
        if not any(m in self.absent for m in modalities):
            return None
        none_absent = np.zeros(len(self.clips), dtype=np.bool_)
        return np.stack([~self.absent.get(m, none_absent)[indices] for m in modalities], axis=1)

    def keys_of(self, modality: str) -> list[str]:
        """Return the keys of the clips that have a modality, in order."""
        flags = self.absent.get(modality)
        if flags is None:
            return list(self.keys)
        return [key for key, is_absent in zip(self.keys, flags, strict=True) if not is_absent]
