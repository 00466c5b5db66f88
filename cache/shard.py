"""One HDF5 file of arrays, written whole or not at all, and never changed afterwards.

====================  ====================  ================================================
in the file           type                  meaning
====================  ====================  ================================================
``data``              (n, ...)              the arrays, contiguous, so that they can be mapped
``keys``              (n,) bytes            ASCII, padded with zeros
``checksums``         (n,) uint64           BLAKE2b (8 bytes, little-endian) of each array
``seconds``           (n,) float64          what computing each array took
``format``            attribute, text       ``fusion feature shard``
``format_version``    attribute, integer    1
``fingerprint``       attribute, text       canonical JSON
``checksum``          attribute, text       BLAKE2b (16 bytes, hexadecimal) of fingerprint, keys,
                                            checksums and seconds, one after the other
``created``           attribute, text       ISO 8601, UTC
====================  ====================  ================================================

All numbers are little-endian, all texts ASCII of fixed length. The shard's checksum covers the
arrays by way of their own checksums: it is checked whenever a shard is opened, without reading
the arrays.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from .errors import CacheError, ShardError, StorageError
from .fingerprint import Fingerprint

FORMAT = "fusion feature shard"
FORMAT_VERSION = 1
SUFFIX = ".h5"

_PAGE = 4096
_HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "unknown"
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>[0-9]+)\.tmp")
_ABANDONED_SECONDS = 3600.0

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Shard:
    """What is known of a shard without reading its arrays.

    Attributes
    ----------
    path : Path
        The file.
    fingerprint : Fingerprint
        Of all its arrays.
    keys : tuple of str
        Key of each row.
    checksums : array
        (n,) uint64.
    seconds : array
        (n,) float64, what computing each array took.
    offset : int
        Byte at which the arrays begin.
    size : int
        Bytes of the whole file.
    """

    path: Path
    fingerprint: Fingerprint
    keys: tuple[str, ...]
    checksums: npt.NDArray[np.uint64]
    seconds: npt.NDArray[np.float64]
    offset: int
    size: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *shape)."""
        return (len(self.keys), *self.fingerprint.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored: little-endian."""
        return stored_dtype(self.fingerprint)

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Read and check everything but the arrays.

        Raises
        ------
        ShardError
            If the file is no HDF5 file, cut short, foreign, of a newer format, or if what it
            says of itself does not agree.
        FileNotFoundError
            If there is no such file.
        """
        try:
            size = path.stat().st_size
            # A shard never changes, so it needs no lock, which network file systems may lack.
            with h5py.File(path, "r", locking=False) as file:
                _check_format(path, file)
                shard = _read(cls, path, file, size)
        except (FileNotFoundError, ShardError):
            raise
        except PermissionError:
            raise ShardError(f"{path} may not be read: permission denied.") from None
        except OSError as error:
            raise ShardError(
                f"{path} is no HDF5 file, or was cut short: {error}.", hint=_RECOMPUTE
            ) from None
        except (CacheError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise ShardError(f"{path} is damaged: {error}", hint=_RECOMPUTE) from None
        return shard

    def map(self) -> Array:
        """Map the arrays into memory: (n, ...), read-only.

        Raises
        ------
        CacheError
            If the file has gone or is not the one that was opened.
        """
        try:
            size = self.path.stat().st_size
            if size != self.size:
                raise ShardError(
                    f"{self.path} had {self.size} bytes and now has {size}; shards never change.",
                    hint=_RECOMPUTE,
                )
            mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        except FileNotFoundError:
            raise CacheError(
                f"{self.path} was there and has gone: something deletes files of this cache.",
                hint="Start again; what is missing is then computed again.",
            ) from None
        return mapped.view(np.ndarray)


_RECOMPUTE = "Delete the file; what was in it is then missing and computed again."


def stored_dtype(fingerprint: Fingerprint) -> np.dtype[Any]:
    """The dtype of a feature's arrays on disk."""
    return np.dtype(fingerprint.dtype).newbyteorder("<")


def checksum(array: Array) -> int:
    """Checksum of one array in the byte order of the disk; 64 bits."""
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.blake2b(data.reshape(-1).view(np.uint8).data, digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def _check_format(path: Path, file: h5py.File) -> None:
    if _text(file, "format") != FORMAT:
        raise ShardError(f"{path} is an HDF5 file, but no shard of a feature cache.")
    version = int(file.attrs["format_version"])
    if version > FORMAT_VERSION:
        raise ShardError(
            f"{path} has format version {version}; this program reads up to {FORMAT_VERSION}.",
            hint="It was written by a newer fusion: update (pip install -U modal-fusion).",
        )


def _read(cls: type[Shard], path: Path, file: h5py.File, size: int) -> Shard:
    fingerprint = Fingerprint.from_json(_text(file, "fingerprint"))
    raw_keys = file["keys"][:]
    checksums = file["checksums"][:]
    seconds = file["seconds"][:]
    if _shard_checksum(fingerprint, raw_keys, checksums, seconds) != _text(file, "checksum"):
        raise ValueError("its checksum does not fit its contents.")
    data = file["data"]
    shape = (len(raw_keys), *fingerprint.shape)
    if data.shape != shape or data.dtype != stored_dtype(fingerprint):
        raise ValueError(
            f"it holds {data.dtype} arrays of {data.shape}, "
            f"but its fingerprint says {fingerprint.dtype} of {shape}."
        )
    offset = data.id.get_offset()
    if offset is None:
        raise ValueError("its arrays are not contiguous.")
    if offset + data.nbytes > size:
        raise ValueError(f"its arrays end at byte {offset + data.nbytes} of {size}.")
    keys = tuple(key.decode("ascii") for key in raw_keys.tolist())
    return cls(path, fingerprint, keys, checksums, seconds, offset, size)


def _text(file: h5py.File, name: str) -> str:
    value = file.attrs.get(name)
    return value.decode("ascii") if isinstance(value, bytes) else ""


def write_shard(
    folder: Path,
    fingerprint: Fingerprint,
    keys: Sequence[str],
    arrays: Sequence[Array],
    seconds: Sequence[float],
) -> Path:
    """Write arrays as one new shard of `folder`, which must exist.

    When this returns, the shard is on the disk; when it does not, there is no shard.

    Parameters
    ----------
    keys : sequence of str
        At least one; ASCII.
    arrays : sequence of array
        One per key, of the fingerprint's shape and dtype.
    seconds : sequence of float
        What computing each array took.

    Returns
    -------
    Path
        The new file.

    Raises
    ------
    CacheError
        If keys or arrays do not fit.
    StorageError
        If the folder can't be written to or is full.
    """
    if not len(keys) == len(arrays) == len(seconds) > 0:
        raise CacheError(
            "A shard needs as many arrays as keys, and at least one: "
            f"given {len(keys)} keys, {len(arrays)} arrays, {len(seconds)} times."
        )
    raw_keys = np.array([_raw_key(key) for key in keys])
    stored = [_stored(key, array, fingerprint) for key, array in zip(keys, arrays, strict=True)]
    path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
    with written_whole(path) as temporary:
        _write(temporary, fingerprint, raw_keys, stored, np.array(seconds, dtype="<f8"))
    return path


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; it becomes `path` when that went well.

    After a kill at any moment `path` is there whole or not at all, and what was left under
    the temporary name says whose it was (see :func:`find_debris`).

    Raises
    ------
    StorageError
        If the folder can't be written to or is full.
    """
    folder = path.parent
    temporary = folder / f".{uuid.uuid4().hex}.{_HOST}.{os.getpid()}.tmp"
    try:
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(folder)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from None


def _write(
    path: Path,
    fingerprint: Fingerprint,
    keys: npt.NDArray[np.bytes_],
    arrays: Sequence[Array],
    seconds: npt.NDArray[np.float64],
) -> None:
    checksums = np.array([checksum(array) for array in arrays], dtype="<u8")
    # Arrays that begin on a page need as few pages as possible when they are mapped.
    alignment = {"alignment_threshold": _PAGE, "alignment_interval": _PAGE}
    # From 1.8 on HDF5 keeps checksums of its own structures. Without them, and with texts in
    # its heap (of variable length), one flipped bit crashes the process that opens the file.
    with h5py.File(path, "w", libver=("v108", "v108"), locking=False, **alignment) as file:
        shape = (len(arrays), *fingerprint.shape)
        data = file.create_dataset("data", shape, stored_dtype(fingerprint), track_times=False)
        for row, array in enumerate(arrays):
            data[row] = array
        file.create_dataset("keys", data=keys, track_times=False)
        file.create_dataset("checksums", data=checksums, track_times=False)
        file.create_dataset("seconds", data=seconds, track_times=False)
        file.attrs["format_version"] = FORMAT_VERSION
        texts = {
            "format": FORMAT,
            "fingerprint": fingerprint.canonical(),
            "checksum": _shard_checksum(fingerprint, keys, checksums, seconds),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        for name, text in texts.items():
            file.attrs[name] = np.bytes_(text.encode("ascii"))


def _shard_checksum(fingerprint: Fingerprint, *datasets: Array) -> str:
    digest = hashlib.blake2b(fingerprint.canonical().encode("ascii"), digest_size=16)
    for dataset in datasets:
        digest.update(dataset.tobytes())
    return digest.hexdigest()


def _raw_key(key: str) -> bytes:
    if not key or not key.isascii() or "\0" in key:
        raise CacheError(f"A key must be ASCII text and not empty, not {key!r}.")
    return key.encode("ascii")


def _stored(key: str, array: Array, fingerprint: Fingerprint) -> Array:
    problem = misfit(array, fingerprint)
    if problem:
        raise CacheError(f"The array of key {key!r} does not fit {fingerprint.name!r}: {problem}")
    return np.asarray(array).astype(stored_dtype(fingerprint), copy=False)


def misfit(array: Array, fingerprint: Fingerprint) -> str | None:
    """How an array breaks what its fingerprint declares, or None."""
    array = np.asarray(array)
    if array.shape == fingerprint.shape and array.dtype.name == fingerprint.dtype:
        return None
    return (
        f"declared are {fingerprint.dtype} arrays of shape {fingerprint.shape}, "
        f"this one is {array.dtype.name} of shape {array.shape}."
    )


def _sync(path: Path) -> None:
    """Make sure that a file's contents, or a folder's names, are on the disk."""
    if path.is_dir() and os.name == "nt":  # which can't open folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(folder: Path, error: OSError) -> StorageError:
    """What the operating system said about writing to `folder`, and what to do."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "Free some space and start again: what is finished stays."
    else:
        hint = "Choose a folder that you may write to; FUSION_CACHE sets the default."
    return StorageError(f"Can't write to the cache in {folder}: {reason}.", hint=hint)


# -- debris --------------------------------------------------------------------------


def find_debris(folder: Path) -> list[Path]:
    """Temporary files that nobody is writing any more.

    A file of a process of this machine is debris when that process is dead; any file when it
    has not changed for an hour.
    """
    found = []
    for path in sorted(folder.glob(".*.tmp")):
        match = _TEMPORARY.fullmatch(path.name)
        if match and (_dead(match["host"], int(match["pid"])) or _old(path)):
            found.append(path)
    return found


def remove_debris(folders: Iterable[Path], pids: Iterable[int]) -> None:
    """Remove what these processes of this machine, known to be dead, left unfinished."""
    for folder in folders:
        for pid in pids:
            for path in folder.glob(f".*.{_HOST}.{pid}.tmp"):
                with contextlib.suppress(OSError):
                    path.unlink()


def _old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
    except FileNotFoundError:
        return False  # finished in the meantime


def _dead(host: str, pid: int) -> bool:
    if host != _HOST or os.name != "posix":  # elsewhere signal 0 is not harmless
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
