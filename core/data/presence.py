"""Missing modalities: which modalities a clip has, for instance no video or no transcript."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..contracts.model import Presence
from ..toolkit.device import on_device

Flags = npt.NDArray[np.bool_]
Clips = npt.NDArray[np.int64]  # indices of clips


def presence_of(
    absent: Mapping[str, Flags],
    modalities: Sequence[str],
    indices: npt.NDArray[np.int64],
    device: torch.device,
) -> Presence | None:
    """Return the presence of modalities in the clips `indices`; None if every clip has all of them.

    Parameters
    ----------
    absent : mapping
        For each modality, (n,) bool: True for the clips that lack the modality.
    """
    # Count on the CPU: a count on the device would force a synchronisation.
    lacking = {m: absent[m][indices] for m in modalities if m in absent}
    lacking = {m: flags for m, flags in lacking.items() if flags.any()}
    if not lacking:
        return None
    all_present = np.ones(len(indices), dtype=np.bool_)
    columns = [~lacking[m] if m in lacking else all_present for m in modalities]
    table = on_device(torch.from_numpy(np.stack(columns, axis=1)), device)
    rows = {m: on_device(torch.from_numpy(np.flatnonzero(~f)), device) for m, f in lacking.items()}
    return Presence(tuple(modalities), table, rows)


def having(absent: Mapping[str, Flags], clips: Clips, modalities: Iterable[str]) -> Clips:
    """Return the clips among `clips`, (k,) int64 indices, that have all of the given modalities.

    Parameters
    ----------
    absent : mapping
        For each modality, (n,) bool: True for the clips that lack the modality. A modality that is
        not in `absent` is present in all clips.
    """
    for m in modalities:
        if m in absent:
            clips = clips[~absent[m][clips]]
    return clips


class Gapped:
    """View of one modality's arrays with one row per clip or window; zeros for missing arrays.

    Parameters
    ----------
    arrays : Arrays
        Row i belongs to the i-th clip or window that has the modality.
    absent : array
        (n,) bool: True for the clips or windows that lack the modality.
    """

    def __init__(self, arrays: Any, absent: Flags) -> None:
        self._arrays = arrays
        self._absent = absent
        self._row = np.cumsum(~absent) - 1  # row in `arrays` of each clip that has the modality

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, including blank rows."""
        stored = len(self) - int(self._absent.sum())
        return int(self._arrays.nbytes) // max(1, stored) * len(self)

    def __len__(self) -> int:
        return len(self._absent)

    def take(self, indices: Any) -> npt.NDArray[Any]:
        """Return the rows `indices`, (B, *shape)."""
        index = np.asarray(indices, dtype=np.int64)
        present = ~self._absent[index]
        stored = self._arrays.take(self._row[index[present]])
        if present.all():
            whole: npt.NDArray[Any] = stored
            return whole
        rows = np.zeros((len(index), *stored.shape[1:]), dtype=stored.dtype)
        rows[present] = stored
        return rows
