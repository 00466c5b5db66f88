"""Read: rows gathered from memory-mapped shards, in the order of the keys asked for."""

from __future__ import annotations

import contextlib
import errno
import sys
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .errors import CacheError
from .fingerprint import Fingerprint
from .shard import Array, Shard, checksum

Verify = Literal["open", "always"]


class FeatureArray:
    """One feature of a list of keys, read from memory-mapped shards. Made by
    :meth:`FeatureCache.open`.

    It can be pickled (files are mapped when first read, in each process anew) and used by
    several threads at once.

    Attributes
    ----------
    keys : tuple of str
        Key of each row.
    shape : tuple of int
        (n, ...).
    dtype : numpy.dtype
        Of the arrays.
    """

    def __init__(
        self,
        fingerprint: Fingerprint,
        keys: tuple[str, ...],
        shards: tuple[Shard, ...],
        shard_of: npt.NDArray[np.int64],
        row_of: npt.NDArray[np.int64],
        verify: Verify,
    ) -> None:
        self.keys = keys
        self.shape = (len(keys), *fingerprint.shape)
        self.dtype = np.dtype(fingerprint.dtype)
        self._shards = shards
        self._shard_of = shard_of  # (n,)
        self._row_of = row_of  # (n,)
        self._verify = verify
        self._maps: dict[int, Array] = {}

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"FeatureArray(shape={self.shape}, dtype={self.dtype.name})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def take(self, indices: npt.ArrayLike, out: Array | None = None) -> Array:
        """Gather rows, like ``numpy.take(self, indices, axis=0)``.

        Parameters
        ----------
        indices : array of int
            (B,); negative ones count from the end.
        out : array, optional
            (B, ...) of this dtype, to write into.

        Returns
        -------
        array
            (B, ...), a copy.

        Raises
        ------
        CacheError
            If a shard has gone, or an array does not fit its checksum and ``verify`` is
            ``"always"``.
        IndexError
            If an index is out of range.
        """
        index = self._checked(indices)
        if out is None:
            out = np.empty((len(index), *self.shape[1:]), self.dtype)
        elif out.shape != (len(index), *self.shape[1:]) or out.dtype != self.dtype:
            raise ValueError(
                f"out must be {self.dtype.name} of shape {(len(index), *self.shape[1:])}, "
                f"not {out.dtype.name} of shape {out.shape}."
            )
        self._gather(index, out)
        if self._verify == "always":
            self._check(index, out)
        return out

    def load(self) -> Array:
        """All rows in memory: (n, ...), a copy."""
        return self.take(np.arange(len(self)))

    def _checked(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        index = np.asarray(indices)
        if index.size == 0:
            index = index.astype(np.int64)
        if index.ndim != 1 or index.dtype.kind not in "iu":
            raise IndexError(
                f"Rows are chosen by a list of integers, not by {index.dtype} of shape "
                f"{index.shape}."
            )
        index = index.astype(np.int64, copy=False)
        if len(index) and not -len(self) <= index.min() <= index.max() < len(self):
            raise IndexError(f"Row out of range: there are {len(self)} rows.")
        return np.where(index < 0, index + len(self), index)

    def _gather(self, index: npt.NDArray[np.int64], out: Array) -> None:
        shards, rows = self._shard_of[index], self._row_of[index]  # (B,)
        if len(index) and (shards == shards[0]).all():
            # mode="clip" because "raise" would copy through a buffer; rows are in range.
            np.take(self._map(int(shards[0])), rows, axis=0, out=out, mode="clip")
            return
        # Copying row by row straight into place is as fast as one take from one file;
        # fancy indexing by shard copies everything twice.
        maps = {number: self._map(number) for number in np.unique(shards).tolist()}
        for place, (number, row) in enumerate(zip(shards.tolist(), rows.tolist(), strict=True)):
            out[place] = maps[number][row]

    def _map(self, number: int) -> Array:
        # Two threads may both map a shard; that costs nothing but the second map.
        if number not in self._maps:
            self._maps[number] = _map_shard(self._shards[number])
        return self._maps[number]

    def _check(self, index: npt.NDArray[np.int64], rows: Array) -> None:
        for i, row in zip(index.tolist(), rows, strict=True):
            shard = self._shards[self._shard_of[i]]
            if checksum(row) != int(shard.checksums[self._row_of[i]]):
                raise CacheError(
                    f"The array of {self.keys[i]!r} in {shard.path} does not fit its checksum: "
                    "it was changed after it was written.",
                    hint="Delete that file and build again; and look after the disk.",
                )


def _map_shard(shard: Shard) -> Array:
    try:
        try:
            return shard.map()
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            _allow_more_files()
            return shard.map()
    except OSError as error:
        raise CacheError(
            f"Can't map {shard.path}: {error.strerror or error}.",
            hint="Each shard takes one open file; `ulimit -n` shows and sets how many may be.",
        ) from None


def _allow_more_files() -> None:
    """Raise the soft limit on open files, often 1024, as far as the system lets us."""
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
