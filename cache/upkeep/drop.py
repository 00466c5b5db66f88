"""Remove from a cache what a verification found damaged, and nothing else."""

from __future__ import annotations

from pathlib import Path

from ..errors import ShardError, StorageError
from ..shards.info import Problem
from ..shards.shard import Shard
from ..store import FeatureCache
from .rewrite import codec_used, rewrite, working_alone
from .verify import BadFile, VerifyReport


def drop(cache: FeatureCache, report: VerifyReport) -> list[Problem]:
    """Remove what `report` found damaged; the sound rows of a shard are kept in a new one.

    Returns
    -------
    list of Problem
        What could not be mended.

    Raises
    ------
    CacheError
        If another process rewrites this cache.
    StorageError
        If the cache can't be written to or is full.
    """
    if report.fine:
        return []
    rows: dict[Path, set[int]] = {}
    for item in report.bad_items:
        if item.row is not None:
            rows.setdefault(item.path, set()).add(item.row)
    left: list[Problem] = []
    with working_alone(cache) as turn:
        for path, bad in rows.items():
            left += _drop_rows(path, bad)
            turn.renew()
        for file in report.bad_files:
            left += _mend(cache, file)
        touched = [item.fingerprint for item in report.bad_items]
        touched += [file.fingerprint for file in report.bad_files if file.fingerprint]
        for fingerprint in dict.fromkeys(touched):
            cache.index(fingerprint)
    return left


def _drop_rows(path: Path, bad: set[int]) -> list[Problem]:
    try:
        shard = Shard.open(path)
        kept = [row for row in range(shard.file.count) if row not in bad]
        rewrite(shard, kept, codec_used(shard.file))
    except FileNotFoundError:
        return []  # gone meanwhile
    except ShardError as error:
        return [Problem(path, str(error))]
    return []


def _mend(cache: FeatureCache, bad: BadFile) -> list[Problem]:
    if bad.kind == "unreadable":
        return [Problem(bad.path, bad.reason)]
    if bad.kind == "shard" and _opens(bad.path):
        return [Problem(bad.path, "It could not be read, and now it can: look after the disk.")]
    try:
        bad.path.unlink(missing_ok=True)
        if bad.kind == "fingerprint" and bad.fingerprint is not None:
            cache.prepare(bad.fingerprint)
    except StorageError:
        raise
    except OSError as error:
        return [Problem(bad.path, f"It can't be removed: {error.strerror or error}.")]
    return []


def _opens(path: Path) -> bool:
    try:
        Shard.open(path)
    except (ShardError, FileNotFoundError):
        return False
    return True
