"""Guard in front of HDF5 and NumPy files of strangers: examined before any data are read.

A hostile file can end the process (a virtual dataset of itself), read other files (external data,
links), wait forever (a named pipe) or claim 8 TiB. All HDF5 files of this project are opened by
:func:`open_hdf5`, and all datasets by :func:`dataset_of`. All NumPy files are read by
:func:`open_npy` and :func:`read_npz`.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

import h5py
import numpy as np
import numpy.typing as npt

# A compressed dataset may unpack to as many bytes, or to RATIO times the size of its file. Arrays
# of silence are compressed to a thousandth, but only small ones.
LIMIT = 256 << 20
RATIO = 100
# deflate, shuffle, fletcher32, szip, n-bit, scale-offset; h5py's lzf; hdf5plugin's blosc, lz4,
# bitshuffle, zstd, blosc2. Other filters would load a library.
FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000, 32001, 32004, 32008, 32015, 32026})


class UnsafeFileError(ValueError):
    """File with contents that are not read: the message names the part of the file."""


def open_hdf5(source: Path | BinaryIO, **options: Any) -> h5py.File:
    """Open a regular HDF5 file for reading; read datasets with :func:`dataset_of`.

    Parameters
    ----------
    source : Path or seekable binary file
        The file. A path must not name a pipe, a device or a folder.
    **options
        Arguments of ``h5py.File``.

    Raises
    ------
    OSError
        If the file can't be read, is no HDF5 file, or is not a regular file.
    """
    if isinstance(source, Path):
        check_regular(source)
        options = {"locking": False, **options}  # a shard never changes and needs no lock
    return h5py.File(source, "r", **options)


def check_regular(path: Path) -> os.stat_result:
    """Return the status of a regular file.

    Raises
    ------
    OSError
        If the file does not exist, can't be examined, or is not a regular file.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return status


def dataset_of(
    group: h5py.Group, name: str, filters: Collection[int] = FILTERS, *, texts: bool = False
) -> h5py.Dataset:
    """Return a dataset that can be read without harm.

    Parameters
    ----------
    name : str
        Name in the group; no path.
    filters : collection of int
        Numbers of the filters of HDF5 that the dataset may use.
    texts : bool
        Whether the dataset may hold texts of variable length.

    Raises
    ------
    KeyError
        If the group has no such dataset.
    UnsafeFileError
        If the dataset is a link, is stored elsewhere, is larger than its file allows, or uses other
        filters.
    """
    # h5py's low-level interface: a cache is opened often, and its index has eleven datasets.
    raw = name.encode()
    try:
        link = group.id.links.get_info(raw).type
    except (KeyError, RuntimeError):
        raise KeyError(f"there is no {name!r}") from None
    if link != h5py.h5l.TYPE_HARD:
        raise UnsafeFileError(f"its {name!r} is a link to another place.")
    entry = h5py.h5o.open(group.id, raw)
    if not isinstance(entry, h5py.h5d.DatasetID):
        raise UnsafeFileError(f"its {name!r} is not a dataset.")
    _check(entry, name, filters, texts=texts)
    return h5py.Dataset(entry)


def check_dataset(
    data: h5py.Dataset, filters: Collection[int] = FILTERS, *, texts: bool = False
) -> None:
    """Raise UnsafeFileError if a dataset can't be read without harm; see :func:`dataset_of`."""
    _check(data.id, (data.name or "dataset").strip("/"), filters, texts=texts)


