"""Cache maintenance that needs runs and extractors: repair of items, and garbage collection.

The package ``fusion.cache`` finds damaged items and removes unneeded items, but is independent
of runs and extractors. This module determines which items runs need, and recomputes damaged items.
"""

from __future__ import annotations

import csv
import functools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from ...cache import FeatureCache, Fingerprint, build, digest_recording
from ...cache.builds.journal import RegisteredRun, registered_runs
from ...cache.builds.work import Item
from ...cache.exchange.imports import imported_features, is_imported
from ...cache.upkeep.differences import differences
from ...cache.upkeep.drop import drop
from ...cache.upkeep.gc import GcReport, collect
from ...cache.upkeep.rewrite import OnBytes
from ...cache.upkeep.verify import BadItem, VerifyReport
from ..contracts import Extractor
from ..contracts.errors import CacheError, FusionError, RunError, UnknownNameError
from ..data.extraction import (
    computation_of,
    failure_text,
    fingerprint_of,
    make_extractor,
    recording_at,
)
from ..registry.registry import Registry
from ..runs.feature_build import OnProgress
from ..runs.record import FeatureRecord
from ..runs.run import Run
from ..toolkit.run_files import open_table

# -- repair --------------------------------------------------------------------------


@dataclass
class RepairReport:
    """Outcome of the repair of a damaged cache.

    Attributes
    ----------
    repaired : int
        Number of bad items that were computed again.
    lost : list of (BadItem, str)
        Items that were removed and could not be computed again, each with the reason.
    unresolved : list of str
        Remaining problems: files that could not be removed, and files of unknown content.
    """

    repaired: int = 0
    lost: list[tuple[BadItem, str]] = field(default_factory=list)
    unresolved: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True if all damage was repaired."""
        return not self.lost and not self.unresolved


def repair(
    cache: FeatureCache,
    verified: VerifyReport,
    registry: Registry,
    *,
    jobs: int | None = None,
    on_progress: OnProgress | None = None,
) -> RepairReport:
    """Remove damaged items and compute these items again from their recordings.

    An item can be computed again under two conditions. The installed extractor has the fingerprint
    of the item, library versions included. The recording is unchanged at its old path. Any other
    item is missing after the repair; a run that needs the item computes the item again.

    Raises
    ------
    CacheError
        If another process rewrites this cache.
    StorageError
        If the cache can't be written to or is full.
    """
    report = RepairReport()
    report.unresolved += [problem.line for problem in drop(cache, verified)]
    report.unresolved += [
        f"{file.path}: its items are unknown. A run that needs them computes them anew."
        for file in verified.bad_files
        if file.kind == "shard" and not file.items
    ]
    extractor_of = functools.cache(functools.partial(_extractor_of, registry))
    work: dict[Fingerprint, tuple[Extractor, list[Item]]] = {}
    for bad in verified.bad_items:
        extractor = extractor_of(bad.fingerprint)
        problem = extractor if isinstance(extractor, str) else _problem_with_source(bad)
        if problem is not None:
            report.lost.append((bad, problem))
        elif isinstance(extractor, Extractor):
            item = Item(bad.key, recording_at(bad.origin), bad.origin, bad.group)
            work.setdefault(bad.fingerprint, (extractor, []))[1].append(item)
    built = build(
        cache,
        [(computation_of(extractor), items) for extractor, items in work.values()],
        jobs=jobs,
        on_progress=on_progress,
    )
    failures = {
        (failure.feature, failure.key): failure for failure in [*built.failures, *built.absent]
    }
    for bad in verified.bad_items:
        if bad.fingerprint in work and (bad.fingerprint.name, bad.key) in failures:
            failure = failures[bad.fingerprint.name, bad.key]
            report.lost.append((bad, failure_text(failure)))
    report.repaired = len(verified.bad_items) - len(report.lost)
    return report


def _extractor_of(registry: Registry, fingerprint: Fingerprint) -> Extractor | str:
    """Return the installed extractor with this fingerprint, or the reason why there is none."""
    name = fingerprint.name
    if is_imported(fingerprint):
        return f"{name!r} was imported: import it again"
    try:
        cls = registry.extractor(name)
        extractor = make_extractor(cls, fingerprint.parameters)
        if extractor.dtype != fingerprint.dtype:
            extractor = make_extractor(cls, fingerprint.parameters, fingerprint.dtype)
        current = fingerprint_of(extractor)
    except UnknownNameError:
        return f"no extractor {name!r} with these parameters is installed (-p loads a plugin)"
    except FusionError as error:
        return f"the extractor {name!r} can't be created: {error.message}"
    if current == fingerprint:
        return extractor
    changes = _differing(fingerprint, current)
    return f"the installed extractor {name!r} computes another feature: {changes}"


def _differing(stored: Fingerprint, current: Fingerprint) -> str:
    fields = differences(stored, current)
    return ", ".join(f"{field.field} was {field.stored} and is {field.wanted}" for field in fields)


def _problem_with_source(bad: BadItem) -> str | None:
    """Return why an item can't be computed from its recording; None if there is no problem."""
    if not bad.origin:
        return "the path of its recording is unknown"
    recording = recording_at(bad.origin)
    try:
        key = digest_recording(recording.path, recording.start, recording.end)
    except CacheError:
        return f"{recording.path} can't be read any more"
    return None if key == bad.key else f"the content of {recording.path} has changed"


