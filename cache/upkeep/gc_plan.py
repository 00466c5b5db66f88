"""What the garbage collector is going to do: which shards, debris and folders go.

A plan is made from the shards themselves, not from their index, and changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import h5py

from ..builds.journal import RUNS, registered_runs
from ..errors import ShardError
from ..fingerprint import Fingerprint
from ..shards.catalogue import INDEX
from ..shards.claims import CLAIMS, any_claimed, find_dead_claims
from ..shards.codecs import missing_codec
from ..shards.files import ABANDONED_SECONDS, find_debris
from ..shards.info import Problem, closed_folder
from ..shards.layout import FINGERPRINT_FILE
from ..shards.shard import Shard
from ..shards.usage import last_used, undisturbed
from ..store import FeatureCache, shards_in

SPARED = timedelta(hours=1)  # used so lately, an item is spared by a budget

References = Mapping[str, Collection[str]]
"""Fingerprint id -> keys that are needed."""


@dataclass(frozen=True)
class Bounds:
    """Until when something may have been used to go: by age, and for the budget."""

    now: float
    by_age: float
    for_budget: float
    max_bytes: float

    @classmethod
    def of(cls, older_than: timedelta | None, max_bytes: int | None) -> Bounds:
        now = time.time()
        spared = SPARED if older_than is None else min(SPARED, older_than)
        return cls(
            now,
            -math.inf if older_than is None else now - older_than.total_seconds(),
            now - spared.total_seconds(),
            math.inf if max_bytes is None else max_bytes,
        )

    def counted(self, used: float) -> float:
        """What counts as the last use: a time that is still to come, of a clock that is or was
        wrong, counts as now."""
        return self.now if used > time.time() else used


@dataclass
class Looked:
    """A shard that was looked into.

    Attributes
    ----------
    size : int
        Bytes of the file.
    used : float
        When it was last used.
    seen : float
        What its file said of that afterwards: a look at another user's file counts as a use.
    kept : list of int
        Rows that are referenced.
    count : int
        Of all rows.
    free : int
        Bytes that go with the rows that are not referenced.
    stuck : bool
        Whether these rows can't be removed.
    going : bool
        Whether they shall be.
    """

    path: Path
    size: int
    used: float
    seen: float
    kept: list[int]
    count: int
    free: int
    stuck: bool = False
    going: bool = False

    @property
    def removable(self) -> bool:
        return len(self.kept) < self.count and not self.stuck and not self.going


@dataclass
class Plan:
    """What goes; see :class:`fusion.cache.upkeep.gc.GcReport` for the words."""

    features: list[Fingerprint]
    shards: dict[Fingerprint, list[Looked]]
    debris: list[Path]
    registrations: list[Path]
    folders: list[Path]
    before: int
    max_bytes: float
    left: list[Problem]


def make_plan(
    cache: FeatureCache, referenced: References, bounds: Bounds, gone: Collection[Path] | None
) -> Plan:
    """Look into every shard and decide."""
    registrations = _gone(cache) if gone is None else list(gone)
    features = cache.features()
    plan = Plan(features, {}, _debris(cache), registrations, [], 0, bounds.max_bytes, [])
    for fingerprint in features:
        needed = set(referenced.get(fingerprint.id, ()))
        folder = cache.folder(fingerprint)
        listing = shards_in(folder)
        plan.before += sum(listed.size for listed in listing.values())
        looked = [_look(folder / name, fingerprint, needed, plan.left) for name in sorted(listing)]
        plan.shards[fingerprint] = [shard for shard in looked if shard is not None]
    _choose([shard for shards in plan.shards.values() for shard in shards], plan.before, bounds)
    plan.folders = [
        folder
        for fingerprint in features
        if _is_emptied(folder := cache.folder(fingerprint), plan.shards[fingerprint], plan.debris)
    ]
    told = {problem.path for problem in plan.left}
    plan.left += [problem for problem in cache.problems if problem.path not in told]
    return plan


def _look(
    path: Path, fingerprint: Fingerprint, needed: set[str], left: list[Problem]
) -> Looked | None:
    try:
        with undisturbed(path):
            used = last_used(path)
            shard = Shard.open(path)
            if shard.fingerprint != fingerprint:
                raise ShardError(f"{path} holds another feature.")
            kept = [row for row, key in enumerate(shard.keys) if key in needed]
            free, stuck = _removing(shard, kept)
        seen = last_used(path)
    except FileNotFoundError:
        return None  # removed since it was listed
    except (ShardError, OSError) as error:
        left.append(Problem(path, str(error)))
        return None
    if stuck:
        left.append(Problem(path, f"{len(kept)} of its items stay, so that it has to be "
                                  f"rewritten: {stuck}"))  # fmt: skip
    return Looked(path, shard.file.size, used, seen, kept, shard.file.count, free, bool(stuck))


def _removing(shard: Shard, kept: list[int]) -> tuple[int, str | None]:
    """Bytes that removing all rows but these frees; and what is in the way, if anything."""
    file = shard.file
    if not kept:
        return file.size, None
    rest = sorted(set(range(file.count)) - set(kept))
    if not file.packed or not rest:
        return len(rest) * file.fingerprint.array_bytes, None
    with h5py.File(file.path, "r", locking=False) as opened:
        data = opened["data"]
        missing = missing_codec(data)
        place = (0,) * len(file.fingerprint.shape)
        chunks = (data.id.get_chunk_info_by_coord((row, *place)) for row in rest)
        return sum(chunk.size for chunk in chunks), str(missing) if missing else None


def _choose(shards: list[Looked], before: int, bounds: Bounds) -> None:
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
    found = [path for folder in [cache.root, cache.root / RUNS, *folders]
             for path in (*find_debris(folder), *find_debris(folder / CLAIMS))]  # fmt: skip
    return found + [path for folder in folders for path in find_dead_claims(folder)]


def _gone(cache: FeatureCache) -> list[Path]:
    return [run.file for run in registered_runs(cache) if run.is_removed]


def _is_emptied(folder: Path, shards: Iterable[Looked], debris: Collection[Path]) -> bool:
    """Whether nothing will be left in a feature's folder but what describes it."""
    going = {shard.path for shard in shards if shard.going and not shard.kept}
    beside = {folder / name for name in (FINGERPRINT_FILE, INDEX, CLAIMS)}
    try:
        left = set(folder.iterdir()) - going - beside - set(debris)
        # A folder without shards may be that of a build that is about to begin.
        abandoned = bool(going) or time.time() - folder.stat().st_mtime > ABANDONED_SECONDS
    except OSError:
        return False
    if left or not abandoned or closed_folder(folder / CLAIMS):
        return False
    return not any_claimed(folder)
