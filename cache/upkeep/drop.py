"""Removal of the files and items that a verification found damaged."""

from __future__ import annotations

from pathlib import Path

from ..errors import ShardError, StorageError
from ..shards.info import Problem
from ..shards.shard import Shard
from ..store import FeatureCache
from .rewrite import codec_used, rewrite, working_alone
from .verify import BadFile, VerifyReport


def drop(cache: FeatureCache, report: VerifyReport) -> list[Problem]:
    """Remove the damaged files and items in `report`; write a shard's intact rows to a new shard.

    Returns
    -------
    list of Problem
        Damage that could not be repaired.

    Raises
    ------
    CacheError
        If another process rewrites this cache.
    StorageError
        If the cache is full or can't be written to.
    """
    if report.fine:
        return []
    rows: dict[Path, set[int]] = {}
    for item in report.bad_items:
        if item.row is not None:
            rows.setdefault(item.path, set()).add(item.row)
    problems: list[Problem] = []
    with working_alone(cache) as claims:
        for path, bad in rows.items():
            problems += _drop_rows(path, bad)
            claims.renew()
        for file in report.bad_files:
            problems += _repair_file(cache, file)
        touched = [item.fingerprint for item in report.bad_items]
        touched += [file.fingerprint for file in report.bad_files if file.fingerprint]
        for fingerprint in dict.fromkeys(touched):
            cache.index(fingerprint)
    return problems


def _drop_rows(path: Path, bad: set[int]) -> list[Problem]:
    try:
        shard = Shard.open(path)
        sound_rows = [row for row in range(shard.file.count) if row not in bad]
        rewrite(shard, sound_rows, codec_used(shard.file))
    except FileNotFoundError:
        return []  # removed meanwhile
    except ShardError as error:
        return [Problem(path, str(error))]
    return []


def _repair_file(cache: FeatureCache, bad: BadFile) -> list[Problem]:
    if bad.kind == "unreadable":
        return [Problem(bad.path, bad.reason)]
    if bad.kind == "shard" and _opens(bad.path):
        return [
            Problem(
                bad.path, "The file could not be read before, but can be read now: check the disk."
            )
        ]
    try:
        bad.path.unlink(missing_ok=True)
        if bad.kind == "fingerprint" and bad.fingerprint is not None:
            cache.prepare(bad.fingerprint)
    except StorageError:
        raise
    except OSError as error:
        return [Problem(bad.path, f"The file can't be removed: {error.strerror or error}.")]
    return []


def _opens(path: Path) -> bool:
    try:
        Shard.open(path)
    except (ShardError, FileNotFoundError):
        return False
    return True
