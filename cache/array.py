"""Arrays of one feature by row: row i is the array of key i, read from memory-mapped shards."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from .errors import CacheError
from .fingerprint import Fingerprint
from .shards.rows import Array, PackedRows, ShardFile, stored_dtype
from .shards.shard import checksum

Verify = Literal["open", "always"]
# Function that takes the path of a removed shard, the fingerprint of this shard, and keys. The
# function returns the same arrays from the shards that hold these arrays now.
Reopen = Callable[[Path, Fingerprint, list[str]], "FeatureArray"]
VERIFY: tuple[str, ...] = get_args(Verify)


class FeatureArray:
    """One feature for a list of keys, read from memory-mapped shards.

    :meth:`FeatureCache.open` returns a FeatureArray. A FeatureArray can be pickled, and several
    threads can use it at once. Every process, also a forked process, opens the files when the
    process first reads an array. The array can therefore serve as the data set of a
    :class:`torch.utils.data.DataLoader` with any number of workers.

    Attributes
    ----------
    keys : tuple of str
        Key of each row.
    shape : tuple of int
        (n, ...).
    dtype : numpy.dtype
        Type of the arrays in memory.
    """

    def __init__(
        self,
        fingerprint: Fingerprint,
        keys: tuple[str, ...],
        files: tuple[ShardFile, ...],
        file_of: npt.NDArray[np.int64],
        row_of: npt.NDArray[np.int64],
        checksums: npt.NDArray[np.uint64],
        verify: Verify,
        reopen: Reopen,
    ) -> None:
        self.keys = keys
        self.shape = (len(keys), *fingerprint.shape)
        self.dtype = np.dtype(fingerprint.dtype)
        self._files = files
        self._file_of = file_of  # (n,)
        self._row_of = row_of  # (n,)
        self._checksums = checksums  # (n,)
        self._verify = verify
        self._reopen = reopen
        self._opened = _Opened()
        self._stored = stored_dtype(fingerprint)
        self._row_bytes = fingerprint.array_bytes

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"FeatureArray(shape={self.shape}, dtype={self.dtype.name})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": _Opened()}

    def __getitem__(self, index: int) -> Array:
        """Return a copy of the array of one row: (...)."""
        row: Array = self.take([index])[0]
        return row

    def __getitems__(self, indices: Sequence[int]) -> Array:
        """Return a whole batch, (B, ...); a DataLoader calls this method."""
        return self.take(list(indices))

    def take(self, indices: npt.ArrayLike, out: Array | None = None) -> Array:
        """Return the rows at `indices`, like ``numpy.take(self, indices, axis=0)``.

        Parameters
        ----------
        indices : array of int
            (B,); negative indices count from the end.
        out : array, optional
            (B, ...), of the same dtype as `self`; receives the rows.

        Returns
        -------
        array
            (B, ...), a copy.

        Raises
        ------
        CacheError
            If a shard was deleted, or if ``verify`` is ``"always"`` and an array does not match its
            checksum.
        IndexError
            If an index is out of range.
        ValueError
            If `out` has another shape or dtype.
        """
        index = _integers(indices)
        shape = (len(index), *self.shape[1:])
        if out is not None and (out.shape != shape or out.dtype != self.dtype):
            raise ValueError(
                f"out must be {self.dtype.name} of shape {shape}, "
                f"not {out.dtype.name} of shape {out.shape}."
            )
        files, rows = self._locate(index)
        opened, raw = self._open(files)
        if out is None and len(raw) == len(opened) and len(self._files) > 1 and len(index):
            out = _join_rows(raw, files, rows * self._row_bytes, self._row_bytes)
            out = out.view(self._stored).astype(self.dtype, copy=False).reshape(shape)
        else:
            out = np.empty(shape, self.dtype) if out is None else out
            _fill(out, opened, files, rows)
        if self._verify == "always":
            self._check(index, out)
        return out

    def load(self) -> Array:
        """Return a copy of all rows in memory: (n, ...)."""
        return self.take(np.arange(len(self)))

    def _locate(self, index: npt.NDArray[np.int64]) -> tuple[list[int], npt.NDArray[np.int64]]:
        """Return two arrays (B,): the file number of each index, and the row in that file."""
        try:
            return self._file_of[index].tolist(), self._row_of[index]
        except IndexError:
            raise IndexError(
                f"A row number is out of range: the array has {len(self)} rows."
            ) from None

    def _open(self, files: Sequence[int]) -> tuple[dict[int, _Rows], dict[int, memoryview]]:
        """Open files if needed; return rows, and bytes of mapped files, both by file number."""
        opened = self._opened
        if opened.process != os.getpid():  # after a fork, HDF5 handles belong to the parent
            opened = self._opened = _Opened()
        # If two threads open the same file at once, only time is lost. Rows are stored before raw
        # bytes. A thread that sees as many entries of bytes as of rows knows that all files are
        # mapped.
        for number in set(files) - opened.rows.keys():
            rows = opened.rows[number] = self._open_one(number)
            if isinstance(rows, np.ndarray):
                opened.raw[number] = rows.reshape(-1).view(np.uint8).data
        return opened.rows, opened.raw

    def _open_one(self, number: int) -> _Rows:
        try:
            return _rows(self._files[number])
        except CacheError:
            if self._files[number].path.exists():
                raise
            return self._moved_rows(number)

    def _moved_rows(self, number: int) -> _MovedRows:
        """Return the rows of a removed shard from the shard that holds these rows now."""
        file = self._files[number]
        rows_of_file = np.flatnonzero(self._file_of == number)
        keys = dict(
            zip(
                self._row_of[rows_of_file].tolist(),
                (self.keys[i] for i in rows_of_file),
                strict=True,
            )
        )
        current = self._reopen(file.path, file.fingerprint, list(keys.values()))
        return _MovedRows(current, {row: i for i, row in enumerate(keys)})

    def _check(self, index: npt.NDArray[np.int64], rows: Array) -> None:
        for i, row in zip(index.tolist(), rows, strict=True):
            if checksum(row) != int(self._checksums[i]):
                raise CacheError(
                    f"The array of {self.keys[i]!r} in {self._files[self._file_of[i]].path} does "
                    "not match its checksum: it was changed after it was written.",
                    hint="Compute the array again: fusion cache verify --repair. Check the disk.",
                )


class _Opened:
    """Open files of one process, by file number: the rows, and for mapped files also the bytes."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.rows: dict[int, _Rows] = {}
        self.raw: dict[int, memoryview] = {}


