"""Garbage collection: removal of debris, and of items that no run references.

Referenced items are never removed. Unreferenced items are removed if they were last used longer ago
than an age limit. If the cache has a budget in bytes, further unreferenced items are removed, the
least recently used first, until the cache fits the budget. A shard that also holds other items is
rewritten without the removed items.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from ..errors import CacheError, StorageError
from ..fingerprint import Fingerprint
from ..shards.catalogue import INDEX
from ..shards.claims import CLAIMS, Claims, remove_dead_claim
from ..shards.info import Problem
from ..shards.layout import FINGERPRINT_FILE
from ..shards.shard import Shard
from ..shards.usage import last_used
from ..store import FeatureCache
from .gc_plan import Bounds, Plan, References, ShardPlan, make_plan
from .rewrite import OnBytes, codec_used, rewrite, working_alone


@dataclass
class FeatureGc:
    """Result of a collection for one feature; an item stored in two shards counts twice.

    Attributes
    ----------
    fingerprint : Fingerprint
        Fingerprint of the feature.
    removed, removed_bytes : int
        Number of removed items, and the bytes that removing them frees. A rewritten shard frees
        slightly fewer bytes.
    shards : int
        Number of removed files.
    rewritten : int
        Number of files rewritten with fewer items.
    referenced, referenced_bytes : int
        Number and bytes of items kept because a run references them.
    unreferenced, unreferenced_bytes : int
        Number and bytes of items kept although no run references them.
    """

    fingerprint: Fingerprint
    removed: int = 0
    removed_bytes: int = 0
    shards: int = 0
    rewritten: int = 0
    referenced: int = 0
    referenced_bytes: int = 0
    unreferenced: int = 0
    unreferenced_bytes: int = 0


@dataclass
class GcReport:
    """Result of a collection; in a dry run, the plan of the collection.

    Attributes
    ----------
    features : list of FeatureGc
        Results by feature, sorted by name.
    debris : list of Path
        Temporary files and claims that killed processes left.
    registrations : list of Path
        Registrations of removed run directories.
    folders : list of Path
        Folders of features without any remaining item.
    before : int
        Bytes of all shards before the collection.
    missed : int
        Bytes by which the budget is exceeded; 0 if the budget is met or no budget was given.
    problems : list of Problem
        Files that could not be read or removed.
    """

    features: list[FeatureGc] = field(default_factory=list)
    debris: list[Path] = field(default_factory=list)
    registrations: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    before: int = 0
    missed: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def freed(self) -> int:
        """Bytes of removed shards and items."""
        return sum(feature.removed_bytes for feature in self.features)


def collect(
    cache: FeatureCache,
    referenced: References,
    *,
    older_than: timedelta | None = None,
    max_bytes: int | None = None,
    dry_run: bool = False,
    obsolete: Collection[Path] | None = None,
    on_progress: OnBytes | None = None,
) -> GcReport:
    """Remove debris, and unreferenced items that exceed the age limit or the budget.

    Without `older_than` and `max_bytes` only debris is removed. Running readers and builds are not
    disturbed: an open shard stays readable, and readers find its remaining rows in the new shard.

    Parameters
    ----------
    referenced : mapping of str to collection of str
        Keys that are never removed, by fingerprint id.
    older_than : timedelta, optional
        Remove items that were last used or written longer ago than this.
    max_bytes : int, optional
        After the removal by age, remove the least recently used shards until all shards together
        take at most this many bytes. Items used within the last hour, or within `older_than` if
        `older_than` is shorter, are kept.
    dry_run : bool
        Only report what would be removed.
    obsolete : collection of Path, optional
        Registrations of runs to remove; by default those of this machine's removed run directories.

    Raises
    ------
    CacheError
        If another process rewrites this cache.
    StorageError
        If the cache can't be written to.
    """
    if not cache.root.is_dir():
        return GcReport()
    bounds = Bounds.of(older_than, max_bytes)
    if dry_run:
        return _report(make_plan(cache, referenced, bounds, obsolete))
    with _alone_or_full(cache) as claims:

        def advance(finished: int, total: int) -> None:
            claims.renew()
            if on_progress is not None:
                on_progress(finished, total)

        plan = make_plan(cache, referenced, bounds, obsolete)
        _carry_out(cache, plan, advance)
        return _report(plan)


@contextlib.contextmanager
def _alone_or_full(cache: FeatureCache) -> Iterator[Claims]:
    """Exclude other upkeep processes, unless the disk is too full for a claim.

    The collection must also run on a full disk.
    """
    with contextlib.ExitStack() as stack:
        try:
            claims = stack.enter_context(working_alone(cache))
        except StorageError as error:
            cause = error.__context__
            if not isinstance(cause, OSError) or cause.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            claims = Claims(cache.root)
        yield claims


def _report(plan: Plan) -> GcReport:
    """Return the report of a plan, or of the removals that were carried out."""
    report = GcReport(
        [_count(f, plan.shards[f]) for f in plan.features],
        plan.debris,
        plan.registrations,
        plan.folders,
        plan.before,
        problems=plan.problems,
    )
    over = plan.before - report.freed - plan.max_bytes
    report.missed = int(over) if over > 0 else 0
    return report


def _count(fingerprint: Fingerprint, shards: Iterable[ShardPlan]) -> FeatureGc:
    feature = FeatureGc(fingerprint)
    for shard in shards:
        rest = shard.count - len(shard.referenced)
        feature.referenced += len(shard.referenced)
        feature.referenced_bytes += shard.size - shard.free
        if shard.going:
            feature.removed += rest
            feature.removed_bytes += shard.free
            feature.shards += not shard.referenced
            feature.rewritten += bool(shard.referenced)
        else:
            feature.unreferenced += rest
            feature.unreferenced_bytes += shard.free
    return feature


# -- carrying out --------------------------------------------------------------------


def _carry_out(cache: FeatureCache, plan: Plan, advance: OnBytes) -> None:
    """Carry out a plan; add removals that are impossible to `plan.problems`."""
    plan.debris = [path for path in plan.debris if _unlink(path, plan)]
    plan.registrations = [path for path in plan.registrations if _unlink(path, plan)]
    going = [shard for shards in plan.shards.values() for shard in shards if shard.going]
    total, finished = sum(shard.size for shard in going), 0
    # Remove whole shards first: rewriting needs space, and the disk may be full.
    for shard in sorted(going, key=lambda shard: len(shard.referenced)):
        shard.going = _remove(shard, plan)
        finished += shard.size
        advance(finished, total)
    for fingerprint, shards in plan.shards.items():
        folder = cache.folder(fingerprint)
        if folder in plan.folders:
            if not _clear(folder):
                plan.folders.remove(folder)
                cache.prepare(fingerprint)
        elif any(shard.going for shard in shards):
            cache.index(fingerprint)


def _remove(shard: ShardPlan, plan: Plan) -> bool:
    try:
        if last_used(shard.path) != shard.last_used:
            plan.problems.append(Problem(shard.path, "The shard was used during the collection."))
            return False
        if not shard.referenced:
            shard.path.unlink()
            return True
        opened = Shard.open(shard.path)
        rewrite(opened, shard.referenced, codec_used(opened.file))
    except FileNotFoundError:
        return True  # another process removed the shard
    except (CacheError, OSError) as error:
        plan.problems.append(Problem(shard.path, str(error)))
        return False
    return True


def _unlink(path: Path, plan: Plan) -> bool:
    try:
        is_claim = path.parent.name == CLAIMS and not path.name.startswith(".")
        if is_claim:  # a builder may have taken over the claim meanwhile
            return remove_dead_claim(path)
        path.unlink(missing_ok=True)
    except OSError as error:
        plan.problems.append(
            Problem(path, f"The file can't be removed: {error.strerror or error}.")
        )
        return False
    return True


def _clear(folder: Path) -> bool:
    """Remove a folder without shards; return False if new files have appeared in the folder."""
    try:
        for name in (INDEX, FINGERPRINT_FILE):
            (folder / name).unlink(missing_ok=True)
        if (folder / CLAIMS).is_dir():
            (folder / CLAIMS).rmdir()
        folder.rmdir()
    except OSError:
        return False
    return True
