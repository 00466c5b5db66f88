"""Feature cache on another machine, read-only: requested arrays are copied and checked once.

The remote cache is read as files through fsspec: a served cache, any web server that lists its
folders, an object store, or another folder. The index of the remote cache is trusted; an array is
accepted only if it matches its checksum.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import CacheError, ShardError
from ..fingerprint import Fingerprint
from ..guarded_arrays import dataset_of, open_hdf5
from ..shards.catalogue import INDEX, Catalogue, load_catalogue
from ..shards.codecs import PACKING, missing_codec
from ..shards.info import Problem
from ..shards.layout import FEATURE_FOLDER, FINGERPRINT_FILE, is_shard
from ..shards.listing import Listed
from ..shards.rows import Array, ShardFile, most_items
from ..shards.shard import Entry, Shard, checksum, write_shard
from .folder import RemoteFolder

_MAX_GAP = 2**16  # reading so many bytes between two arrays is cheaper than a second request
_MAX_REQUEST = 8 * 2**20

_Positions = npt.NDArray[np.int64]


class Upstream:
    """Feature cache on another machine, read-only; connects when first used.

    Paths of files of the remote cache are relative to the remote folder.

    Parameters
    ----------
    url : str
        ``http://HOST:PORT``, ``s3://BUCKET/FOLDER``, or any other URL that fsspec supports.
    token : str, optional
        Token for http and https; by default ``FUSION_CACHE_TOKEN``, or the contents of the file
        that ``FUSION_CACHE_TOKEN_FILE`` names.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._remote = RemoteFolder(url, token)
        self._problems: dict[str, Problem] = {}

    def __str__(self) -> str:
        """Return the URL, without user and password."""
        return str(self._remote)

    @property
    def problems(self) -> list[Problem]:
        """Files that could not be used so far."""
        return list(self._problems.values())

    def features(self) -> list[Fingerprint]:
        """Return the fingerprints of all features in the remote cache, sorted by name.

        Raises
        ------
        CacheError
            If the address does not exist or does not answer, or the server rejects the token.
        """
        fingerprints = (self._read_fingerprint(name) for name in sorted(self._root()))
        return [fingerprint for fingerprint in fingerprints if fingerprint is not None]

    def catalogue(self, fingerprint: Fingerprint) -> Catalogue:
        """Return the remote catalogue of a feature, empty if the feature does not exist.

        Raises
        ------
        CacheError
            If the remote cache can't be read; see :meth:`features`.
        """
        folder = fingerprint.folder_name
        self._remote.expect(fingerprint.array_bytes)
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
        """Copy those arrays of `keys` that the remote cache has into a local cache.

        If an array is not where the catalogue says, its shard may have been packed or rewritten.
        The method then reads the catalogue and the array once more. An array that still does not
        match its checksum is left out and reported in `problems`. Arrays that were copied before an
        error are kept. If two processes copy the same array at once, both copies are valid, and a
        reader gets either copy.

        Parameters
        ----------
        prepare : callable
            Creates the feature's folder in the local cache, with its fingerprint; returns the
            folder.

        Returns
        -------
        int
            Number of items copied.

        Raises
        ------
        CacheError
            If the remote cache can't be read (see :meth:`features`), the connection breaks, or
            arrays are packed with a codec that is not installed.
        StorageError
            If the local cache is full or can't be written to.
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

    # -- listing ---------------------------------------------------------------------

    def _root(self) -> dict[str, int]:
        try:
            names = self._remote.names()
        except FileNotFoundError:
            raise CacheError(
                f"There is no cache at {self}: the address does not exist.",
                hint="Check the address. A web server must list its folders.",
            ) from None
        if not any(map(FEATURE_FOLDER.fullmatch, names)):
            self._add_problem(
                ".",
                f"There is no feature cache at {self}: it lists no folder of a feature "
                "(NAME-ID). Give the URL that fusion cache serve prints, or that of the folder "
                "that contains these folders.",
            )
        return names

    def _shards_in(self, folder: str) -> dict[str, Listed]:
        try:
            names = self._remote.names(folder)
        except FileNotFoundError:
            self._root()  # raises if the address is wrong; a missing feature is not an error
            return {}
        if FINGERPRINT_FILE not in names:
            self._root()  # some servers answer to every address
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
        except FileNotFoundError:  # deleted after the listing
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
        """Copy items as one shard; return the keys that could not be read, and the error."""
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
            f"the array of {key!r}, number {row} in {path}, is cut off or does not match its "
            "checksum, and was not copied. To compute the array again, run fusion cache verify "
            "--repair on that machine.",
        )

    def _read(
        self, catalogue: Catalogue, positions: _Positions
    ) -> tuple[dict[int, Array], CacheError | None]:
        """Return the arrays that match their checksums, by position, and the last error."""
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
        """Yield each position with its array, or with the error of the array's request."""
        shards, rows = catalogue.place(positions)
        parts: list[_Part] = []
        broken = False  # no need to wait until the other requests fail
        for number in np.unique(shards).tolist():
            in_shard = shards == number
            whole = _Part(
                catalogue.files[number], rows[in_shard].tolist(), positions[in_shard].tolist()
            )
            if whole.file.packed:
                for position, array in [] if broken else self._unpacked(whole):
                    broken = isinstance(array, CacheError)
                    yield position, array
            else:
                parts += whole.split()
        results = self._remote.read_ranges([part.range() for part in parts])
        for part, data in zip(parts, results, strict=True):
            if isinstance(data, CacheError):
                yield part.positions[0], data
            elif isinstance(data, bytes):
                yield from part.arrays(data)

    def _unpacked(self, part: _Part) -> Iterator[tuple[int, Array | CacheError]]:
        arrays: list[tuple[int, Array | CacheError]] = []
        try:
            with open_hdf5(self._remote.open(part.file.path.as_posix())) as file:
                data = dataset_of(file, "data", PACKING)
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
            pass  # a removed or damaged shard counts like arrays with wrong checksums
        return iter(arrays)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one shard, in ascending order, and the rows' positions in the catalogue."""

    file: ShardFile
    rows: list[int]
    positions: list[int]

    def split(self) -> list[_Part]:
        """Split into parts of limited size with neighbouring rows; each part needs one request."""
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
        """Return (path, start, end) of the bytes from the first row to the last."""
        size = self.file.fingerprint.array_bytes
        offset = self.file.offset or 0
        start, end = offset + self.rows[0] * size, offset + (self.rows[-1] + 1) * size
        return self.file.path.as_posix(), start, end

    def arrays(self, data: bytes) -> Iterator[tuple[int, Array]]:
        """Yield each array that is complete in the bytes of :meth:`range`, with its position."""
        shape = self.file.fingerprint.shape
        size = self.file.fingerprint.array_bytes
        for row, position in zip(self.rows, self.positions, strict=True):
            start = (row - self.rows[0]) * size
            if len(raw := data[start : start + size]) == size:
                yield position, np.frombuffer(raw, self.file.dtype).reshape(shape)


def _positions(catalogue: Catalogue, keys: Sequence[str]) -> _Positions:
    """Return the catalogue positions of keys, without repeats, sorted by shard and row."""
    positions = catalogue.find(keys)
    return np.unique(positions[positions >= 0])


def _entry(catalogue: Catalogue, position: int, array: Array) -> Entry:
    key, origin, group = catalogue.label(position)
    return Entry(key, array, float(catalogue.seconds[position]), origin, group)
