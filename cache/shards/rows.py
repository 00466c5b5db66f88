"""Arrays of one shard, either mapped into memory or unpacked on reading."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import CacheError, ShardError
from ..fingerprint import Fingerprint
from ..guarded_arrays import dataset_of, open_hdf5
from .codecs import PACKING, missing_codec

RECOMPUTE = "fusion cache verify --repair removes damaged items and computes them again."

_MAX_ITEMS = 256  # per shard
_MAX_BYTES = 64 * 2**20

Array = npt.NDArray[Any]


class Label(NamedTuple):
    """Key of an array, location of its source, and the group it belongs to."""

    key: str
    origin: str
    group: str

    @classmethod
    def of(cls, key: bytes, origin: bytes, group: bytes) -> Label:
        """Return the label for the raw values in the columns of a shard."""
        return cls(*(text.decode("utf-8", "replace") for text in (key, origin, group)))


@dataclass(frozen=True)
class ShardFile:
    """Location of the arrays of a shard.

    Attributes
    ----------
    path : Path
        The file.
    fingerprint : Fingerprint
        Fingerprint of all arrays in the file.
    count : int
        Number of arrays.
    offset : int or None
        Byte at which the arrays begin; None if the arrays are packed.
    size : int
        Bytes of the whole file.
    time : int
        Modification time in nanoseconds; -1 if unknown.
    """

    path: Path
    fingerprint: Fingerprint
    count: int
    offset: int | None
    size: int
    time: int = -1

    @property
    def packed(self) -> bool:
        """True if the arrays are compressed."""
        return self.offset is None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all arrays together: (n, ...)."""
        return (self.count, *self.fingerprint.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored numbers, little-endian."""
        return stored_dtype(self.fingerprint)

    def rows(self) -> Array | PackedRows:
        """Return the arrays, (n, ...), read-only; an array is read when its row is indexed.

        Raises
        ------
        CacheError
            If the file was deleted or replaced after it was opened, or is packed with a codec that
            is not installed.
        """
        try:
            now = self.path.stat()
            if now.st_size != self.size or self.time not in (-1, now.st_mtime_ns):
                raise ShardError(
                    f"{self.path} was changed after it was opened ({self.size} bytes then, "
                    f"{now.st_size} now); shards never change.",
                    hint=RECOMPUTE,
                )
            if self.offset is None:
                return PackedRows(self)
            mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        except FileNotFoundError:
            raise CacheError(
                f"{self.path} was deleted while in use: another program deletes cache files.",
                hint="Start again: missing arrays are then computed again.",
            ) from None
        return mapped.view(np.ndarray)


class PackedRows:
    """Compressed arrays of a shard; an array is unpacked when the array is read.

    A `PackedRows` keeps the file open. HDF5 handles do not survive a fork, so each process needs
    its own `PackedRows`. :class:`FeatureArray` creates a new `PackedRows` in each process.
    """

    def __init__(self, file: ShardFile) -> None:
        self._path = file.path
        self._file = open_hdf5(file.path)
        try:
            self._data = dataset_of(self._file, "data", PACKING)
        except (KeyError, ValueError, RuntimeError) as error:
            self._file.close()
            raise ShardError(f"{file.path} is damaged: {error}", hint=RECOMPUTE) from None
        missing = missing_codec(self._data)
        if missing:
            self._file.close()
            raise CacheError(f"{file.path} is packed: {missing.message}", hint=missing.hint)

    def __getitem__(self, row: int) -> Array:
        try:
            array: Array = self._data[row]
        except (OSError, RuntimeError) as error:
            raise ShardError(
                f"{self._path}: array {row} can't be unpacked: {error}.", hint=RECOMPUTE
            ) from None
        return array


def stored_dtype(fingerprint: Fingerprint) -> np.dtype[Any]:
    """Return the dtype of a feature's arrays on disk."""
    return np.dtype(fingerprint.dtype).newbyteorder("<")


def most_items(fingerprint: Fingerprint) -> int:
    """Return the maximum number of items in one shard."""
    return max(1, min(_MAX_ITEMS, _MAX_BYTES // fingerprint.array_bytes))
