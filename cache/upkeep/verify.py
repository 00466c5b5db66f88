"""Verification of a cache: a report of all damaged files and items.

Shards are opened one by one. The index is checked against the shards, and is used only to name the
items of a file that can't be opened any more. Arrays are read without a memory map, because a bad
sector in a memory map would raise a signal instead of an error.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import CacheError, ShardError
from ..fingerprint import Fingerprint
from ..guarded_arrays import check_regular
from ..shards.catalogue import INDEX, Catalogue, index_is_sound, load_catalogue
from ..shards.info import Problem, closed_folder, in_one_line
from ..shards.layout import FINGERPRINT_FILE
from ..shards.listing import Listed, shards_in
from ..shards.rows import Array, ShardFile
from ..shards.shard import ForeignShardError, NewerShardError, Shard
from ..shards.usage import undisturbed
from ..store import FeatureCache, fingerprint_from_shards
from .rewrite import OnBytes

BadKind = Literal["shard", "index", "fingerprint", "unreadable"]


@dataclass(frozen=True, slots=True)
class BadItem:
    """One array that can't be used any more.

    Attributes
    ----------
    fingerprint : Fingerprint
        Fingerprint of the feature.
    key : str
        Key of the item.
    origin : str
        Location of the item's source; may be empty.
    group : str
        Group the item belongs to.
    path : Path
        Shard of the item.
    row : int or None
        Row in the shard; None if nothing in the shard can be used.
    reason : str
        What is wrong.
    """

    fingerprint: Fingerprint
    key: str
    origin: str
    group: str
    path: Path
    row: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class BadFile:
    """One damaged file of the cache.

    Attributes
    ----------
    path : Path
        The file, or a feature's folder that can't be read.
    kind : {"shard", "index", "fingerprint", "unreadable"}
        A repair removes a damaged shard, and rewrites index and fingerprint from the shards. A
        repair keeps files that the system does not allow to be read (``"unreadable"``).
    fingerprint : Fingerprint or None
        Fingerprint of the feature, if known.
    reason : str
        What is wrong.
    items : int
        Number of bad items in the file that the report lists; 0 if unknown.
    """

    path: Path
    kind: BadKind
    fingerprint: Fingerprint | None
    reason: str
    items: int = 0


@dataclass
class VerifyReport:
    """Result of :func:`verify`.

    Attributes
    ----------
    features, shards, items : int
        Number of features, shards and items that were read, including known bad items.
    bytes : int
        Bytes of the shards.
    seconds : float
        Time the verification took.
    bad_items : list of BadItem
        Arrays to compute again.
    bad_files : list of BadFile
        Damaged files.
    aside : list of Problem
        Sound files of a newer format or of another program. Repairs keep these files.
    """

    features: int = 0
    shards: int = 0
    items: int = 0
    bytes: int = 0
    seconds: float = 0.0
    bad_items: list[BadItem] = field(default_factory=list)
    bad_files: list[BadFile] = field(default_factory=list)
    aside: list[Problem] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        """True if nothing is damaged."""
        return not self.bad_items and not self.bad_files

    @property
    def repairable(self) -> bool:
        """True if :func:`fusion.cache.upkeep.drop.drop` would remove or rewrite anything."""
        return bool(self.bad_items) or any(file.kind != "unreadable" for file in self.bad_files)


def verify(cache: FeatureCache, on_progress: OnBytes | None = None) -> VerifyReport:
    """Read every array of every shard and compare it with its checksum.

    Verification needs memory for one array and the columns of one shard. Verification does not
    count as use of a shard. Files that appear or disappear during the verification are not
    reported as damaged.

    Raises
    ------
    CacheError
        If the cache's folder can't be read.
    """
    started = time.perf_counter()
    report = VerifyReport()
    folders = []
    for folder, id in cache.folders():
        closed = closed_folder(folder)
        if closed is None:
            folders.append((folder, id, shards_in(folder)))
        else:
            reason = f"The folder {closed.reason.removeprefix(f'{folder} ')}"
            report.bad_files.append(BadFile(folder, "unreadable", None, reason))
    total = sum(listed.size for _, _, listing in folders for listed in listing.values())

    def advance(size: int) -> None:
        report.bytes += size
        if on_progress is not None:
            on_progress(report.bytes, total)

    for folder, id, listing in folders:
        _Folder(folder, id, listing, report).check(advance)
    report.seconds = time.perf_counter() - started
    return report


class _Folder:
    """Verification of one feature's folder."""

    def __init__(
        self, folder: Path, id: str, listing: dict[str, Listed], report: VerifyReport
    ) -> None:
        self.folder = folder
        self.id = id
        self.listing = listing
        self.report = report
        self.fingerprint: Fingerprint | None = None
        self._numbers: dict[str, int] = {}  # numbers of the shards in the index, by file name

    def check(self, advance: Callable[[int], None]) -> None:
        problem = self._read_fingerprint()
        if problem and (self.listing or (self.folder / FINGERPRINT_FILE).exists()):
            self._bad_file(FINGERPRINT_FILE, "fingerprint", problem)
        elif problem:
            return  # an empty folder: a build is starting, or was killed
        self.report.features += 1
        index = self._read_index()
        for name, listed in sorted(self.listing.items()):
            with undisturbed(self.folder / name), contextlib.suppress(FileNotFoundError):
                self._check_shard(name, index)
                self.report.shards += 1
            advance(listed.size)

    def _read_fingerprint(self) -> str | None:
        """Read the fingerprint of this folder; return the fault of fingerprint.json, or None."""
        try:
            text = (self.folder / FINGERPRINT_FILE).read_text(encoding="ascii")
            fingerprint = Fingerprint.from_json(text)
            if fingerprint.id == self.id:
                self.fingerprint = fingerprint
                return None
            problem = f"The fingerprint has id {fingerprint.id}, but its folder has id {self.id}."
        except (OSError, UnicodeDecodeError, CacheError) as error:
            problem = f"The fingerprint can't be read: {error}"
        self.fingerprint = fingerprint_from_shards(self.folder, self.id)
        return problem

    # -- the index -------------------------------------------------------------------

    def _read_index(self) -> Catalogue | None:
        """Return the index entries of unchanged shards, or None if the index is unusable."""
        if not (self.folder / INDEX).exists():
            return None
        if not index_is_sound(self.folder):
            self._bad_file(
                INDEX, "index", "The index is damaged or of another version, and is ignored."
            )
            return None
        index = self._load_index(self.listing)
        self._numbers = {file.path.name: n for n, file in enumerate(index.files)} if index else {}
        return index

    def _load_index(self, listing: dict[str, Listed]) -> Catalogue | None:
        if self.fingerprint is None:
            return None
        return load_catalogue(self.folder, self.fingerprint, listing, lambda *_: None)

    def _compare_index(self, shard: Shard, index: Catalogue) -> None:
        number = self._numbers.get(shard.path.name)
        if number is None:
            return
        at = index.positions(number)
        columns = shard.columns
        is_equal = (
            index.files[number] == shard.file
            and np.array_equal(index.checksums[at], columns["checksums"])
            and np.array_equal(index.seconds[at], columns["seconds"], equal_nan=True)
            and [index.label(i) for i in at] == [shard.label(i) for i in range(len(at))]
        )
        if not is_equal:
            self._numbers = {}  # prevents a second report of the index
            self._bad_file(INDEX, "index", f"The index contradicts {shard.path.name}.")

    # -- shards ----------------------------------------------------------------------

    def _check_shard(self, name: str, index: Catalogue | None) -> None:
        path = self.folder / name
        try:
            check_regular(path)
            with path.open("rb"):
                pass
            shard = Shard.open(path)
            if shard.fingerprint.id != self.id:
                own = shard.fingerprint.folder_name
                raise ForeignShardError(
                    f"{path} holds another feature: it belongs in folder {own}."
                )
        except FileNotFoundError:
            raise
        except OSError as error:
            self._bad_file(
                name, "unreadable", f"The file can't be read: {error.strerror or error}."
            )
        except (NewerShardError, ForeignShardError) as error:
            self.report.aside.append(Problem(path, str(error)))
        except ShardError as error:
            self._bad_shard(name, in_one_line(error.message.removeprefix(f"{path} ")))
        else:
            if index is not None:
                self._compare_index(shard, index)
            self._check_arrays(shard)

    def _check_arrays(self, shard: Shard) -> None:
        try:
            for row, reason in _bad_rows(shard):
                bad = BadItem(shard.fingerprint, *shard.label(row), shard.path, row, reason)
                self.report.bad_items.append(bad)
        except FileNotFoundError:
            raise
        except CacheError as error:  # codec not installed
            self._bad_file(shard.path.name, "unreadable", str(error))
        self.report.items += shard.file.count

    def _bad_shard(self, name: str, reason: str) -> None:
        """Report a shard that can't be opened, and the items that the index lists for the shard."""
        index = self._load_index({name: Listed()})
        items = [
            BadItem(
                index.files[0].fingerprint, *index.label(at), self.folder / name, None,
                "The shard can't be read.",
            )
            for at in range(len(index))
        ] if index else []  # fmt: skip
        self.report.bad_items += items
        self.report.items += len(items)
        self._bad_file(name, "shard", f"The shard {reason}", len(items))

    def _bad_file(self, name: str, kind: BadKind, reason: str, items: int = 0) -> None:
        path = self.folder / name
        self.report.bad_files.append(BadFile(path, kind, self.fingerprint, reason, items))