class _MovedRows:
    """Rows of a shard that was rewritten (e.g. packed or unpacked) after the shard was found."""

    def __init__(self, array: FeatureArray, new_row: dict[int, int]) -> None:
        self._array = array
        self._new_row = new_row

    def __getitem__(self, row: int) -> Array:
        return self._array[self._new_row[row]]


_Rows = Array | PackedRows | _MovedRows


def _integers(indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
    index = np.asarray(indices)
    if index.size == 0:
        index = index.astype(np.int64)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise IndexError(
            f"An array of {index.dtype} of shape {index.shape} can't select rows: a list of "
            "integers is needed."
        )
    return index.astype(np.int64, copy=False)


def _join_rows(
    sources: Mapping[int, memoryview],
    files: Sequence[int],
    starts: npt.NDArray[np.int64],
    size: int,
) -> npt.NDArray[np.uint8]:
    """Return rows of several mapped files as one contiguous array of bytes.

    The rows are joined as bytes in a single copy. Fancy indexing by file copies everything twice,
    and views of arrays take longer to create.
    """
    places = zip(files, starts.tolist(), strict=True)
    parts = [sources[number][at : at + size] for number, at in places]
    return np.frombuffer(bytearray().join(parts), np.uint8)


def _fill(
    out: Array, opened: Mapping[int, _Rows], files: Sequence[int], rows: npt.NDArray[np.int64]
) -> None:
    if len(opened) == 1 and isinstance(whole := next(iter(opened.values())), np.ndarray):
        # All rows are in range. mode="clip" avoids the buffer copy of mode="raise".
        np.take(whole, rows, axis=0, out=out, mode="clip")
        return
    for place, (number, row) in enumerate(zip(files, rows.tolist(), strict=True)):
        out[place] = opened[number][row]


def _rows(file: ShardFile) -> Array | PackedRows:
    try:
        try:
            return file.rows()
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            _allow_more_files()
            return file.rows()
    except OSError as error:
        hint = "Check the permissions of the file."
        if error.errno == errno.EMFILE:
            hint = "Each shard takes one open file; `ulimit -n` shows and sets the limit."
        raise CacheError(f"Can't map {file.path}: {error.strerror or error}.", hint=hint) from None


def _allow_more_files() -> None:
    """Raise the soft limit on open files, often 1024, to the hard limit."""
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
