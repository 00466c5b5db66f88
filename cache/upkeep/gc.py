"""Keep a cache in bounds: remove debris, and items that no run refers to.

What is referenced is never removed. Of the rest, what was used last long enough ago goes, or
the least recently used first until the cache fits a budget. A shard of which something stays
is written anew without the rest.
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
from .gc_plan import Bounds, Looked, Plan, References, make_plan
from .rewrite import OnBytes, codec_used, rewrite, working_alone


@dataclass
class FeatureGc:
    """What becomes of one feature. An item that lies in two shards counts twice.

    Attributes
    ----------
    fingerprint : Fingerprint
        Of the feature.
    removed, removed_bytes : int
        Items that go, and what that frees; a little more where a shard is rewritten.
    shards : int
        Files that go.
    rewritten : int
        Files that are written anew with fewer items.
    referenced, referenced_bytes : int
        Items that stay because they are referenced.
    unreferenced, unreferenced_bytes : int
        Items that stay though nothing refers to them.
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
    """What was removed, or in a dry run would be.

    Attributes
    ----------
    features : list of FeatureGc
        By name.
    debris : list of Path
        Temporary files and claims that killed processes left.
    registrations : list of Path
        Of run directories that have gone.
    folders : list of Path
        Of features that hold nothing any more.
    before : int
        Bytes of all shards.
    missed : int
        Bytes by which the budget could not be met; 0 if it was, or there was none.
    left : list of Problem
        Files that could not be looked into or removed.
    """

    features: list[FeatureGc] = field(default_factory=list)
    debris: list[Path] = field(default_factory=list)
    registrations: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    before: int = 0
    missed: int = 0
    left: list[Problem] = field(default_factory=list)

    @property
    def freed(self) -> int:
        """Bytes of shards that go."""
        return sum(feature.removed_bytes for feature in self.features)


def collect(
    cache: FeatureCache,
    referenced: References,
    *,
    older_than: timedelta | None = None,
    max_bytes: int | None = None,
    dry_run: bool = False,
    gone: Collection[Path] | None = None,
    on_progress: OnBytes | None = None,
) -> GcReport:
    """Remove debris, and what is not referenced as far as age or budget ask for it.

    Without `older_than` and `max_bytes` only debris goes. Readers and builds at work are not
    disturbed: a shard that is open stays readable, and its rows are found again elsewhere.

    Parameters
    ----------
    referenced : mapping of str to collection of str
        Fingerprint id -> keys that are never removed.
    older_than : timedelta, optional
        Remove what was last used, or written, longer ago.
    max_bytes : int, optional
        Then remove the least recently used shards, until all shards together have no more
        bytes than this. What was used within the last hour, or within `older_than` if that is
        shorter, is spared.
    dry_run : bool
        Only say what would be removed.
    gone : collection of Path, optional
        Registrations of runs to forget; by default those of this machine's run directories
        that are not there any more.

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
        return _report(make_plan(cache, referenced, bounds, gone))
    with _alone_or_full(cache) as turn:

        def advance(done: int, total: int) -> None:
            turn.renew()
            if on_progress is not None:
                on_progress(done, total)

        plan = make_plan(cache, referenced, bounds, gone)
        _carry_out(cache, plan, advance)
        return _report(plan)


@contextlib.contextmanager
def _alone_or_full(cache: FeatureCache) -> Iterator[Claims]:
    """Alone, if the disk has space for saying so: where it is full, clearing out must go on."""
    with contextlib.ExitStack() as stack:
        try:
            turn = stack.enter_context(working_alone(cache))
        except StorageError as error:
            cause = error.__context__
            if not isinstance(cause, OSError) or cause.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            turn = Claims(cache.root)
        yield turn


def _report(plan: Plan) -> GcReport:
    """What goes by this plan, or went, if it was carried out."""
    report = GcReport(
        [_count(f, plan.shards[f]) for f in plan.features],
        plan.debris,
        plan.registrations,
        plan.folders,
        plan.before,
        left=plan.left,
    )
    over = plan.before - report.freed - plan.max_bytes
    report.missed = int(over) if over > 0 else 0
    return report


def _count(fingerprint: Fingerprint, shards: Iterable[Looked]) -> FeatureGc:
    feature = FeatureGc(fingerprint)
    for shard in shards:
        rest = shard.count - len(shard.kept)
        feature.referenced += len(shard.kept)
        feature.referenced_bytes += shard.size - shard.free
        if shard.going:
            feature.removed += rest
            feature.removed_bytes += shard.free
            feature.shards += not shard.kept
            feature.rewritten += bool(shard.kept)
        else:
            feature.unreferenced += rest
            feature.unreferenced_bytes += shard.free
    return feature


# -- carrying out --------------------------------------------------------------------


def _carry_out(cache: FeatureCache, plan: Plan, advance: OnBytes) -> None:
    """Do it. What turns out to be impossible is taken out of the plan and told in it."""
    plan.debris = [path for path in plan.debris if _unlink(path, plan)]
    plan.registrations = [path for path in plan.registrations if _unlink(path, plan)]
    going = [shard for shards in plan.shards.values() for shard in shards if shard.going]
    total, done = sum(shard.size for shard in going), 0
    # Whole ones first: rewriting takes space, of which there may be none.
    for shard in sorted(going, key=lambda shard: len(shard.kept)):
        shard.going = _remove(shard, plan)
        done += shard.size
        advance(done, total)
    for fingerprint, shards in plan.shards.items():
        folder = cache.folder(fingerprint)
        if folder in plan.folders:
            if not _clear(folder):
                plan.folders.remove(folder)
                cache.prepare(fingerprint)
        elif any(shard.going for shard in shards):
            cache.index(fingerprint)


def _remove(shard: Looked, plan: Plan) -> bool:
    try:
        if last_used(shard.path) != shard.seen:
            plan.left.append(Problem(shard.path, "It was used meanwhile."))
            return False
        if not shard.kept:
            shard.path.unlink()
            return True
        opened = Shard.open(shard.path)
        rewrite(opened, shard.kept, codec_used(opened.file))
    except FileNotFoundError:
        return True  # somebody else did
    except (CacheError, OSError) as error:
        plan.left.append(Problem(shard.path, str(error)))
        return False
    return True


def _unlink(path: Path, plan: Plan) -> bool:
    try:
        is_claim = path.parent.name == CLAIMS and not path.name.startswith(".")
        if is_claim:  # which a builder can have taken over since
            return remove_dead_claim(path)
        path.unlink(missing_ok=True)
    except OSError as error:
        plan.left.append(Problem(path, f"It can't be removed: {error.strerror or error}."))
        return False
    return True


def _clear(folder: Path) -> bool:
    """Remove a folder without shards; False if there is something in it by now."""
    try:
        for name in (INDEX, FINGERPRINT_FILE):
            (folder / name).unlink(missing_ok=True)
        if (folder / CLAIMS).is_dir():
            (folder / CLAIMS).rmdir()
        folder.rmdir()
    except OSError:
        return False
    return True