def _check(data: h5py.h5d.DatasetID, name: str, filters: Collection[int], *, texts: bool) -> None:
    plist, dtype = data.get_create_plist(), data.dtype
    layout = plist.get_layout()
    if layout == h5py.h5d.VIRTUAL or plist.get_external_count():
        raise UnsafeFileError(f"the values of its {name!r} are in other files.")
    if dtype.hasobject and not (texts and h5py.check_string_dtype(dtype)):
        raise UnsafeFileError(f"its {name!r} holds {dtype}, not numbers.")
    for number in (plist.get_filter(n)[0] for n in range(plist.get_nfilters())):
        if number not in filters:
            raise UnsafeFileError(f"its {name!r} uses the filter {number}, which is not allowed.")
    size, nbytes = h5py.h5i.get_file_id(data).get_filesize(), _nbytes(data.shape, dtype)
    if layout == h5py.h5d.CONTIGUOUS and nbytes > size:
        raise UnsafeFileError(f"its {name!r} claims {nbytes} bytes in a file of {size}.")
    if layout == h5py.h5d.CHUNKED:
        nbytes = max(nbytes, _nbytes(plist.get_chunk(), dtype))
    if nbytes > max(LIMIT, RATIO * size):
        raise UnsafeFileError(f"its {name!r} claims {nbytes} bytes in a file of {size}.")


def attribute_of(file: h5py.File, name: str) -> Any:
    """Return an attribute whose size its file allows; None if the file has no such attribute.

    Raises
    ------
    UnsafeFileError
        If the attribute is larger than the file, or holds neither numbers nor fixed texts.
    """
    raw = name.encode()
    if not h5py.h5a.exists(file.id, raw):
        return None
    attribute = h5py.h5a.open(file.id, raw)
    dtype, shape = attribute.dtype, attribute.shape
    if dtype.hasobject:
        raise UnsafeFileError(f"its attribute {name!r} holds {dtype}.")
    if _nbytes(shape, dtype) > file.id.get_filesize():
        raise UnsafeFileError(f"its attribute {name!r} is larger than the file.")
    value = np.empty(shape, dtype)
    attribute.read(value)
    return value[()]


def _nbytes(shape: tuple[int, ...] | None, dtype: np.dtype[Any]) -> int:
    # Python's numbers: numpy's product overflows.
    return 0 if shape is None else math.prod(map(int, shape)) * dtype.itemsize


# -- NumPy ---------------------------------------------------------------------------


def open_npy(path: Path, *, mapped: bool) -> npt.NDArray[Any]:
    """Return the array in a .npy file, read-only if it is mapped.

    Raises
    ------
    OSError
        If the file can't be read, or is not a regular file.
    ValueError
        If the file is no .npy file, holds objects, or is shorter than its header claims.
    """
    size = check_regular(path).st_size
    with path.open("rb") as stream:
        shape, _, dtype = _header(stream)
        _check_claim(path.name, _nbytes(shape, dtype), size - stream.tell())
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return array


def is_npz(path: Path) -> bool:
    """Return whether a regular file is an archive of arrays.

    Raises
    ------
    OSError
        If the file can't be read, or is not a regular file.
    """
    check_regular(path)
    return zipfile.is_zipfile(path)


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays in an archive of NumPy, by name.

    Raises
    ------
    OSError
        If the file can't be read, or is not a regular file.
    ValueError
        If an entry is no array, holds objects, or is shorter than its header claims; or if all
        entries together are larger than the file allows.
    zipfile.BadZipFile
        If the file is no archive, or is damaged.
    """
    size = check_regular(path).st_size
    arrays: dict[str, npt.NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if total > max(LIMIT, RATIO * size):
            raise UnsafeFileError(f"its entries claim {total} bytes in a file of {size}.")
        for entry in entries:
            with archive.open(entry) as stream:
                shape, is_fortran, dtype = _header(stream)
                nbytes = _nbytes(shape, dtype)
                _check_claim(entry.filename, nbytes, entry.file_size)
                values = np.frombuffer(stream.read(nbytes), dtype)
            order: Literal["F", "C"] = "F" if is_fortran else "C"
            arrays[entry.filename.removesuffix(".npy")] = values.reshape(shape, order=order).copy()
    return arrays


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and dtype in the header of a .npy file; the data follow."""
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"it has version {version} of the format.")
    shape, is_fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise UnsafeFileError("it holds objects.")
    return shape, is_fortran, dtype


def _check_claim(name: str, claimed: int, stored: int) -> None:
    if claimed > stored:
        raise UnsafeFileError(f"{name} claims {claimed} bytes and has {stored}.")
