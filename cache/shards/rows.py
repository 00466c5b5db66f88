"""The arrays of one shard, where they lie: mapped into memory, or unpacked as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import CacheError, ShardError
from ..fingerprint import Fingerprint
from .codecs import missing_codec

RECOMPUTE = "fusion cache verify --repair removes what is damaged and computes it again."

_MAX_ITEMS = 256  # per shard
_MAX_BYTES = 64 * 2**20

Array = npt.NDArray[Any]


class Label(NamedTuple):
    """Key of an array, where its source was found, and what it belongs to."""

    key: str
    origin: str
    group: str

    @classmethod
    def of(cls, key: bytes, origin: bytes, group: bytes) -> Label:
        """From the columns of a shard."""
        return cls(*(text.decode("utf-8", "replace") for text in (key, origin, group)))


@dataclass(frozen=True)
class ShardFile:
    """Where the arrays of a shard lie.

    Attributes
    ----------
    path : Path
        The file.
    fingerprint : Fingerprint
        Of all its arrays.
    count : int
        Arrays in it.
    offset : int or None
        Byte at which they begin; None where they are packed.
    size : int
        Bytes of the whole file.
    time : int
        When it was changed last, in nanoseconds; -1 where that is not known.
    """

    path: Path
    fingerprint: Fingerprint
    count: int
    offset: int | None
    size: int
    time: int = -1

    @property
    def packed(self) -> bool:
        """Whether the arrays are compressed."""
        return self.offset is None

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *shape)."""
        return (self.count, *self.fingerprint.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored: little-endian."""
        return stored_dtype(self.fingerprint)

    def rows(self) -> Array | PackedRows:
        """The arrays, read when they are indexed: (n, ...), read-only.

        Raises
        ------
        CacheError
            If the file has gone, is not the one that was opened, or is packed by a codec that
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
                f"{self.path} was there and has gone: something deletes files of this cache.",
                hint="Start again; what is missing is then computed again.",
            ) from None
        return mapped.view(np.ndarray)


class PackedRows:
    """The compressed arrays of a shard; each is unpacked when it is read.

    It holds the file open. HDF5 handles do not survive a fork, so each process needs its own
    (:class:`FeatureArray` sees to that).
    """

    def __init__(self, file: ShardFile) -> None:
        self._path = file.path
        self._file = h5py.File(file.path, "r", locking=False)
        missing = missing_codec(self._file["data"])
        if missing:
            self._file.close()
            raise CacheError(f"{file.path} is packed: {missing.message}", hint=missing.hint)
        self._data = self._file["data"]

    def __getitem__(self, row: int) -> Array:
        try:
            array: Array = self._data[row]
        except OSError as error:
            raise ShardError(
                f"{self._path}: array {row} can't be unpacked: {error}.", hint=RECOMPUTE
            ) from None
        return array


def stored_dtype(fingerprint: Fingerprint) -> np.dtype[Any]:
    """The dtype of a feature's arrays on disk."""
    return np.dtype(fingerprint.dtype).newbyteorder("<")


def most_items(fingerprint: Fingerprint) -> int:
    """Return how many items become one shard at the most."""
    return max(1, min(_MAX_ITEMS, _MAX_BYTES // fingerprint.array_bytes))