def _bad_rows(shard: Shard) -> Iterator[tuple[int, str]]:
    """Yield each row that can't be read or does not match its checksum, with the reason."""
    arrays = _packed(shard.file) if shard.file.packed else _contiguous(shard.file)
    for row, array in enumerate(arrays):
        if isinstance(array, str):
            yield row, array
        elif not shard.is_sound(row, array):
            yield row, "The array does not match its checksum."


def _contiguous(file: ShardFile) -> Iterator[Array | str]:
    """Yield the bytes of each array in a reused buffer, or the reason why reading failed."""
    size = file.fingerprint.array_bytes
    array = np.empty(size, np.uint8)
    assert file.offset is not None
    with file.path.open("rb") as stream:
        for row in range(file.count):
            try:
                stream.seek(file.offset + row * size)
                read = stream.readinto(array.data)
            except OSError as error:
                yield f"The array can't be read: {error.strerror or error}."
                continue
            yield array if read == size else "The file ends before the array does."


def _packed(file: ShardFile) -> Iterator[Array | str]:
    rows = file.rows()
    for row in range(file.count):
        try:
            yield rows[row]
        except (CacheError, OSError, ValueError, RuntimeError, MemoryError) as error:
            yield (
                error.message
                if isinstance(error, CacheError)
                else f"The array can't be read: {error}"
            )