# -- garbage collection --------------------------------------------------------------

_NOTHING_REMOVED = "Nothing was removed, because the features that this run needs are unknown."


@dataclass(frozen=True)
class Garbage:
    """Outcome of a garbage collection, and the runs whose features were kept.

    Attributes
    ----------
    report : GcReport
        Removed items and files. With `dry_run`, items and files that would be removed.
    runs : list of Path
        Run directories whose features are kept.
    users : mapping of str to int
        Number of `runs` that need a feature, by the id of its fingerprint.
    imported : set of str
        Ids of the fingerprints of imported features, which are kept.
    """

    report: GcReport
    runs: list[Path]
    users: Mapping[str, int]
    imported: set[str]


def collect_garbage(
    cache: FeatureCache,
    *,
    folders: Sequence[Path] = (),
    older_than: timedelta | None = None,
    max_bytes: int | None = None,
    imported: bool = False,
    forget: bool = False,
    dry_run: bool = False,
    on_progress: OnBytes | None = None,
) -> Garbage:
    """Remove items that no run directory needs, with `fusion.cache.upkeep.gc.collect`.

    Parameters
    ----------
    folders : sequence of Path
        Folders to search for run directories, in addition to the registered runs.
    older_than : timedelta, optional
        Remove unneeded items whose last use was longer ago than `older_than`.
    max_bytes : int, optional
        Remove the least recently used unneeded items until at most `max_bytes` remain.
    imported : bool
        Whether to remove unneeded imported features too. By default, imported features are kept,
        because no extractor can compute imported features again.
    forget : bool
        Whether to treat runs that this machine can't access as deleted. Such runs are on another
        machine, or their parent folder does not exist.
    dry_run : bool
        Whether to report the items that would be removed, without removing them.

    Raises
    ------
    RunError
        If a run directory can't be read, or a run is being prepared. Nothing is removed.
    CacheError
        If another process rewrites this cache.
    """
    registered = registered_runs(cache)
    deleted = [run for run in registered if run.is_removed or (forget and not run.exists)]
    existing = [run for run in registered if run not in deleted]
    runs = list(dict.fromkeys([*_readable(existing), *find_runs(folders)]))
    needed: dict[str, set[str]] = {}
    users: Counter[str] = Counter()
    for run in runs:
        for id, keys in references([run]).items():
            needed.setdefault(id, set()).update(keys)
            users[id] += 1
    spared = [] if imported else imported_features(cache)
    for fingerprint in spared:
        stored = cache.catalogue(fingerprint).keys.tolist()
        needed.setdefault(fingerprint.id, set()).update(key.decode("ascii") for key in stored)
    report = collect(
        cache,
        needed,
        older_than=older_than,
        max_bytes=max_bytes,
        dry_run=dry_run,
        obsolete=[run.file for run in deleted],
        on_progress=on_progress,
    )
    return Garbage(report, runs, users, {fingerprint.id for fingerprint in spared})


