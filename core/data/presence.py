"""Which modalities clips have: of some recordings there is no video, of some no transcript."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..contracts.model import Presence
from ..toolkit.device import on_device

Flags = npt.NDArray[np.bool_]
Clips = npt.NDArray[np.int64]  # numbers of clips


def presence_of(
    absent: Mapping[str, Flags],
    modalities: Sequence[str],
    indices: npt.NDArray[np.int64],
    device: torch.device,
) -> Presence | None:
    """Presence of the clips `indices`; None where they have everything.

    Parameters
    ----------
    absent : mapping
        Modality -> (n,) bool, True for the clips that lack it.
    """
    # Found out on the CPU: on the device, counting would wait for it.
    lacking = {m: absent[m][indices] for m in modalities if m in absent}
    lacking = {m: flags for m, flags in lacking.items() if flags.any()}
    if not lacking:
        return None
    everybody = np.ones(len(indices), dtype=np.bool_)
    columns = [~lacking[m] if m in lacking else everybody for m in modalities]
    table = on_device(torch.from_numpy(np.stack(columns, axis=1)), device)
    rows = {m: on_device(torch.from_numpy(np.flatnonzero(~f)), device) for m, f in lacking.items()}
    return Presence(tuple(modalities), table, rows)


def having(absent: Mapping[str, Flags], clips: Clips, modalities: Iterable[str]) -> Clips:
    """Those of the clips, (k,) int64, that have every one of some modalities.

    Parameters
    ----------
    absent : mapping
        Modality -> (n,) bool, True for the clips that lack it; one that it does not name, all have.
    """
    for m in modalities:
        if m in absent:
            clips = clips[~absent[m][clips]]
    return clips


class Gapped:
    """Arrays of the clips that have a modality, as arrays of all clips: blank for the others.

    Parameters
    ----------
    arrays : Arrays
        Row i belonging to the i-th clip that has the modality.
    absent : array
        (n,) bool, True for the clips that lack it.
    """

    def __init__(self, arrays: Any, absent: Flags) -> None:
        self._arrays = arrays
        self._absent = absent
        self._row = np.cumsum(~absent) - 1  # of each clip that has it

    @property
    def nbytes(self) -> int:
        stored = len(self) - int(self._absent.sum())
        return int(self._arrays.nbytes) // max(1, stored) * len(self)

    def __len__(self) -> int:
        return len(self._absent)

    def take(self, indices: Any) -> npt.NDArray[Any]:
        """Rows `indices`, (B, *shape)."""
        index = np.asarray(indices, dtype=np.int64)
        there = ~self._absent[index]
        found = self._arrays.take(self._row[index[there]])
        if there.all():
            whole: npt.NDArray[Any] = found
            return whole
        rows = np.zeros((len(index), *found.shape[1:]), dtype=found.dtype)
        rows[there] = found
        return rows
