"""Batches of cached feature arrays on the device, and statistics of the training part."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..contracts import Modality
from ..contracts.model import Presence
from ..toolkit.device import on_device
from .presence import Flags, having, presence_of
from .windows import ClipRows

Indices = npt.NDArray[np.int64]

_CHUNK = 64  # clips read at a time when statistics are computed or a device is filled


class Arrays(Protocol):
    """Protocol for one feature of all clips: rows in the order of the clips, or of windows."""

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        ...

    def __len__(self) -> int: ...

    def take(self, indices: Any) -> npt.NDArray[Any]:
        """Return the rows `indices`, (B, *shape), in one vectorised step."""
        ...


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and standard deviation, float32, with shapes that broadcast to one clip's array."""

    mean: Tensor
    deviation: Tensor


class Features:
    """Feature arrays of all modalities and classes of a set of clips.

    Parameters
    ----------
    modalities : mapping of str to Modality
        Modalities by name; batches have the same order.
    arrays : mapping of str to Arrays
        Arrays of all modalities; row i belongs to clip i, or to the clip that `rows` states.
    targets : array
        (n,) int64, the class of each clip.
    device : torch.device
        Device of the batches.
    resident_bytes : int
        Limit in bytes: if all arrays together take no more, the arrays are held on the device.
        Otherwise each batch is gathered from the memory maps.
    absent : mapping of str to array, optional
        For each modality, (n,) bool: True for the clips that lack the modality, whose rows are
        blank.
    rows : ClipRows, optional
        Rows of each clip, if long clips have one row per window.
    """

    def __init__(
        self,
        modalities: Mapping[str, Modality],
        arrays: Mapping[str, Arrays],
        targets: npt.NDArray[np.int64],
        device: torch.device,
        *,
        resident_bytes: int,
        absent: Mapping[str, Flags] | None = None,
        rows: ClipRows | None = None,
    ) -> None:
        self.modalities = dict(modalities)
        self.arrays = {m: arrays[m] for m in self.modalities}
        self.targets = torch.from_numpy(np.ascontiguousarray(targets)).to(device)
        self.device = device
        self.rows = rows
        flags = absent or {}
        self.absent = {m: flags[m] for m in self.modalities if m in flags and flags[m].any()}
        self._reader: ThreadPoolExecutor | None = None
        # Holds the current and the next batch; a batch that was prefetched but not used is dropped.
        self._expected: deque[tuple[Indices, Future[dict[str, npt.NDArray[Any]]]]] = deque(maxlen=2)
        self._resident: dict[str, Tensor] = {}
        if sum(array.nbytes for array in self.arrays.values()) <= resident_bytes:
            self._resident = {m: self._upload(m) for m in self.modalities}

    @property
    def resident(self) -> bool:
        """True if all arrays are held on the device."""
        return bool(self._resident)

    def __len__(self) -> int:
        return len(self.targets)

    def batch(
        self, indices: Indices, rows: Indices | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the inputs by modality, (B, *shape), and the classes, (B,), on the device.

        Parameters
        ----------
        indices : array
            (B,) clips.
        rows : array, optional
            (B,) row of the window to read, for each clip; by default the middle window.
        """
        rows = self._middle(indices) if rows is None else rows
        index = on_device(torch.from_numpy(np.ascontiguousarray(rows)), self.device)
        clips = index
        if self.rows is not None:
            clips = on_device(torch.from_numpy(np.ascontiguousarray(indices)), self.device)
        if self._resident:
            return {m: t[index] for m, t in self._resident.items()}, self.targets[clips]
        arrays = self._gathered(rows)
        return {m: self._to_device(array) for m, array in arrays.items()}, self.targets[clips]

    def prefetch(self, indices: Indices, rows: Indices | None = None) -> None:
        """Start to gather the next batch in a thread, while the current batch is processed.

        Prefetching saves time and changes no result. If the arrays are on the device, this method
        does nothing.
        """
        if not self._resident:
            if self._reader is None:
                self._reader = ThreadPoolExecutor(1, thread_name_prefix="features")
            rows = self._middle(indices) if rows is None else rows
            self._expected.append((rows, self._reader.submit(self._gather, rows)))

    def random_rows(self, indices: Indices, rng: np.random.Generator) -> Indices | None:
        """Return the row of a random window of each clip, (B,); None if no clip has windows."""
        return None if self.rows is None else self.rows.drawn(indices, rng)

    def array_rows(self, indices: Indices, modality: str) -> Indices:
        """Return the rows of all different arrays of the clips in a modality, (R,)."""
        if self.rows is not None and modality in self.rows.divided:
            return self.rows.every(indices)[0]
        return self._middle(indices)

    def _middle(self, indices: Indices) -> Indices:
        return indices if self.rows is None else self.rows.middle(indices)

    def _gathered(self, rows: Indices) -> dict[str, npt.NDArray[Any]]:
        if self._expected and np.array_equal(self._expected[0][0], rows):
            return self._expected.popleft()[1].result()
        return self._gather(rows)

    def _gather(self, rows: Indices) -> dict[str, npt.NDArray[Any]]:
        return {m: array.take(rows) for m, array in self.arrays.items()}

    def presence(self, indices: Indices) -> Presence | None:
        """Return which modalities the clips `indices` have; None if no clip lacks a modality."""
        return presence_of(self.absent, list(self.modalities), indices, self.device)

    def clips_with(self, indices: Indices, modality: str | None = None) -> Indices:
        """Return the clips among `indices` that have `modality`; None stands for any modality."""
        if modality is not None:
            return having(self.absent, indices, [modality])
        if any(m not in self.absent for m in self.modalities):
            return indices
        nothing = np.all([flags[indices] for flags in self.absent.values()], axis=0)
        some: Indices = indices[~nothing]
        return some

    def complete_clips(self, indices: Indices) -> Indices:
        """Return the clips among `indices` that have every modality."""
        return having(self.absent, indices, self.modalities)

    def statistics(self, modality: str, indices: Indices, keep: tuple[int, ...]) -> Statistics:
        """Return mean and deviation of the clips among `indices` that have the modality.

        Each window of a long clip counts as a clip.

        Parameters
        ----------
        indices : array
            Clips of the training part; other clips must not influence the statistics.
        keep : tuple of int
            Axes of one clip's array that have separate statistics; the other axes are pooled.
        """
        rows_of_part = self.array_rows(self.clips_with(indices, modality), modality)
        shape = self.modalities[modality].shape
        pooled = (0, *(axis + 1 for axis in range(len(shape)) if axis not in keep))
        count = 0
        total: npt.NDArray[np.float64] | float = 0.0
        squares: npt.NDArray[np.float64] | float = 0.0
        for start in range(0, len(rows_of_part), _CHUNK):
            chosen = rows_of_part[start : start + _CHUNK]
            rows = self.arrays[modality].take(chosen).astype(np.float64)
            total = total + rows.sum(axis=pooled, keepdims=True)
            squares = squares + (rows * rows).sum(axis=pooled, keepdims=True)
            count += rows.size // np.asarray(total).size
        mean = np.asarray(total)[0] / count
        variance = np.maximum(np.asarray(squares)[0] / count - mean * mean, 0.0)
        return Statistics(
            torch.from_numpy(np.asarray(mean, dtype=np.float32)),
            torch.from_numpy(np.sqrt(np.asarray(variance, dtype=np.float32))),
        )

    def _upload(self, modality: str) -> Tensor:
        array = self.arrays[modality]
        parts = [
            self._to_device(array.take(np.arange(start, min(start + _CHUNK, len(array)))))
            for start in range(0, len(array), _CHUNK)
        ]
        return torch.cat(parts)

    def _to_device(self, array: npt.NDArray[Any]) -> Tensor:
        return on_device(torch.from_numpy(array), self.device)


def kept_axes(modality: Modality, rule: str) -> tuple[int, ...]:
    """Return the axes that have separate statistics under a rule of ``train.normalise``."""
    if not modality.axes:
        # Axes without names belong to a table of features, each with its own unit.
        return tuple(range(len(modality.shape))) if rule == "feature" else ()
    own = ("channel", "frequency", "coefficient", "statistic")
    names = own if rule == "feature" else ("channel",)
    return tuple(axis for axis, name in enumerate(modality.axes) if name in names)


def batches(indices: Indices, size: int, rng: np.random.Generator | None) -> Iterator[Indices]:
    """Split `indices` into batches of nearly equal length, shuffled if `rng` is given.

    A batch has at most `size` clips. Shuffled batches are for training and have at least two clips,
    because batch normalisation has no variance for a single clip. To avoid a single clip, a batch
    may have three clips if `size` is two.
    """
    if rng is None:
        return iter(np.array_split(indices, max(1, -(-len(indices) // size))))
    return iter(np.array_split(rng.permutation(indices), number_of_batches(len(indices), size)))


def number_of_batches(clips: int, size: int) -> int:
    """Return the number of batches in an epoch of training."""
    return max(1, min(-(-clips // size), clips // 2))
