"""HDF5 files that appear whole or not at all."""

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
    """Give an HDF5 file to fill in memory; it is written to `path` when that went well.

    HDF5 never writes to the disk itself: when that is full it raises errors of several kinds,
    keeps what it could not write, and takes the process down when it ends.

    Parameters
    ----------
    large : int
        Bytes of the largest dataset. Where that is a page or more, it begins at a page, so that
        it needs as few as possible when it is mapped; in smaller files all begin at a
        multiple of 8.
    times : (int, int), optional
        Of last access and change that the file shall have, in nanoseconds.

    Raises
    ------
    StorageError
        If the folder can't be written to or is full.
    """
    buffer = io.BytesIO()
    threshold, interval = (_PAGE, _PAGE) if large >= _PAGE else (1, 8)
    # From 1.8 on HDF5 keeps checksums of its own structures. Without them, and with texts in
    # its heap (of variable length), one flipped bit crashes the process that opens the file.
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
        if times is not None:  # before anybody can see it: a change of time is a change
            os.utime(temporary, ns=times)


def text_column(texts: Iterable[str]) -> npt.NDArray[np.bytes_]:
    """Texts as a dataset holds them: (n,) bytes of one length, UTF-8."""
    # surrogateescape would keep names that are no UTF-8, but not for other readers.
    raw = np.array([text.replace("\0", "").encode("utf-8", "replace") for text in texts])
    return raw if raw.dtype.itemsize else raw.astype("S1")
