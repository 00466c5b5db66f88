"""Journal of a cache: its builds, and the runs that read from the cache.

::

    ROOT/
      builds.jsonl       one line of JSON for each build, the newest last
      runs/<digest>.json one file for each registered run directory

Users and the garbage collector read these records. If the records can't be written, builds and runs
continue without them.
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
from typing import TYPE_CHECKING, Any, Literal

from ..errors import StorageError
from ..json_text import parse_json, read_bytes, read_json
from ..shards.files import HOST, is_dead, unlinked, written_whole
from ..store import FeatureCache

if TYPE_CHECKING:
    from .progress import BuildReport

BUILDS = "builds.jsonl"
RUNS = "runs"

_MAX_NOTE = 2**20  # bytes of the registration of a run
_MAX_BYTES = 2**20  # when larger, the journal is cut to its newest 0.5 MiB

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
        Whether the features were built on their own or for a run.
    wanted, present, fetched, computed, failed : int
        Number of requested items, and how many of them were already stored, copied from another
        machine's cache, computed, or failed.
    seconds : float
        Wall time.
    features : mapping of str to int
        Number of requested items by feature, ``NAME-FINGERPRINT_ID``.
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
    """Add a build to the journal, if the folder is writable.

    Parameters
    ----------
    wanted : mapping of str to int
        Number of requested items by feature; a feature is named like its folder,
        ``NAME-FINGERPRINT_ID``.
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
        with open(path, "ab", buffering=0, opener=unlinked) as file:
            # A single write in append mode prevents that lines of several processes mix.
            file.write(json.dumps(asdict(build)).encode("ascii") + b"\n")
        if path.stat().st_size > _MAX_BYTES:
            _halve(path)


def builds(cache: FeatureCache) -> list[Build]:
    """Return the builds in the journal, oldest first, without damaged lines."""
    try:
        lines = read_bytes(cache.root / BUILDS).splitlines()
    except OSError:
        return []
    return [build for build in map(_parsed, lines) if build is not None]


def hit_rate(cache: FeatureCache, last: int = 10, purpose: Purpose = "run") -> float | None:
    """Return the share of requested items that were already stored, over the last builds.

    Returns
    -------
    float or None
        From 0 to 1; None if no item was requested yet.
    """
    newest = [build for build in builds(cache) if build.purpose == purpose][-last:]
    wanted = sum(build.wanted for build in newest)
    return sum(build.present for build in newest) / wanted if wanted else None


def _halve(path: Path) -> None:
    """Keep the newer half of the journal; a line added meanwhile by another process may be lost."""
    newer = read_bytes(path)[-(_MAX_BYTES // 2) :]
    with written_whole(path) as temporary:
        temporary.write_bytes(newer.partition(b"\n")[2])


def _parsed(line: bytes) -> Build | None:
    try:
        fields = parse_json(line)
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
        The machine on which the run was registered.
    pid : int
        The process that last registered the run.
    file : Path
        The file of the registration.
    """

    path: Path
    host: str
    pid: int
    file: Path

    @property
    def is_local(self) -> bool:
        """True if the run was registered on this machine, so that the path is valid."""
        return self.host == HOST

    @property
    def exists(self) -> bool:
        """True if the run directory exists, or if its existence can't be checked."""
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    @property
    def is_removed(self) -> bool:
        """True if the run directory is known to be removed.

        If the parent folder does not exist either, the file system may not be mounted. In this case
        the run does not count as removed.
        """
        return self.is_local and not self.exists and self.path.parent.is_dir()

    @property
    def dead(self) -> bool:
        """True if the process that registered the run is known to have ended."""
        return is_dead(self.host, self.pid)


def register_run(cache: FeatureCache, path: Path) -> None:
    """Record that a run directory reads this cache, so that the run's features are kept.

    If the cache can't be written to, the run is not recorded. The garbage collector can't remove
    features from such a cache either.
    """
    absolute = str(path.absolute())
    name = _name_of(absolute)
    note = {"path": absolute, "host": HOST, "pid": os.getpid()}
    note["checksum"] = _checksum(note)
    if (cache.root / RUNS).is_symlink():  # a stranger's link; nothing is written through it
        return
    with contextlib.suppress(OSError, StorageError):
        (cache.root / RUNS).mkdir(parents=True, exist_ok=True)
        with written_whole(cache.root / RUNS / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(note) + "\n", encoding="ascii")


def registered_runs(cache: FeatureCache) -> list[RegisteredRun]:
    """Return all registered runs, removed ones included, sorted by path.

    Raises
    ------
    StorageError
        If a registration can't be read: the features that the run needs are then unknown.
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
            runs.append(_registered(file))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise _unreadable(file, str(error) or repr(error)) from None
    return sorted(runs, key=lambda run: run.path)


def _registered(file: Path) -> RegisteredRun:
    """Return the registration in a file.

    Raises
    ------
    OSError, ValueError, TypeError, KeyError
        If the file is damaged: its name is the digest of the path, and its content has a checksum,
        except for registrations by version 0.1.
    """
    note = read_json(file, _MAX_NOTE)
    path, host, pid = note["path"], note["host"], note["pid"]
    if not (isinstance(path, str) and isinstance(host, str) and isinstance(pid, int)):
        raise ValueError("a field has the wrong type")
    if file.stem != _name_of(path):
        raise ValueError("its path does not match its name")
    if note.get("checksum", _checksum(note)) != _checksum(note):
        raise ValueError("its checksum does not match its content")
    return RegisteredRun(Path(path), host, pid, file)


def _name_of(path: str) -> str:
    return hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()


def _checksum(note: Mapping[str, Any]) -> str:
    content = json.dumps([note["path"], note["host"], note["pid"]])
    return hashlib.blake2b(content.encode("ascii"), digest_size=8).hexdigest()


def _unreadable(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"The registration {path} of a run that reads this cache can't be read: {reason}.",
        hint="Repair the file. If the other files in its folder register all of your runs, you can "
        "remove it instead.",
    )
