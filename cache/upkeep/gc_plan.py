"""Plan of a garbage collection: the shards, debris and folders to remove.

A plan is made from the shards themselves, not from their index. Making a plan changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ..builds.journal import RUNS, registered_runs
from ..errors import ShardError
from ..fingerprint import Fingerprint
from ..guarded_arrays import dataset_of, open_hdf5
from ..shards.catalogue import INDEX
from ..shards.claims import CLAIMS, any_claimed, find_dead_claims
from ..shards.codecs import PACKING, missing_codec
from ..shards.files import ABANDONED_SECONDS, find_debris
from ..shards.info import Problem, closed_folder
from ..shards.layout import FINGERPRINT_FILE
from ..shards.listing import shards_in
from ..shards.shard import Shard
from ..shards.usage import last_used, undisturbed
from ..store import FeatureCache

SPARED = timedelta(hours=1)  # items used within this time stay despite a budget

References = Mapping[str, Collection[str]]
"""Fingerprint id -> referenced keys."""


@dataclass(frozen=True)
class Bounds:
    """Times of last use up to which items may be removed.

    Attributes
    ----------
    now : float
        Time at which the bounds were set. All times in this class are in seconds since 1970.
    by_age : float
        Items that were not used after this time are removed because of their age.
    for_budget : float
        Items that were not used after this time may be removed to meet the budget.
    max_bytes : float
        The budget in bytes; infinite without a budget.
    """

    now: float
    by_age: float
    for_budget: float
    max_bytes: float

    @classmethod
    def of(cls, older_than: timedelta | None, max_bytes: int | None) -> Bounds:
        """Return the bounds for an age limit and a budget; None for no limit."""
        now = time.time()
        spared = SPARED if older_than is None else min(SPARED, older_than)
        return cls(
            now,
            -math.inf if older_than is None else now - older_than.total_seconds(),
            now - spared.total_seconds(),
            math.inf if max_bytes is None else max_bytes,
        )

    def counted(self, used: float) -> float:
        """Return a time of last use; a time in the future (from a wrong clock) becomes now."""
        return self.now if used > time.time() else used


@dataclass
class ShardPlan:
    """Shard that was examined, and the decision which rows to remove.

    Attributes
    ----------
    path : Path
        The file.
    size : int
        Bytes of the file.
    used : float
        Time of the shard's last use.
    last_used : float
        Time of last use according to the file after it was examined. Examining another user's file
        counts as a use.
    referenced : list of int
        Rows that are referenced.
    count : int
        Number of all rows.
    free : int
        Bytes that removing the unreferenced rows frees.
    stuck : bool
        Whether the unreferenced rows can't be removed.
    going : bool
        Whether the unreferenced rows will be removed.
    """

    path: Path
    size: int
    used: float
    last_used: float
    referenced: list[int]
    count: int
    free: int
    stuck: bool = False
    going: bool = False

    @property
    def removable(self) -> bool:
        """True if rows can be removed and are not yet marked for removal."""
        return len(self.referenced) < self.count and not self.stuck and not self.going


@dataclass
class Plan:
    """Removals to carry out; the fields are those of :class:`fusion.cache.upkeep.gc.GcReport`."""

    features: list[Fingerprint]
    shards: dict[Fingerprint, list[ShardPlan]]
    debris: list[Path]
    registrations: list[Path]
    folders: list[Path]
    before: int
    max_bytes: float
    problems: list[Problem]


def make_plan(
    cache: FeatureCache, referenced: References, bounds: Bounds, obsolete: Collection[Path] | None
) -> Plan:
    """Examine every shard and decide what to remove.

    Parameters
    ----------
    obsolete : collection of Path, optional
        Registrations of runs to remove; by default those of this machine's removed run directories.
    """
    registrations = _removed_runs(cache) if obsolete is None else list(obsolete)
    features = cache.features()
    plan = Plan(features, {}, _debris(cache), registrations, [], 0, bounds.max_bytes, [])
    for fingerprint in features:
        needed = set(referenced.get(fingerprint.id, ()))
        folder = cache.folder(fingerprint)
        listing = shards_in(folder)
        plan.before += sum(listed.size for listed in listing.values())
        shards = [
            _examine(folder / name, fingerprint, needed, plan.problems) for name in sorted(listing)
        ]
        plan.shards[fingerprint] = [shard for shard in shards if shard is not None]
    _choose([shard for shards in plan.shards.values() for shard in shards], plan.before, bounds)
    plan.folders = [
        folder
        for fingerprint in features
        if _is_emptied(folder := cache.folder(fingerprint), plan.shards[fingerprint], plan.debris)
    ]
    reported = {problem.path for problem in plan.problems}
    plan.problems += [problem for problem in cache.problems if problem.path not in reported]
    return plan


def _examine(
    path: Path, fingerprint: Fingerprint, needed: set[str], problems: list[Problem]
) -> ShardPlan | None:
    try:
        with undisturbed(path):
            used = last_used(path)
            shard = Shard.open(path)
            if shard.fingerprint != fingerprint:
                raise ShardError(f"{path} holds another feature.")
            referenced = [row for row, key in enumerate(shard.keys) if key in needed]
            free, stuck = _removing(shard, referenced)
        last_use = last_used(path)
    except FileNotFoundError:
        return None  # removed after the listing
    except (ShardError, OSError) as error:
        problems.append(Problem(path, str(error)))
        return None
    if stuck:
        reason = f"The shard must be rewritten to keep {len(referenced)} items: {stuck}"
        problems.append(Problem(path, reason))
    return ShardPlan(
        path, shard.file.size, used, last_use, referenced, shard.file.count, free, bool(stuck)
    )


def _removing(shard: Shard, referenced: list[int]) -> tuple[int, str | None]:
    """Return the bytes freed by removing all unreferenced rows, and the obstacle or None."""
    file = shard.file
    if not referenced:
        return file.size, None
    unreferenced = sorted(set(range(file.count)) - set(referenced))
    if not file.packed or not unreferenced:
        return len(unreferenced) * file.fingerprint.array_bytes, None
    with open_hdf5(file.path) as opened:
        data = dataset_of(opened, "data", PACKING)
        missing = missing_codec(data)
        origin = (0,) * len(file.fingerprint.shape)
        chunks = (data.id.get_chunk_info_by_coord((row, *origin)) for row in unreferenced)
        return sum(chunk.size for chunk in chunks), str(missing) if missing else None


def _choose(shards: list[ShardPlan], before: int, bounds: Bounds) -> None:
    for shard in shards:
        shard.going = shard.removable and bounds.counted(shard.used) <= bounds.by_age
    total = before - sum(shard.free for shard in shards if shard.going)
    for shard in sorted(shards, key=lambda shard: bounds.counted(shard.used)):
        if total <= bounds.max_bytes:
            return
        if shard.removable and bounds.counted(shard.used) <= bounds.for_budget:
            shard.going = True
            total -= shard.free


def _debris(cache: FeatureCache) -> list[Path]:
    folders = [folder for folder, _ in cache.folders() if closed_folder(folder) is None]
    temporary = [path for folder in [cache.root, cache.root / RUNS, *folders]
             for path in (*find_debris(folder), *find_debris(folder / CLAIMS))]  # fmt: skip
    return temporary + [path for folder in folders for path in find_dead_claims(folder)]


def _removed_runs(cache: FeatureCache) -> list[Path]:
    return [run.file for run in registered_runs(cache) if run.is_removed]


def _is_emptied(folder: Path, shards: Iterable[ShardPlan], debris: Collection[Path]) -> bool:
    """Return whether only descriptive files will be left in a feature's folder."""
    going = {shard.path for shard in shards if shard.going and not shard.referenced}
    descriptive = {folder / name for name in (FINGERPRINT_FILE, INDEX, CLAIMS)}
    try:
        remaining = set(folder.iterdir()) - going - descriptive - set(debris)
        # A folder without shards may belong to a build that is about to begin.
        abandoned = bool(going) or time.time() - folder.stat().st_mtime > ABANDONED_SECONDS
    except OSError:
        return False
    if remaining or not abandoned or closed_folder(folder / CLAIMS):
        return False
    return not any_claimed(folder)
