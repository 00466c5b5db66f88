"""One HDF5 file of arrays, written whole or not at all, and never changed afterwards.

====================  ====================  ================================================
in the file           type                  meaning
====================  ====================  ================================================
``data``              (n, ...)              the arrays: contiguous, so that they can be mapped,
                                            or packed, a compressed chunk for each
``keys``              (n,) bytes            ASCII
``checksums``         (n,) uint64           BLAKE2b (8 bytes, little-endian) of each array
``seconds``           (n,) float64          what computing each array took
``origins``           (n,) bytes            UTF-8: where each array's source was found
``groups``            (n,) bytes            UTF-8: what each belongs to, e.g. a corpus
``format``            attribute, text       ``fusion feature shard``
``format_version``    attribute, integer    2
``fingerprint``       attribute, text       canonical JSON
``checksum``          attribute, text       BLAKE2b (16 bytes, hexadecimal) of fingerprint, keys,
                                            checksums, seconds, origins and groups, one after
                                            the other
``created``           attribute, text       ISO 8601, UTC
====================  ====================  ================================================

All numbers are little-endian, all texts of fixed length, padded with zeros. The shard's
checksum covers the arrays by way of their own checksums: it is checked whenever a shard is
opened, without reading the arrays. Version 1 has no origins and groups and is never packed.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from ..errors import CacheError, ShardError
from ..fingerprint import Fingerprint
from .codecs import Codec, codec_options
from .hdf5 import hdf5_written_whole, text_column
from .rows import RECOMPUTE, Array, Label, ShardFile, stored_dtype
from .usage import undisturbed

FORMAT = "fusion feature shard"
FORMAT_VERSION = 2
SUFFIX = ".h5"

COLUMNS = ("keys", "checksums", "seconds", "origins", "groups")


@dataclass(frozen=True, slots=True)
class Entry:
    """One array to store, and what is known of it.

    Attributes
    ----------
    key : str
        ASCII.
    array : array
        Of the fingerprint's shape and dtype.
    seconds : float
        What computing it took.
    origin : str
        Where its source was found, for people and for computing it again.
    group : str
        What it belongs to, e.g. the name of a corpus.
    """

    key: str
    array: Array
    seconds: float = 0.0
    origin: str = ""
    group: str = ""


@dataclass(frozen=True, eq=False)
class Shard:
    """What is known of a shard without reading its arrays.

    Attributes
    ----------
    file : ShardFile
        Where the arrays are.
    columns : mapping of str to array
        ``keys``, ``checksums``, ``seconds``, ``origins`` and ``groups``, (n,) each, as in the file.
    """

    file: ShardFile
    columns: Mapping[str, Array]

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @property
    def fingerprint(self) -> Fingerprint:
        """Of all its arrays."""
        return self.file.fingerprint

    @property
    def keys(self) -> tuple[str, ...]:
        """Key of each row."""
        return tuple(key.decode("ascii") for key in self.columns["keys"].tolist())

    def label(self, row: int) -> Label:
        """Return the label of one array."""
        return Label.of(*(self.columns[name][row] for name in ("keys", "origins", "groups")))

    def is_sound(self, row: int, array: Array) -> bool:
        """Whether an array fits the checksum of a row."""
        return checksum(array) == int(self.columns["checksums"][row])

    def entries(self, rows: Sequence[int]) -> Iterator[Entry]:
        """Some rows, to be written elsewhere. Nothing is checked."""
        arrays = self.file.rows()
        for row in rows:
            key, origin, group = self.label(row)
            yield Entry(key, arrays[row], float(self.columns["seconds"][row]), origin, group)

    @classmethod
    def open(
        cls, path: Path, stream: BinaryIO | None = None, *, of: Fingerprint | None = None
    ) -> Shard:
        """Read and check everything but the arrays. That does not count as using it.

        Parameters
        ----------
        stream : seekable binary file, optional
            Where to read the file's bytes, if they do not lie at `path`.
        of : Fingerprint, optional
            What the arrays must have been made by.

        Raises
        ------
        ShardError
            If the file is no HDF5 file, cut short, foreign, of a newer format or another feature,
            or if what it says of itself does not agree.
        FileNotFoundError
            If there is no such file.
        """
        try:
            if stream is None:
                status = path.stat()
                size, time = status.st_size, status.st_mtime_ns
            else:
                size, time = stream.seek(0, 2), -1
            # A shard never changes, so it needs no lock, which network file systems may lack.
            with (
                contextlib.nullcontext() if stream else undisturbed(path),
                h5py.File(path if stream is None else stream, "r", locking=False) as file,
            ):
                _check_format(path, file)
                shard = _read(path, file, size, time)
        except (FileNotFoundError, ShardError):
            raise
        except PermissionError:
            raise ShardError(f"{path} may not be read: permission denied.") from None
        except OSError as error:
            raise ShardError(
                f"{path} is no HDF5 file, or was cut short: {error}.", hint=RECOMPUTE
            ) from None
        except (CacheError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise ShardError(f"{path} is damaged: {error}", hint=RECOMPUTE) from None
        if of is not None and shard.fingerprint != of:
            raise ShardError(f"{path} holds another feature: {shard.fingerprint.canonical()}")
        return shard


def checksum(array: Array) -> int:
    """Checksum of one array in the byte order of the disk; 64 bits."""
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.blake2b(data.reshape(-1).view(np.uint8).data, digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def _check_format(path: Path, file: h5py.File) -> None:
    if _text(file, "format") != FORMAT:
        raise ForeignShardError(f"{path} is an HDF5 file, but no shard of a feature cache.")
    version = int(file.attrs["format_version"])
    if version > FORMAT_VERSION:
        raise NewerShardError(
            f"{path} has format version {version}; this program reads up to {FORMAT_VERSION}.",
            hint="It was written by a newer fusion: update (pip install -U modal-fusion).",
        )


class NewerShardError(ShardError):
    """A shard that a newer version wrote: nothing is wrong with it, so nobody may delete it."""


class ForeignShardError(ShardError):
    """A sound HDF5 file that is not ours, so that nobody may delete it."""


def _read(path: Path, file: h5py.File, size: int, time: int) -> Shard:
    fingerprint = Fingerprint.from_json(_text(file, "fingerprint"))
    count = len(file["keys"])
    named = COLUMNS if int(file.attrs["format_version"]) > 1 else COLUMNS[:3]
    columns = {name: file[name][:] for name in named}
    if _shard_checksum(fingerprint, *columns.values()) != _text(file, "checksum"):
        raise ValueError("its checksum does not fit its contents.")
    if any(len(column) != count for column in columns.values()):
        raise ValueError("its columns differ in length.")
    data = file["data"]
    shape = (count, *fingerprint.shape)
    if data.shape != shape or data.dtype != stored_dtype(fingerprint):
        raise ValueError(
            f"it holds {data.dtype} arrays of {data.shape}, "
            f"but its fingerprint says {fingerprint.dtype} of {shape}."
        )
    nothing = np.zeros(count, "S1")
    return Shard(
        ShardFile(path, fingerprint, count, _offset(data, size), size, time),
        {"origins": nothing, "groups": nothing, **columns},
    )


def _offset(data: h5py.Dataset, size: int) -> int | None:
    if data.chunks is not None:
        if data.chunks != (1, *data.shape[1:]):
            raise ValueError("its arrays are neither contiguous nor a chunk each.")
        return None
    offset: int | None = data.id.get_offset()
    if offset is None:
        raise ValueError("its arrays are not contiguous.")
    if offset + data.nbytes > size:
        raise ValueError(f"its arrays end at byte {offset + data.nbytes} of {size}.")
    return offset


def _text(file: h5py.File, name: str) -> str:
    value = file.attrs.get(name)
    return value.decode("ascii") if isinstance(value, bytes) else ""


def write_shard(
    folder: Path,
    fingerprint: Fingerprint,
    entries: Sequence[Entry],
    codec: Codec | None = None,
    times: tuple[int, int] | None = None,
) -> Path:
    """Write arrays as one new shard of `folder`, which must exist.

    When this returns, the shard is on the disk; when it does not, there is no shard.

    Parameters
    ----------
    entries : sequence of Entry
        At least one.
    codec : str, optional
        Pack the arrays with it.
    times : (int, int), optional
        Of last access and change that the file shall have, in nanoseconds; now by default.

    Returns
    -------
    Path
        The new file.

    Raises
    ------
    CacheError
        If keys or arrays do not fit, or the codec is not installed.
    StorageError
        If the folder can't be written to or is full.
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
    """A key as shards hold it.

    Raises
    ------
    CacheError
        If it can't be one.
    """
    if not isinstance(key, str) or not key or not key.isascii() or "\0" in key:
        raise CacheError(f"A key must be ASCII text and not empty, not {key!r}.")
    return key.encode("ascii")


def _stored(entry: Entry, fingerprint: Fingerprint) -> Array:
    problem = misfit(entry.array, fingerprint)
    if problem:
        raise CacheError(
            f"The array of key {entry.key!r} does not fit {fingerprint.name!r}: {problem}"
        )
    return np.asarray(entry.array).astype(stored_dtype(fingerprint), copy=False)


def misfit(array: Array, fingerprint: Fingerprint) -> str | None:
    """How an array breaks what its fingerprint declares, or None."""
    array = np.asarray(array)
    if array.shape == fingerprint.shape and array.dtype.name == fingerprint.dtype:
        return None
    return (
        f"declared are {fingerprint.dtype} arrays of shape {fingerprint.shape}, "
        f"this one is {array.dtype.name} of shape {array.shape}."
    )
