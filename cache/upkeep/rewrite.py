"""Shards written anew: without some of their items, packed, or unpacked.

A shard never changes. What shall stay of it is written as a new one, each array compared with
its checksum on the way, and then the old one is removed. A kill in between leaves both, which
hold the same: nothing is lost, and packing again clears that up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import h5py

from ..errors import CacheError, ShardError
from ..fingerprint import Fingerprint
from ..shards.catalogue import Catalogue
from ..shards.claims import Claims, alone
from ..shards.codecs import Codec, codec_of, codec_options
from ..shards.files import storage_error
from ..shards.info import Problem
from ..shards.rows import RECOMPUTE, ShardFile
from ..shards.shard import Entry, Shard, write_shard
from ..shards.usage import undisturbed
from ..store import FeatureCache

OnBytes = Callable[[int, int], None]
"""Receives how many bytes are done, and how many there are."""


def working_alone(cache: FeatureCache) -> AbstractContextManager[Claims]:
    """Keep other processes from rewriting the shards of this cache meanwhile; builds and readers
    go on. See :func:`fusion.cache.shards.claims.alone`."""
    others = f"Another process packs, unpacks, repairs or clears out the cache in {cache.root}."
    return alone(cache.root, "upkeep", others)


def rewrite(shard: Shard, rows: Sequence[int], codec: Codec | None = None) -> Path | None:
    """Replace a shard by one of some of its rows, which counts as used when the old one was.

    Parameters
    ----------
    rows : sequence of int
        What to keep. With none the shard is removed.
    codec : str, optional
        Pack the new shard; contiguous by default.

    Returns
    -------
    Path or None
        The new file.

    Raises
    ------
    ShardError
        If an array does not match its checksum. Then everything stays as it was.
    CacheError
        If the codec of the old or new shard is not installed.
    StorageError
        If the folder can't be written to or is full.
    """
    folder = shard.path.parent
    new = None
    try:
        if len(rows):
            with undisturbed(shard.path):
                new = _copy(shard, rows, codec)
        shard.path.unlink(missing_ok=True)
    except FileNotFoundError:
        raise ShardError(f"{shard.path} has gone since it was found.") from None
    except OSError as error:
        raise storage_error(folder, error) from None
    return new


def codec_used(file: ShardFile) -> Codec | None:
    """What a shard is packed with; None if it is contiguous."""
    if not file.packed:
        return None
    with undisturbed(file.path), h5py.File(file.path, "r", locking=False) as opened:
        return codec_of(opened["data"])


def _copy(shard: Shard, rows: Sequence[int], codec: Codec | None) -> Path:
    before = shard.path.stat()
    # The list ends with this function: mapped files can't be removed everywhere.
    times = before.st_atime_ns, before.st_mtime_ns
    entries = list(_checked(shard, rows))
    return write_shard(shard.path.parent, shard.fingerprint, entries, codec, times)


def _checked(shard: Shard, rows: Sequence[int]) -> Iterator[Entry]:
    for row, entry in zip(rows, shard.entries(rows), strict=True):
        if not shard.is_sound(row, entry.array):
            raise ShardError(
                f"{shard.path}: the array of {entry.key!r} does not match its checksum.",
                hint=RECOMPUTE,
            )
        yield entry


# -- packing -------------------------------------------------------------------------


@dataclass
class PackReport:
    """What packing or unpacking did.

    Attributes
    ----------
    shards : int
        Files that were rewritten.
    before, after : int
        Bytes of these files.
    left : list of Problem
        Files that stayed as they were, and why.
    """

    shards: int = 0
    before: int = 0
    after: int = 0
    left: list[Problem] = field(default_factory=list)


def pack(
    cache: FeatureCache,
    codec: Codec,
    fingerprints: Iterable[Fingerprint] | None = None,
    on_progress: OnBytes | None = None,
) -> PackReport:
    """Compress the arrays of features that are seldom read; they stay readable as they are.

    Killed at any moment, it loses nothing; called again, it takes up the rest. Shards that are
    packed already stay, whatever their codec.

    Parameters
    ----------
    codec : {"zstd", "blosc2"}
        Both without loss.
    fingerprints : iterable of Fingerprint, optional
        Which features; all by default.

    Raises
    ------
    CacheError
        If the codec is not installed, or another process rewrites this cache.
    StorageError
        If the cache can't be written to or is full.
    """
    chosen = cache.features() if fingerprints is None else list(fingerprints)
    for fingerprint in chosen:
        codec_options(codec, fingerprint)  # before the work: whether it is possible at all
    return _convert(cache, chosen, codec, on_progress)


def unpack(
    cache: FeatureCache,
    fingerprints: Iterable[Fingerprint] | None = None,
    on_progress: OnBytes | None = None,
) -> PackReport:
    """Make the arrays contiguous again, to be read at full speed. See :func:`pack`."""
    chosen = cache.features() if fingerprints is None else list(fingerprints)
    return _convert(cache, chosen, None, on_progress)


def _convert(
    cache: FeatureCache,
    fingerprints: Sequence[Fingerprint],
    codec: Codec | None,
    on_progress: OnBytes | None,
) -> PackReport:
    report = PackReport()
    if not fingerprints:
        return report
    with working_alone(cache) as turn:
        todo = [_to_convert(cache.catalogue(f), packed=codec is None) for f in fingerprints]
        total = sum(file.size for files, _ in todo for file in files)
        done = 0
        for fingerprint, (files, there) in zip(fingerprints, todo, strict=True):
            for file in files:
                _convert_shard(file, there, codec, report)
                turn.renew()
                done += file.size
                if on_progress is not None:
                    on_progress(done, total)
            cache.index(fingerprint)
    report.left += cache.problems
    return report


_There = Mapping[str, ShardFile]


def _to_convert(catalogue: Catalogue, packed: bool) -> tuple[list[ShardFile], _There]:
    """The shards to rewrite; and of their keys those that another shard has as they shall be."""
    files = [file for file in catalogue.files if file.packed == packed]
    wanted = {
        key
        for number, file in enumerate(catalogue.files)
        if file.packed == packed
        for key in catalogue.keys[catalogue.positions(number)].tolist()
    }
    there = {
        key.decode("ascii"): file
        for number, file in enumerate(catalogue.files)
        if file.packed != packed
        for key in catalogue.keys[catalogue.positions(number)].tolist()
        if key in wanted
    }
    return files, there


def _convert_shard(file: ShardFile, there: _There, codec: Codec | None, report: PackReport) -> None:
    try:
        shard = Shard.open(file.path)
        keys = enumerate(shard.keys)
        rows = [row for row, key in keys if not _is_copied(shard, row, there.get(key))]
        new = rewrite(shard, rows, codec)
    except FileNotFoundError:
        return  # removed since it was listed
    except ShardError as error:
        report.left.append(Problem(file.path, str(error)))
        return
    report.shards += 1
    report.before += file.size
    report.after += 0 if new is None else new.stat().st_size


def _is_copied(shard: Shard, row: int, there: ShardFile | None) -> bool:
    """Whether another shard has this very array, undamaged: what a killed call left."""
    if there is None:
        return False
    try:
        copy = Shard.open(there.path)
        place = copy.keys.index(shard.keys[row])
        (entry,) = copy.entries([place])
    except (FileNotFoundError, CacheError):
        return False
    return copy.is_sound(place, entry.array) and shard.is_sound(row, entry.array)
