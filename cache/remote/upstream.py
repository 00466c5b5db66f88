"""A cache on another machine, to read from: what is wanted is copied, and checked, once.

It is read through fsspec, as files: a served cache, any web server that lists its folders, an
object store, another folder. What its index says is believed, each array only when it fits its
checksum.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import CacheError, ShardError
from ..fingerprint import Fingerprint
from ..shards.catalogue import INDEX, Catalogue, Listed, load_catalogue
from ..shards.codecs import missing_codec
from ..shards.info import Problem
from ..shards.layout import FEATURE_FOLDER, FINGERPRINT_FILE, is_shard
from ..shards.rows import Array, ShardFile, most_items
from ..shards.shard import Entry, Shard, checksum, write_shard
from .folder import RemoteFolder

_MAX_GAP = 2**16  # bytes between two arrays that cost less than another request
_MAX_REQUEST = 8 * 2**20

_Positions = npt.NDArray[np.int64]


class Upstream:
    """A feature cache elsewhere, read-only. Connects when first asked something.

    Paths of its files are relative to it.

    Parameters
    ----------
    url : str
        Where: ``http://HOST:PORT``, ``s3://BUCKET/FOLDER``, or any other that fsspec knows.
    token : str, optional
        For http and https; by default ``FUSION_CACHE_TOKEN``, or what is in the file that
        ``FUSION_CACHE_TOKEN_FILE`` names.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._remote = RemoteFolder(url, token)
        self._problems: dict[str, Problem] = {}

    def __str__(self) -> str:
        """The URL, without user and password."""
        return str(self._remote)

    @property
    def problems(self) -> list[Problem]:
        """What could not be used in what was asked so far."""
        return list(self._problems.values())

    def features(self) -> list[Fingerprint]:
        """All features there, sorted by name.

        Raises
        ------
        CacheError
            If there is no such place, it does not answer, or it asks for another token.
        """
        found = (self._read_fingerprint(name) for name in sorted(self._root()))
        return [fingerprint for fingerprint in found if fingerprint is not None]

    def catalogue(self, fingerprint: Fingerprint) -> Catalogue:
        """Every item of a feature there; none where it has no such feature.

        Raises
        ------
        CacheError
            As :meth:`features`.
        """
        folder = fingerprint.folder_name
        listing = self._shards_in(folder)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
            index = Path(temporary, INDEX)
            if listing:
                self._remote.probe(f"{folder}/{FINGERPRINT_FILE}")
                # Without an index the shards are opened one by one.
                with contextlib.suppress(FileNotFoundError):
                    self._remote.download(f"{folder}/{INDEX}", index)

            open_shard = partial(self._open_shard, fingerprint)
            return load_catalogue(Path(folder), fingerprint, listing, open_shard, index)

    def fetch(
        self, fingerprint: Fingerprint, keys: Sequence[str], prepare: Callable[[Fingerprint], Path]
    ) -> int:
        """Copy the arrays of `keys`, as far as they are there, into a local cache.

        What can't be read as the catalogue says is looked for once more: the other machine may
        have packed or rewritten its shard. An array that does not match its checksum then either
        is left out and reported in `problems`. What was copied before an error stays. Where
        two processes copy the same at once, both copies are right, and either is read.

        Parameters
        ----------
        prepare : callable
            Makes the feature's folder in the local cache, with its fingerprint in it.

        Returns
        -------
        int
            Items copied.

        Raises
        ------
        CacheError
            As :meth:`features`; when the connection breaks; or if arrays are packed by a codec
            that is not installed.
        StorageError
            If the local cache can't be written to or is full.
        """
        catalogue = self.catalogue(fingerprint)
        wanted = [key.decode("ascii") for key in catalogue.keys[_positions(catalogue, keys)]]
        if not wanted:
            return 0
        into = prepare(fingerprint)
        step = most_items(fingerprint)
        copied = 0
        for start in range(0, len(wanted), step):
            piece = wanted[start : start + step]
            lacking, error = self._copy(catalogue, piece, into)
            if lacking:
                self._remote.forget()
                catalogue = self.catalogue(fingerprint)
                lacking, error = self._copy(catalogue, lacking, into)
            if error is not None:
                raise error
            for position in _positions(catalogue, lacking).tolist():
                self._report_bad(catalogue, position)
            copied += len(piece) - len(lacking)
        return copied

    # -- what is there ---------------------------------------------------------------

    def _root(self) -> dict[str, int]:
        try:
            names = self._remote.names()
        except FileNotFoundError:
            raise CacheError(
                f"There is no cache at {self}: nothing is found there.",
                hint="Check the address. A web server must list its folders.",
            ) from None
        if not any(map(FEATURE_FOLDER.fullmatch, names)):
            self._add_problem(
                ".",
                f"There is no feature cache at {self}: it lists no folder of a feature "
                "(NAME-ID). Give the URL that fusion cache serve prints, or that of the folder "
                "which holds them.",
            )
        return names

    def _shards_in(self, folder: str) -> dict[str, Listed]:
        try:
            names = self._remote.names(folder)
        except FileNotFoundError:
            self._root()  # a wrong address is worth an error, a feature that is missing is not
            return {}
        if FINGERPRINT_FILE not in names:
            self._root()  # of a server that answers to every address
            return {}
        return {name: Listed(size) for name, size in names.items() if is_shard(name)}

    def _read_fingerprint(self, folder: str) -> Fingerprint | None:
        match = FEATURE_FOLDER.fullmatch(folder)
        if match is None:
            return None
        path = f"{folder}/{FINGERPRINT_FILE}"
        try:
            text = self._remote.read(path)
        except FileNotFoundError:
            return None
        try:
            return Fingerprint.from_json(text.decode("ascii"), match["id"])
        except (UnicodeDecodeError, CacheError) as error:
            self._report(path, f"{path}: {error}")
            return None

    def _open_shard(self, fingerprint: Fingerprint, path: Path, _: Listed) -> Shard | None:
        try:
            return Shard.open(path, self._remote.open(path.as_posix()), of=fingerprint)
        except FileNotFoundError:  # deleted since it was listed
            return None
        except ShardError as error:
            self._report(path.as_posix(), str(error))
            return None

    def _report(self, path: str, reason: str) -> None:
        self._add_problem(path, f"{self}: {reason}")

    def _add_problem(self, path: str, text: str) -> None:
        self._problems[text] = Problem(Path(path), text)

    # -- copying ---------------------------------------------------------------------

    def _copy(
        self, catalogue: Catalogue, keys: Sequence[str], into: Path
    ) -> tuple[list[str], CacheError | None]:
        """Copy items as one shard; the keys of those that could not be read, and why."""
        good, error = self._read(catalogue, _positions(catalogue, keys))
        entries = [_entry(catalogue, p, array) for p, array in sorted(good.items())]
        if entries:
            write_shard(into, catalogue.files[0].fingerprint, entries)
        copied = {entry.key for entry in entries}
        return [key for key in keys if key not in copied], error

    def _report_bad(self, catalogue: Catalogue, position: int) -> None:
        (number,), (row,) = catalogue.place(np.array([position]))
        path = catalogue.files[number].path.as_posix()
        key = catalogue.keys[position].decode()
        self._report(
            path,
            f"the array of {key!r}, number {row} in {path}, is cut off or does not fit its "
            "checksum; it was not taken. There, fusion cache verify --repair computes it again.",
        )

    def _read(
        self, catalogue: Catalogue, positions: _Positions
    ) -> tuple[dict[int, Array], CacheError | None]:
        """Those arrays that fit their checksums, by position; and what kept others away."""
        good: dict[int, Array] = {}
        failure = None
        for position, array in self._arrays(catalogue, positions):
            if isinstance(array, CacheError):
                failure = array
            elif checksum(array) == int(catalogue.checksums[position]):
                good[position] = array
        return good, failure

    def _arrays(
        self, catalogue: Catalogue, positions: _Positions
    ) -> Iterator[tuple[int, Array | CacheError]]:
        """Each array, or the error of the request that it was part of."""
        shards, rows = catalogue.place(positions)
        parts: list[_Part] = []
        broken = False  # no need to wait until the others break as well
        for number in np.unique(shards).tolist():
            mine = shards == number
            whole = _Part(catalogue.files[number], rows[mine].tolist(), positions[mine].tolist())
            if whole.file.packed:
                for position, array in [] if broken else self._unpacked(whole):
                    broken = isinstance(array, CacheError)
                    yield position, array
            else:
                parts += whole.split()
        found = self._remote.read_ranges([part.range() for part in parts])
        for part, data in zip(parts, found, strict=True):
            if isinstance(data, CacheError):
                yield part.positions[0], data
            elif isinstance(data, bytes):
                yield from part.arrays(data)

    def _unpacked(self, part: _Part) -> Iterator[tuple[int, Array | CacheError]]:
        arrays: list[tuple[int, Array | CacheError]] = []
        try:
            with h5py.File(self._remote.open(part.file.path.as_posix()), "r") as file:
                data: h5py.Dataset = file["data"]
                if missing := missing_codec(data):
                    raise missing
                for row, position in zip(part.rows, part.positions, strict=True):
                    try:
                        arrays.append((position, data[row]))
                    except OSError:  # damaged
                        continue
        except CacheError as error:
            arrays.append((part.positions[0], error))
        except (OSError, KeyError, ValueError, RuntimeError):
            pass  # gone, or damaged: these arrays don't fit their checksums
        return iter(arrays)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one shard, in order, and their positions in the catalogue."""

    file: ShardFile
    rows: list[int]
    positions: list[int]

    def split(self) -> list[_Part]:
        """Such that each is worth one request: near each other, and not too much."""
        size = self.file.fingerprint.array_bytes
        parts: list[_Part] = []
        for row, position in zip(self.rows, self.positions, strict=True):
            last = parts[-1].rows if parts else []
            near = last and (row - last[-1] - 1) * size <= _MAX_GAP
            if near and (row + 1 - last[0]) * size <= _MAX_REQUEST:
                last.append(row)
                parts[-1].positions.append(position)
            else:
                parts.append(_Part(self.file, [row], [position]))
        return parts

    def range(self) -> tuple[str, int, int]:
        """(path, start, end) of the bytes from the first row to the last."""
        size = self.file.fingerprint.array_bytes
        offset = self.file.offset or 0
        start, end = offset + self.rows[0] * size, offset + (self.rows[-1] + 1) * size
        return self.file.path.as_posix(), start, end

    def arrays(self, data: bytes) -> Iterator[tuple[int, Array]]:
        """Each array in the bytes of :meth:`range`; none where some are lacking."""
        shape = self.file.fingerprint.shape
        size = self.file.fingerprint.array_bytes
        for row, position in zip(self.rows, self.positions, strict=True):
            start = (row - self.rows[0]) * size
            if len(raw := data[start : start + size]) == size:
                yield position, np.frombuffer(raw, self.file.dtype).reshape(shape)


def _positions(catalogue: Catalogue, keys: Sequence[str]) -> _Positions:
    """Of those keys that are there, each once, by shard and row."""
    found = catalogue.find(keys)
    return np.unique(found[found >= 0])


def _entry(catalogue: Catalogue, position: int, array: Array) -> Entry:
    key, origin, group = catalogue.label(position)
    return Entry(key, array, float(catalogue.seconds[position]), origin, group)
