"""Shard: an HDF5 file of arrays, never visible incomplete and never changed.

====================  ====================  ================================================
in the file           type                  meaning
====================  ====================  ================================================
``data``              (n, ...)              the arrays: contiguous, so that they can be mapped,
                                            or packed, one compressed chunk per array
``keys``              (n,) bytes            ASCII
``checksums``         (n,) uint64           BLAKE2b (8 bytes, little-endian) of each array
``seconds``           (n,) float64          computing time of each array
``origins``           (n,) bytes            UTF-8: where each array's source was found
``groups``            (n,) bytes            UTF-8: each array's group, e.g. a corpus
``format``            attribute, text       ``fusion feature shard``
``format_version``    attribute, integer    2
``fingerprint``       attribute, text       canonical JSON
``checksum``          attribute, text       BLAKE2b (16 bytes, hexadecimal) of fingerprint, keys,
                                            checksums, seconds, origins and groups, in this
                                            order
``created``           attribute, text       ISO 8601, UTC
====================  ====================  ================================================

All numbers are little-endian. All texts have a fixed length and are padded with zeros. The shard's
checksum covers the arrays through their checksums. The shard's checksum is checked whenever a shard
is opened, without reading the arrays. Shards of format version 1 have no origins and
groups and are never packed.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from ..errors import CacheError, ShardError
from ..fingerprint import Fingerprint
from ..guarded_arrays import attribute_of, check_regular, dataset_of, open_hdf5
from .codecs import PACKING, Codec, codec_options
from .hdf5 import hdf5_written_whole, text_column
from .listing import SUFFIX
from .rows import RECOMPUTE, Array, Label, PackedRows, ShardFile, stored_dtype
from .usage import undisturbed

FORMAT = "fusion feature shard"
FORMAT_VERSION = 2

COLUMNS = ("keys", "checksums", "seconds", "origins", "groups")


@dataclass(frozen=True, slots=True)
class Entry:
    """One array to store, with its key and description.

    Attributes
    ----------
    key : str
        Key of the array; ASCII.
    array : array
        Array of the fingerprint's shape and dtype.
    seconds : float
        Time that computing the array took.
    origin : str
        Location of the array's source, for messages and for computing the array again.
    group : str
        Group the array belongs to, e.g. the name of a corpus.
    """

    key: str
    array: Array
    seconds: float = 0.0
    origin: str = ""
    group: str = ""


@dataclass(frozen=True, eq=False)
class Shard:
    """A shard's file and columns: everything except its arrays.

    Attributes
    ----------
    file : ShardFile
        Location of the arrays.
    columns : mapping of str to array
        ``keys``, ``checksums``, ``seconds``, ``origins`` and ``groups``, (n,) each, as in the file.
    damaged : tuple of int
        Rows that are known not to match their checksums.
    """

    file: ShardFile
    columns: Mapping[str, Array]
    damaged: tuple[int, ...] = ()

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @property
    def fingerprint(self) -> Fingerprint:
        """Fingerprint of all arrays in the shard."""
        return self.file.fingerprint

    @property
    def keys(self) -> tuple[str, ...]:
        """Key of each row."""
        return tuple(key.decode("ascii") for key in self.columns["keys"].tolist())

    def label(self, row: int) -> Label:
        """Return the label of one row's array."""
        return Label.of(*(self.columns[name][row] for name in ("keys", "origins", "groups")))

    def is_sound(self, row: int, array: Array) -> bool:
        """Return whether an array matches the checksum of a row."""
        return checksum(array) == int(self.columns["checksums"][row])

    def checked(self) -> Shard:
        """Read all arrays, and return the shard with the rows that don't match their checksums.

        Arrays that are packed with a codec that is not installed can't be checked, and count as
        sound until they are read.
        """
        try:
            arrays = self.file.rows()
        except ShardError:
            return replace(self, damaged=tuple(range(self.file.count)))
        except CacheError:  # deleted meanwhile, or the codec is not installed
            return self
        return replace(
            self, damaged=tuple(n for n in range(self.file.count) if not self._matches(arrays, n))
        )

    def _matches(self, arrays: Array | PackedRows, row: int) -> bool:
        try:
            return self.is_sound(row, arrays[row])
        except ShardError:
            return False

    def entries(self, rows: Sequence[int]) -> Iterator[Entry]:
        """Yield some rows as entries to write to another shard, without checking them."""
        arrays = self.file.rows()
        for row in rows:
            key, origin, group = self.label(row)
            yield Entry(key, arrays[row], float(self.columns["seconds"][row]), origin, group)

    @classmethod
    def open(
        cls, path: Path, stream: BinaryIO | None = None, *, of: Fingerprint | None = None
    ) -> Shard:
        """Open a shard: read and check everything except the arrays.

        Opening a shard does not count as a use of the shard.

        Parameters
        ----------
        stream : seekable binary file, optional
            The file's contents, if the contents are not stored at `path`.
        of : Fingerprint, optional
            Fingerprint that the shard must have.

        Raises
        ------
        ShardError
            If the file is not an HDF5 file, is truncated, foreign, or of a newer format, belongs to
            another feature, or is inconsistent.
        FileNotFoundError
            If the file does not exist.
        """
        try:
            if stream is None:
                status = check_regular(path)
                size, time = status.st_size, status.st_mtime_ns
            else:
                size, time = stream.seek(0, 2), -1
            with (
                contextlib.nullcontext() if stream else undisturbed(path),
                open_hdf5(path if stream is None else stream) as file,
            ):
                _check_format(path, file)
                shard = _read(path, file, size, time)
        except (FileNotFoundError, ShardError):
            raise
        except PermissionError:
            raise ShardError(f"{path} may not be read: permission denied.") from None
        except OSError as error:
            raise ShardError(
                f"{path} is not an HDF5 file, or was cut short: {error.strerror or error}.",
                hint=RECOMPUTE,
            ) from None
        except (CacheError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise ShardError(f"{path} is damaged: {error}", hint=RECOMPUTE) from None
        if of is not None and shard.fingerprint != of:
            raise ShardError(f"{path} holds another feature: {shard.fingerprint.canonical()}")
        return shard


def checksum(array: Array) -> int:
    """Return the 64-bit checksum of one array in the byte order of the disk."""
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.blake2b(data.reshape(-1).view(np.uint8).data, digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def _check_format(path: Path, file: h5py.File) -> None:
    if _text(file, "format") != FORMAT:
        raise ForeignShardError(f"{path} is an HDF5 file, but not a shard of a feature cache.")
    version = int(attribute_of(file, "format_version"))
    if version > FORMAT_VERSION:
        raise NewerShardError(
            f"{path} has format version {version}; this program reads up to {FORMAT_VERSION}.",
            hint="It was written by a newer fusion: update (pip install -U modal-fusion).",
        )


class NewerShardError(ShardError):
    """Shard written by a newer version of fusion.

    The file is not damaged. Therefore no command may delete the file.
    """


class ForeignShardError(ShardError):
    """Intact HDF5 file that fusion did not write for this feature; no command may delete it."""


def _read(path: Path, file: h5py.File, size: int, time: int) -> Shard:
    fingerprint = Fingerprint.from_json(_text(file, "fingerprint"))
    column_names = COLUMNS if int(attribute_of(file, "format_version")) > 1 else COLUMNS[:3]
    columns = {name: dataset_of(file, name, ())[:] for name in column_names}
    count = len(columns["keys"])
    if _shard_checksum(fingerprint, *columns.values()) != _text(file, "checksum"):
        raise ValueError("its checksum does not match its contents.")
    if any(len(column) != count for column in columns.values()):
        raise ValueError("its columns differ in length.")
    data = dataset_of(file, "data", PACKING)
    shape = (count, *fingerprint.shape)
    if data.shape != shape or data.dtype != stored_dtype(fingerprint):
        raise ValueError(
            f"it holds {data.dtype} arrays of {data.shape}, "
            f"but its fingerprint declares {fingerprint.dtype} of {shape}."
        )
    empty_texts = np.zeros(count, "S1")
    return Shard(
        ShardFile(path, fingerprint, count, _offset(data, size), size, time),
        {"origins": empty_texts, "groups": empty_texts, **columns},
    )


def _offset(data: h5py.Dataset, size: int) -> int | None:
    if data.chunks is not None:
        if data.chunks != (1, *data.shape[1:]):
            raise ValueError("its arrays are neither contiguous nor one chunk each.")
        return None
    offset: int | None = data.id.get_offset()
    if offset is None:
        raise ValueError("its arrays are not contiguous.")
    if offset + data.nbytes > size:
        raise ValueError(f"its arrays end at byte {offset + data.nbytes} of {size}.")
    return offset


def _text(file: h5py.File, name: str) -> str:
    value = attribute_of(file, name)
    return value.decode("ascii") if isinstance(value, bytes) else ""


def write_shard(
    folder: Path,
    fingerprint: Fingerprint,
    entries: Sequence[Entry],
    codec: Codec | None = None,
    times: tuple[int, int] | None = None,
) -> Path:
    """Write arrays as one new shard of `folder`, which must exist.

    When this function returns, the shard is on the disk. When this function raises, no shard was
    written.

    Parameters
    ----------
    entries : sequence of Entry
        At least one.
    codec : str, optional
        Compress the arrays with this codec.
    times : (int, int), optional
        Access and modification time to give the file, in nanoseconds; now by default.

    Returns
    -------
    Path
        The new file.

    Raises
    ------
    CacheError
        If a key is invalid, an array does not match the fingerprint, or the codec is not installed.
    StorageError
        If the folder is full or can't be written to.
    """
    if not entries:
        raise CacheError("A shard needs at least one array.")
    arrays = [_stored(entry, fingerprint) for entry in entries]
    columns: list[Array] = [
        np.array([raw_key(entry.key) for entry in entries]),
        np.array([checksum(array) for array in arrays], dtype="<u8"),
        np.array([entry.seconds for entry in entries], dtype="<f8"),
        text_column(entry.origin for entry in entries),
        text_column(entry.group for entry in entries),
    ]
    path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
    options = codec_options(codec, fingerprint) if codec else {}
    mapped = 0 if codec else sum(array.nbytes for array in arrays)
    with hdf5_written_whole(path, large=mapped, times=times) as file:
        _fill(file, fingerprint, arrays, dict(zip(COLUMNS, columns, strict=True)), options)
    return path


def _fill(
    file: h5py.File,
    fingerprint: Fingerprint,
    arrays: Sequence[Array],
    columns: dict[str, Array],
    options: dict[str, Any],
) -> None:
    shape = (len(arrays), *fingerprint.shape)
    dtype = stored_dtype(fingerprint)
    data = file.create_dataset("data", shape, dtype, track_times=False, **options)
    for row, array in enumerate(arrays):
        data[row] = array
    for name, column in columns.items():
        file.create_dataset(name, data=column, track_times=False)
    file.attrs["format_version"] = FORMAT_VERSION
    texts = {
        "format": FORMAT,
        "fingerprint": fingerprint.canonical(),
        "checksum": _shard_checksum(fingerprint, *columns.values()),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for name, text in texts.items():
        file.attrs[name] = np.bytes_(text.encode("ascii"))


def _shard_checksum(fingerprint: Fingerprint, *columns: Array) -> str:
    digest = hashlib.blake2b(fingerprint.canonical().encode("ascii"), digest_size=16)
    for column in columns:
        digest.update(column.tobytes())
    return digest.hexdigest()


def raw_key(key: str) -> bytes:
    """Return a key as bytes, the form in which shards store it.

    Raises
    ------
    CacheError
        If `key` is not a valid key: ASCII text, not empty.
    """
    if not isinstance(key, str) or not key or not key.isascii() or "\0" in key:
        raise CacheError(f"A key must be ASCII text of 1 character or more, not {key!r}.")
    return key.encode("ascii")


def _stored(entry: Entry, fingerprint: Fingerprint) -> Array:
    problem = misfit(entry.array, fingerprint)
    if problem:
        raise CacheError(
            f"The array of key {entry.key!r} does not match {fingerprint.name!r}: {problem}"
        )
    return np.asarray(entry.array).astype(stored_dtype(fingerprint), copy=False)


def misfit(array: Array, fingerprint: Fingerprint) -> str | None:
    """Return how an array differs from its fingerprint in shape or dtype, or None."""
    array = np.asarray(array)
    if array.shape == fingerprint.shape and array.dtype.name == fingerprint.dtype:
        return None
    return (
        f"the fingerprint declares {fingerprint.dtype} arrays of shape {fingerprint.shape}, "
        f"but this one is {array.dtype.name} of shape {array.shape}."
    )
