"""Writing of HDF5 files that are never visible incomplete."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from .files import written_whole

_PAGE = 4096


@contextlib.contextmanager
def hdf5_written_whole(
    path: Path, *, large: int = 0, times: tuple[int, int] | None = None
) -> Iterator[h5py.File]:
    """Yield an HDF5 file in memory, which is written to `path` if the context succeeds.

    HDF5 itself never writes to the disk, because HDF5 can crash when a disk is full. HDF5 then
    raises errors of several kinds, keeps the unwritten data, and crashes the process when the
    process ends.

    Parameters
    ----------
    large : int
        Bytes of the largest dataset. If `large` is at least a memory page (4,096 bytes), datasets
        of a page or more begin at a page boundary. Mapping such a dataset then needs as few pages
        as possible. Otherwise all datasets begin at a multiple of 8 bytes.
    times : (int, int), optional
        Access and modification time to give the file, in nanoseconds.

    Raises
    ------
    StorageError
        If the folder is full or can't be written to.
    """
    buffer = io.BytesIO()
    threshold, interval = (_PAGE, _PAGE) if large >= _PAGE else (1, 8)
    # From format 1.8 on, HDF5 keeps checksums of its metadata. Without these checksums, a flipped
    # bit can crash the reader. The same holds for texts of variable length, which are in a heap.
    with h5py.File(
        buffer,
        "w",
        libver=("v108", "v108"),
        alignment_threshold=threshold,
        alignment_interval=interval,
    ) as file:
        yield file
    with written_whole(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
        if times is not None:  # before the file is visible: shards never change
            os.utime(temporary, ns=times)


def text_column(texts: Iterable[str]) -> npt.NDArray[np.bytes_]:
    """Return texts as stored in a dataset: (n,) bytes of one length, UTF-8."""
    # surrogateescape would keep names that are not UTF-8, but other readers could not decode them.
    raw = np.array([text.replace("\0", "").encode("utf-8", "replace") for text in texts])
    return raw if raw.dtype.itemsize else raw.astype("S1")
