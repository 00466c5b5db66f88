"""Rewriting of shards, to remove items, to pack or to unpack.

A shard never changes. The items to keep are written as a new shard, each array compared with its
checksum, and then the old shard is removed. If the process is
killed between the two steps, both shards exist. Nothing is lost, and the next packing removes the
duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CacheError, ShardError
from ..fingerprint import Fingerprint
from ..guarded_arrays import dataset_of, open_hdf5
from ..shards.catalogue import Catalogue
from ..shards.claims import Claims, alone
from ..shards.codecs import PACKING, Codec, codec_of, codec_options
from ..shards.files import storage_error
from ..shards.info import Problem
from ..shards.rows import RECOMPUTE, ShardFile
from ..shards.shard import Entry, Shard, write_shard
from ..shards.usage import undisturbed
from ..store import FeatureCache

OnBytes = Callable[[int, int], None]
"""Receives the number of bytes processed so far, and the total."""


def working_alone(cache: FeatureCache) -> AbstractContextManager[Claims]:
    """Return a context manager that prevents other processes from rewriting this cache's shards.

    Builds and readers continue. See :func:`fusion.cache.shards.claims.alone`.
    """
    message = f"Another process packs, unpacks, repairs or collects the cache in {cache.root}."
    return alone(cache.root, "upkeep", message)


def rewrite(shard: Shard, rows: Sequence[int], codec: Codec | None = None) -> Path | None:
    """Replace a shard by a new shard with some of the rows and the same time of last use.

    Parameters
    ----------
    rows : sequence of int
        Rows to keep. Without any row the shard is only removed.
    codec : str, optional
        Pack the new shard with this codec; contiguous by default.

    Returns
    -------
    Path or None
        The new file.

    Raises
    ------
    ShardError
        If an array does not match its checksum, or the shard was deleted. In these cases no
        file is changed.
    CacheError
        If the codec of the old or new shard is not installed.
    StorageError
        If the folder is full or can't be written to.
    """
    folder = shard.path.parent
    new = None
    try:
        if len(rows):
            with undisturbed(shard.path):
                new = _copy(shard, rows, codec)
        shard.path.unlink(missing_ok=True)
    except FileNotFoundError:
        raise ShardError(f"{shard.path} was deleted before it was rewritten.") from None
    except OSError as error:
        raise storage_error(folder, error) from None
    return new


def codec_used(file: ShardFile) -> Codec | None:
    """Return the codec with which a shard is packed, or None if the shard is contiguous."""
    if not file.packed:
        return None
    with undisturbed(file.path), open_hdf5(file.path) as opened:
        return codec_of(dataset_of(opened, "data", PACKING))


def _copy(shard: Shard, rows: Sequence[int], codec: Codec | None) -> Path:
    before = shard.path.stat()
    # The list ends with this function: on some systems a mapped file can't be removed.
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
    """Result of packing or unpacking.

    Attributes
    ----------
    shards : int
        Number of rewritten files.
    before, after : int
        Bytes of these files before and after.
    problems : list of Problem
        Files that were not rewritten, and why.
    """

    shards: int = 0
    before: int = 0
    after: int = 0
    problems: list[Problem] = field(default_factory=list)


def pack(
    cache: FeatureCache,
    codec: Codec,
    fingerprints: Iterable[Fingerprint] | None = None,
    on_progress: OnBytes | None = None,
) -> PackReport:
    """Compress the arrays of features that are rarely read; packed arrays stay readable.

    If the process is killed, nothing is lost, and the next call packs the remaining shards.
    Shards that are already packed stay unchanged, whatever their codec.

    Parameters
    ----------
    codec : {"zstd", "blosc2"}
        Both are lossless.
    fingerprints : iterable of Fingerprint, optional
        Features to pack; all by default.

    Raises
    ------
    CacheError
        If the codec is not installed, or another process rewrites this cache.
    StorageError
        If the cache is full or can't be written to.
    """
    chosen = cache.features() if fingerprints is None else list(fingerprints)
    for fingerprint in chosen:
        codec_options(codec, fingerprint)  # if packing is impossible, fail before any work
    return _convert(cache, chosen, codec, on_progress)


def unpack(
    cache: FeatureCache,
    fingerprints: Iterable[Fingerprint] | None = None,
    on_progress: OnBytes | None = None,
) -> PackReport:
    """Make packed arrays contiguous again, for reading at full speed. See :func:`pack`."""
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
    with working_alone(cache) as claims:
        todo = [_to_convert(cache.catalogue(f), packed=codec is None) for f in fingerprints]
        total = sum(file.size for files, _ in todo for file in files)
        finished = 0
        for fingerprint, (files, converted) in zip(fingerprints, todo, strict=True):
            for file in files:
                _convert_shard(file, converted, codec, report)
                claims.renew()
                finished += file.size
                if on_progress is not None:
                    on_progress(finished, total)
            cache.index(fingerprint)
    reported = {problem.path for problem in report.problems}
    report.problems += [problem for problem in cache.problems if problem.path not in reported]
    return report


_Converted = Mapping[str, ShardFile]


def _to_convert(catalogue: Catalogue, packed: bool) -> tuple[list[ShardFile], _Converted]:
    """Return the shards to convert, and the location of items that are already converted."""
    files = [file for file in catalogue.files if file.packed == packed]
    wanted = {
        key
        for number, file in enumerate(catalogue.files)
        if file.packed == packed
        for key in catalogue.keys[catalogue.positions(number)].tolist()
    }
    converted = {
        key.decode("ascii"): file
        for number, file in enumerate(catalogue.files)
        if file.packed != packed
        for key in catalogue.keys[catalogue.positions(number)].tolist()
        if key in wanted
    }
    return files, converted


def _convert_shard(
    file: ShardFile, converted: _Converted, codec: Codec | None, report: PackReport
) -> None:
    try:
        shard = Shard.open(file.path)
        keys = enumerate(shard.keys)
        rows = [row for row, key in keys if not _is_copied(shard, row, converted.get(key))]
        new = rewrite(shard, rows, codec)
    except FileNotFoundError:
        return  # removed after the listing
    except ShardError as error:
        report.problems.append(Problem(file.path, str(error)))
        return
    report.shards += 1
    report.before += file.size
    report.after += 0 if new is None else new.stat().st_size


def _is_copied(shard: Shard, row: int, other: ShardFile | None) -> bool:
    """Return whether another shard already has an undamaged copy of this array.

    An interrupted conversion leaves copies of arrays that were already converted.
    """
    if other is None:
        return False
    try:
        copy = Shard.open(other.path)
        place = copy.keys.index(shard.keys[row])
        (entry,) = copy.entries([place])
    except (FileNotFoundError, CacheError):
        return False
    return copy.is_sound(place, entry.array) and shard.is_sound(row, entry.array)
