"""Keeping a cache whole and in bounds, with what runs and extractors know.

The cache itself knows neither: it finds what is damaged, and is told what to keep.
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
from ..runs.run import Run

# -- repair --------------------------------------------------------------------------


@dataclass
class RepairReport:
    """What became of the damage that a verification found.

    Attributes
    ----------
    repaired : int
        Bad items that are there again.
    lost : list of (BadItem, str)
        Items that were dropped and could not be computed again, and why.
    left : list of str
        What could not even be dropped, or what it held is not known.
    """

    repaired: int = 0
    lost: list[tuple[BadItem, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything is as it was before the damage."""
        return not self.lost and not self.left


def repair(
    cache: FeatureCache,
    found: VerifyReport,
    registry: Registry,
    *,
    jobs: int | None = None,
    on_progress: OnProgress | None = None,
) -> RepairReport:
    """Drop what is damaged and compute it again from the recordings.

    An item comes back only if the extractor that is installed is the one that made it, to the
    version of its libraries, and its recording is unchanged where it was. Everything else
    counts as missing from then on: a run that needs it computes it.

    Raises
    ------
    CacheError
        If another process rewrites this cache.
    StorageError
        If the cache can't be written to or is full.
    """
    report = RepairReport()
    report.left += [problem.line for problem in drop(cache, found)]
    report.left += [
        f"{file.path}: nothing tells which items it held. They are computed when a run asks for "
        "them."
        for file in found.bad_files
        if file.kind == "shard" and not file.items
    ]
    maker_of = functools.cache(functools.partial(_maker_of, registry))
    work: dict[Fingerprint, tuple[Extractor, list[Item]]] = {}
    for bad in found.bad_items:
        maker = maker_of(bad.fingerprint)
        problem = maker if isinstance(maker, str) else _problem_with_source(bad)
        if problem is not None:
            report.lost.append((bad, problem))
        elif isinstance(maker, Extractor):
            item = Item(bad.key, recording_at(bad.origin), bad.origin, bad.group)
            work.setdefault(bad.fingerprint, (maker, []))[1].append(item)
    built = build(
        cache,
        [(computation_of(maker), items) for maker, items in work.values()],
        jobs=jobs,
        on_progress=on_progress,
    )
    failures = {
        (failure.feature, failure.key): failure for failure in [*built.failures, *built.absent]
    }
    for bad in found.bad_items:
        if bad.fingerprint in work and (bad.fingerprint.name, bad.key) in failures:
            failure = failures[bad.fingerprint.name, bad.key]
            report.lost.append((bad, failure_text(failure)))
    report.repaired = len(found.bad_items) - len(report.lost)
    return report


def _maker_of(registry: Registry, fingerprint: Fingerprint) -> Extractor | str:
    """The installed extractor that made a feature; or why there is none."""
    name = fingerprint.name
    if is_imported(fingerprint):
        return f"{name!r} was imported: import it again"
    try:
        cls = registry.extractor(name)
        extractor = make_extractor(cls, fingerprint.parameters)
        if extractor.dtype != fingerprint.dtype:
            extractor = make_extractor(cls, fingerprint.parameters, fingerprint.dtype)
        made = fingerprint_of(extractor)
    except UnknownNameError:
        return f"no extractor {name!r} with these parameters is installed (-p loads a plugin)"
    except FusionError as error:
        return f"the extractor {name!r} can't be made: {error.message}"
    if made == fingerprint:
        return extractor
    return f"{name!r} as installed makes another feature: {_differing(fingerprint, made)}"


def _differing(stored: Fingerprint, made: Fingerprint) -> str:
    found = differences(stored, made)
    return ", ".join(f"{one.field} was {one.stored} and is {one.wanted}" for one in found)


def _problem_with_source(bad: BadItem) -> str | None:
    """Why the array can't be computed from where its source was found, or None."""
    if not bad.origin:
        return "it is not known where its recording was found"
    recording = recording_at(bad.origin)
    try:
        key = digest_recording(recording.path, recording.start, recording.end)
    except CacheError:
        return f"{recording.path} can't be read any more"
    return None if key == bad.key else f"{recording.path} is another recording by now"


