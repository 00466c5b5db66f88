"""The data set of a run: its clips, their classes, who is in which part, and who lacks what."""

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
    """The clips of a run as its trainings need them.

    Attributes
    ----------
    clips : tuple of Clip
        In the order of every index.
    keys : tuple of str
        Content digest of each recording: its key in the cache.
    targets : array
        (n,) int64, class of each clip.
    classes : tuple of str
        Names of the classes.
    splits : tuple of Split
        One, or one per fold.
    absent : mapping of str to array
        Modality -> (n,) bool, True for the clips that lack it; only of modalities that some clip
        lacks.
    """

    clips: tuple[Clip, ...]
    keys: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    splits: tuple[Split, ...]
    absent: Mapping[str, Flags] = field(default_factory=dict)

    def present(self, modalities: Sequence[str], indices: npt.NDArray[np.int64]) -> Flags | None:
        """(len(indices), M): which of the clips have which modality; None where they have all."""
        if not any(m in self.absent for m in modalities):
            return None
        nobody = np.zeros(len(self.clips), dtype=np.bool_)
        return np.stack([~self.absent.get(m, nobody)[indices] for m in modalities], axis=1)

    def keys_of(self, modality: str) -> list[str]:
        """Keys of the clips that have a modality, in order."""
        flags = self.absent.get(modality)
        if flags is None:
            return list(self.keys)
        return [key for key, gone in zip(self.keys, flags, strict=True) if not gone]