def references(runs: Iterable[Path]) -> Mapping[str, set[str]]:
    """Return the keys of the items that finished and unfinished runs need, by fingerprint id.

    Raises
    ------
    RunError
        If a run directory can't be read.
    """
    needed: dict[str, set[str]] = {}
    for path in runs:
        try:
            run = Run.open(path)
            keys = run.data.all_keys()
            ids = [id for pair in run.record.features.items() for id in _ids_of(*pair)]
        except RunError as error:
            clips = path / "clips.csv"
            cut = _where_cut(clips) if error.message.startswith(str(clips)) else None
            text = cut or error.message
            stop = "" if text.endswith(".") else "."
            raise RunError(f"{text}{stop} {_NOTHING_REMOVED}", hint=_repair_hint(path)) from None
        for id in ids:
            needed.setdefault(id, set()).update(keys)
    return needed


def _ids_of(name: str, feature: FeatureRecord) -> set[str]:
    """Return the id of a feature as stored, and as computed from its parameters.

    If one byte of run.json is damaged, at most one of the two is wrong.
    """
    try:
        return {feature.id, feature.fingerprint(name).id}
    except CacheError:
        return {feature.id}


def _where_cut(clips: Path) -> str | None:
    """Return a message on the first line with a wrong number of columns; None if none is found."""
    try:
        with open_table(clips) as file:
            lines = csv.reader(file)
            columns = len(next(lines, ()))
            for line in lines:
                if line and len(line) != columns:
                    return (
                        f"{clips} is cut or damaged at line {lines.line_num}: it has {len(line)} "
                        f"of {columns} columns."
                    )
    except (OSError, csv.Error):
        return None
    return None


def find_runs(folders: Iterable[Path]) -> list[Path]:
    """Return all run directories in and below `folders`, sorted by path in each folder.

    Raises
    ------
    RunError
        If a folder does not exist, can't be searched, or holds no run.
    """
    runs: list[Path] = []
    for folder in folders:
        below = sorted(_runs_below(folder.absolute()))
        if not below:
            raise RunError(
                f"The folder {folder} holds no run directory."
                if folder.is_dir()
                else f"The folder {folder} does not exist.",
                hint="Name a folder of run directories, such as runs: --runs DIR",
            )
        runs += below
    return runs


def _runs_below(folder: Path) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise RunError(f"{error.filename} can't be searched for runs: {error.strerror}.")

    if not folder.is_dir():
        return
    for path, below, files in os.walk(folder, onerror=stop):
        if "run.json" in files:
            below.clear()
            yield Path(path)


def _readable(registered: Iterable[RegisteredRun]) -> Iterator[Path]:
    """Yield the paths of the runs that have a run.json, which lists the needed features.

    A run without run.json is left out if its process has ended: such a run needs no features.

    Raises
    ------
    RunError
        If a run does not exist, or is being prepared by a living process.
    """
    for run in registered:
        if not run.exists:
            raise _unreachable(run)
        if (run.path / "run.json").exists():
            yield run.path
        elif not run.dead:
            raise RunError(
                f"The run {run.path} is being prepared by process {run.pid} on {run.host!r}. "
                f"{_NOTHING_REMOVED}",
                hint="Wait until its trainings begin. If the process has ended, remove the run "
                "directory.",
            )


def _unreachable(run: RegisteredRun) -> RunError:
    if run.is_local:
        return RunError(
            f"Neither the run {run.path} nor the folder {run.path.parent} exists. Maybe its file "
            f"system is not mounted. {_NOTHING_REMOVED}",
            hint="Mount the file system. If the run was deleted, repeat the command with --forget.",
        )
    return RunError(
        f"This machine can't reach the run {run.path}, which was registered on {run.host!r}. "
        f"{_NOTHING_REMOVED}",
        hint="Run the command on that machine. If the run was deleted, repeat it with --forget.",
    )


def _repair_hint(path: Path) -> str:
    return f"Correct the file, or remove the folder {path} if nobody needs that run."
