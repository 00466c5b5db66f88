"""Cached arrays -> aligned batches on the device, and statistics of the training split."""

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

Indices = npt.NDArray[np.int64]

_CHUNK = 64  # clips read at a time when statistics are computed or a device is filled


class Arrays(Protocol):
    """One feature of all clips, as the cache offers it: rows in the order of the clips."""

    @property
    def nbytes(self) -> int: ...

    def __len__(self) -> int: ...

    def take(self, indices: Any) -> npt.NDArray[Any]:
        """Rows `indices`, (B, *shape), in one vectorised step."""
        ...


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and standard deviation that broadcast to one clip's array, float32."""

    mean: Tensor
    deviation: Tensor


class Features:
    """The modalities of a set of clips, and their classes, in one order.

    Parameters
    ----------
    modalities : mapping of str to Modality
        In the order that everything downstream keeps.
    arrays : mapping of str to Arrays
        For each modality, row i belonging to clip i.
    targets : array
        (n,) int64, the class of each clip.
    device : torch.device
        Where batches go.
    resident_bytes : int
        Arrays are held on the device whole when together they take no more than this;
        otherwise every batch is gathered from the memory maps.
    absent : mapping of str to array, optional
        Modality -> (n,) bool, True for the clips that lack it; their rows are blank.
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
    ) -> None:
        self.modalities = dict(modalities)
        self.arrays = {m: arrays[m] for m in self.modalities}
        self.targets = torch.from_numpy(np.ascontiguousarray(targets)).to(device)
        self.device = device
        flags = absent or {}
        self.absent = {m: flags[m] for m in self.modalities if m in flags and flags[m].any()}
        self._reader: ThreadPoolExecutor | None = None
        # This batch and the next: one that nobody came for gives way.
        self._expected: deque[tuple[Indices, Future[dict[str, npt.NDArray[Any]]]]] = deque(maxlen=2)
        self._resident: dict[str, Tensor] = {}
        if sum(array.nbytes for array in self.arrays.values()) <= resident_bytes:
            self._resident = {m: self._upload(m) for m in self.modalities}

    @property
    def resident(self) -> bool:
        """Whether all arrays are held on the device."""
        return bool(self._resident)

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, indices: Indices) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs by modality, (B, *shape), and classes (B,), on the device."""
        index = on_device(torch.from_numpy(np.ascontiguousarray(indices)), self.device)
        if self._resident:
            return {m: t[index] for m, t in self._resident.items()}, self.targets[index]
        rows = self._gathered(indices)
        return {m: self._to_device(array) for m, array in rows.items()}, self.targets[index]

    def expect(self, indices: Indices) -> None:
        """Say which batch will be asked for next: it is gathered while the last one is computed.

        Nothing changes but the time that it takes; where arrays are on the device, nothing at all.
        """
        if not self._resident:
            if self._reader is None:
                self._reader = ThreadPoolExecutor(1, thread_name_prefix="features")
            self._expected.append((indices, self._reader.submit(self._gather, indices)))

    def _gathered(self, indices: Indices) -> dict[str, npt.NDArray[Any]]:
        if self._expected and np.array_equal(self._expected[0][0], indices):
            return self._expected.popleft()[1].result()
        return self._gather(indices)

    def _gather(self, indices: Indices) -> dict[str, npt.NDArray[Any]]:
        return {m: array.take(indices) for m, array in self.arrays.items()}

    def presence(self, indices: Indices) -> Presence | None:
        """Which modalities the clips `indices` have; None where they have all."""
        return presence_of(self.absent, list(self.modalities), indices, self.device)

    def known(self, indices: Indices, modality: str | None = None) -> Indices:
        """Those of the clips `indices` that have `modality`, or any where None is named."""
        if modality is not None:
            return having(self.absent, indices, [modality])
        if any(m not in self.absent for m in self.modalities):
            return indices
        nothing = np.all([flags[indices] for flags in self.absent.values()], axis=0)
        known: Indices = indices[~nothing]
        return known

    def whole(self, indices: Indices) -> Indices:
        """Those of the clips `indices` that have every modality."""
        return having(self.absent, indices, self.modalities)

    def statistics(self, modality: str, indices: Indices, keep: tuple[int, ...]) -> Statistics:
        """Mean and deviation over the clips `indices` (the training split, and nothing else).

        Of those that have the modality.

        Parameters
        ----------
        keep : tuple of int
            Axes of one clip's array that keep their own statistics; the others are pooled.
        """
        indices = self.known(indices, modality)
        shape = self.modalities[modality].shape
        pooled = (0, *(axis + 1 for axis in range(len(shape)) if axis not in keep))
        count = 0
        total: npt.NDArray[np.float64] | float = 0.0
        squares: npt.NDArray[np.float64] | float = 0.0
        for start in range(0, len(indices), _CHUNK):
            rows = self.arrays[modality].take(indices[start : start + _CHUNK]).astype(np.float64)
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
    """Axes with statistics of their own under a rule of ``train.normalise``."""
    if not modality.axes:
        # Axes without a meaning: a table of features, each in a unit of its own.
        return tuple(range(len(modality.shape))) if rule == "feature" else ()
    own = ("channel", "frequency", "coefficient", "statistic")
    names = own if rule == "feature" else ("channel",)
    return tuple(axis for axis, name in enumerate(modality.axes) if name in names)


def batches(indices: Indices, size: int, rng: np.random.Generator | None) -> Iterator[Indices]:
    """Split `indices` into batches of nearly equal length, shuffled by `rng`.

    At most `size` clips each. To train on, shuffled, they have at least two, because batch
    normalisation knows no variance of one (then a batch may have three where `size` is two).
    """
    if rng is None:
        return iter(np.array_split(indices, max(1, -(-len(indices) // size))))
    return iter(np.array_split(rng.permutation(indices), number_of_batches(len(indices), size)))


def number_of_batches(clips: int, size: int) -> int:
    """Steps that an epoch of training takes."""
    return max(1, min(-(-clips // size), clips // 2))