# -- what runs need ------------------------------------------------------------------

_NOTHING_REMOVED = "Nothing was removed: what that run needs is not known."


@dataclass(frozen=True)
class Garbage:
    """What was collected, and by what it was judged.

    Attributes
    ----------
    report : GcReport
        What was removed, or would be.
    runs : list of Path
        Run directories whose features are kept.
    users : mapping of str to int
        Fingerprint id -> how many of these need it.
    imported : set of str
        Ids of imported features, which are kept.
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
    """Remove from a cache what no run directory refers to, by `fusion.cache.upkeep.gc.collect`.

    Parameters
    ----------
    folders : sequence of Path
        Where to look for run directories besides the registered ones.
    imported : bool
        Treat imported features like others. By default they are kept: nothing here can compute
        them again.
    forget : bool
        Take runs for gone that are not to be seen here: those of other machines, and those
        whose parent folder is not there either.

    Raises
    ------
    RunError
        If a run directory can't be read, or one is just being prepared. Nothing is removed then.
    CacheError
        If another process rewrites this cache.
    """
    registered = registered_runs(cache)
    gone = [run for run in registered if run.is_removed or (forget and not run.exists)]
    here = [run for run in registered if run not in gone]
    runs = list(dict.fromkeys([*_readable(here), *find_runs(folders)]))
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
        obsolete=[run.file for run in gone],
        on_progress=on_progress,
    )
    return Garbage(report, runs, users, {fingerprint.id for fingerprint in spared})


def references(runs: Iterable[Path]) -> Mapping[str, set[str]]:
    """What run directories need: fingerprint id -> keys. Unfinished runs count.

    Raises
    ------
    RunError
        If one can't be read.
    """
    needed: dict[str, set[str]] = {}
    for path in runs:
        try:
            run = Run.open(path)
            keys = run.data.keys
            ids = [feature.id for feature in run.record.features.values()]
        except RunError as error:
            clips = path / "clips.csv"
            cut = _where_cut(clips) if error.message.startswith(str(clips)) else None
            text = cut or error.message
            stop = "" if text.endswith(".") else "."
            raise RunError(f"{text}{stop} {_NOTHING_REMOVED}", hint=_mend(path)) from None
        for id in ids:
            needed.setdefault(id, set()).update(keys)
    return needed


def _where_cut(clips: Path) -> str | None:
    """What is wrong with a table whose lines differ in length; None if they do not."""
    try:
        with clips.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
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
    """All run directories in and below these folders, by path.

    Raises
    ------
    RunError
        If a folder is not there or holds no run.
    """
    found: list[Path] = []
    for folder in folders:
        below = sorted(_runs_below(folder.absolute()))
        if not below:
            raise RunError(
                f"There is no run directory in {folder}."
                if folder.is_dir()
                else f"There is no folder {folder}.",
                hint="--runs takes a folder of run directories, such as runs.",
            )
        found += below
    return found


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
    """Those that say what they need; those that will never need anything are left out."""
    for run in registered:
        if not run.exists:
            raise _not_seen(run)
        if (run.path / "run.json").exists():
            yield run.path
        elif not run.dead:
            raise RunError(
                f"The run {run.path} is being prepared by process {run.pid} of {run.host!r}. "
                f"{_NOTHING_REMOVED}",
                hint="Wait until it trains; or remove that folder, if its process is gone.",
            )


def _not_seen(run: RegisteredRun) -> RunError:
    if run.is_local:
        return RunError(
            f"The run {run.path} is not there, nor is the folder {run.path.parent}: it may lie on "
            f"a file system that is not mounted. {_NOTHING_REMOVED}",
            hint="Mount it; or call this with --forget, if that run is gone.",
        )
    return RunError(
        f"The run {run.path} was registered on {run.host!r} and is not to be seen here. "
        f"{_NOTHING_REMOVED}",
        hint="Call this on that machine; or with --forget, if that run is gone.",
    )


def _mend(path: Path) -> str:
    return f"Mend it, or remove the folder {path} if nobody needs that run."
