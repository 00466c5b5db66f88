"""What happened to a cache: its builds, and the runs that read it.

::

    ROOT/
      builds.jsonl       one line of JSON for each build, the newest last
      runs/<digest>.json one file for each run directory that was registered

Both are notes for people and for the garbage collector. Where they can't be written, builds and
runs go on without.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import StorageError
from ..shards.files import HOST, is_dead, written_whole
from ..store import FeatureCache

if TYPE_CHECKING:
    from .progress import BuildReport

BUILDS = "builds.jsonl"
RUNS = "runs"

_MAX_BYTES = 2**20  # above it, only so much as half of this is kept

Purpose = Literal["build", "run"]


# -- builds --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Build:
    """One line of the journal.

    Attributes
    ----------
    time : str
        When the build ended; ISO 8601, UTC.
    purpose : {"build", "run"}
        Whether features were built for themselves or for a run.
    wanted, present, fetched, computed, failed : int
        Items that were asked for, and what became of them.
    seconds : float
        Wall time.
    features : mapping of str to int
        Items asked for by feature, ``NAME-FINGERPRINT_ID``.
    """

    time: str
    purpose: Purpose
    wanted: int
    present: int
    fetched: int
    computed: int
    failed: int
    seconds: float
    features: Mapping[str, int]


def record_build(
    cache: FeatureCache, report: BuildReport, wanted: Mapping[str, int], purpose: Purpose = "build"
) -> None:
    """Add a build to the journal, where one may write.

    Parameters
    ----------
    wanted : mapping of str to int
        Items asked for by feature, ``NAME-FINGERPRINT_ID``: the name of its folder.
    """
    build = Build(
        datetime.now(UTC).isoformat(timespec="seconds"),
        purpose,
        sum(wanted.values()),
        report.present,
        report.fetched,
        report.computed,
        len(report.failures),
        round(report.seconds, 3),
        dict(wanted),
    )
    path = cache.root / BUILDS
    with contextlib.suppress(OSError, StorageError):
        with path.open("ab", buffering=0) as file:
            # One write at the end of the file: lines of several processes stay whole.
            file.write(json.dumps(asdict(build)).encode("ascii") + b"\n")
        if path.stat().st_size > _MAX_BYTES:
            _halve(path)


def builds(cache: FeatureCache) -> list[Build]:
    """The builds in the journal, the oldest first. Damaged lines are left out."""
    try:
        lines = (cache.root / BUILDS).read_bytes().splitlines()
    except OSError:
        return []
    return [build for build in map(_parsed, lines) if build is not None]


def hit_rate(cache: FeatureCache, last: int = 10, purpose: Purpose = "run") -> float | None:
    """Share of the items that were there when they were asked for, over the last builds.

    Returns
    -------
    float or None
        From 0 to 1; None where nothing was asked for yet.
    """
    newest = [build for build in builds(cache) if build.purpose == purpose][-last:]
    wanted = sum(build.wanted for build in newest)
    return sum(build.present for build in newest) / wanted if wanted else None


def _halve(path: Path) -> None:
    """Keep the newer half. A line that another process adds meanwhile may be lost."""
    newer = path.read_bytes()[-(_MAX_BYTES // 2) :]
    with written_whole(path) as temporary:
        temporary.write_bytes(newer.partition(b"\n")[2])


def _parsed(line: bytes) -> Build | None:
    try:
        fields = json.loads(line)
        build = Build(**{name: fields[name] for name in Build.__slots__})
    except (ValueError, TypeError, KeyError):
        return None
    numbers = (build.wanted, build.present, build.fetched, build.computed, build.failed)
    return build if all(isinstance(number, int) for number in numbers) else None


# -- runs ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RegisteredRun:
    """A run directory that reads this cache.

    Attributes
    ----------
    path : Path
        The run directory, absolute.
    host : str
        The machine on which it was registered.
    pid : int
        The process that registered it last.
    file : Path
        The registration.
    """

    path: Path
    host: str
    pid: int
    file: Path

    @property
    def here(self) -> bool:
        """Whether it was registered on this machine, so that its path means the same."""
        return self.host == HOST

    @property
    def exists(self) -> bool:
        """Whether the run directory is there. What can't be looked at counts as there."""
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    @property
    def gone(self) -> bool:
        """Whether the run directory is known to be removed.

        Where its parent folder is not there either, its file system may just not be mounted.
        """
        return self.here and not self.exists and self.path.parent.is_dir()

    @property
    def dead(self) -> bool:
        """Whether the process that registered it is known to be gone."""
        return is_dead(self.host, self.pid)


def register_run(cache: FeatureCache, path: Path) -> None:
    """Note that a run directory reads this cache, so that what it needs is kept.

    Where the cache can't be written to, nothing can be collected either: then this does nothing.
    """
    absolute = str(path.absolute())
    name = hashlib.blake2b(os.fsencode(absolute), digest_size=16).hexdigest()
    note = {"path": absolute, "host": HOST, "pid": os.getpid()}
    with contextlib.suppress(OSError, StorageError):
        (cache.root / RUNS).mkdir(parents=True, exist_ok=True)
        with written_whole(cache.root / RUNS / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(note) + "\n", encoding="ascii")


def registered_runs(cache: FeatureCache) -> list[RegisteredRun]:
    """All runs that were registered, also those that have gone; by path.

    Raises
    ------
    StorageError
        If a registration can't be read: what that run needs is not known then.
    """
    folder = cache.root / RUNS
    runs = []
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(folder, str(error)) from None
    for file in files:
        try:
            note = json.loads(file.read_text(encoding="ascii"))
            path, host, pid = Path(note["path"]), str(note["host"]), int(note["pid"])
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise _unreadable(file, repr(error)) from None
        runs.append(RegisteredRun(path, host, pid, file))
    return sorted(runs, key=lambda run: run.path)


def _unreadable(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"{path} can't be read: {reason}. It tells of a run that needs features of this cache.",
        hint="Mend it; or remove it, if all your runs have a registration beside it.",
    )
