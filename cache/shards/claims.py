"""Claims on items, so that builders running at the same time do not compute an item twice.

A builder creates a claim before computing an item and removes the claim when the item's shard is
written. A claim is a hard link, named after the item, to a file that names the owner. Creating a
link whose name must not exist yet is one atomic step on every file system, network file systems
included. Only one of two builders can therefore claim the item. The other builder computes all
other items first, then waits for the item, and computes the item if the item is still missing.

Claims are advisory. A claim expires when its process is dead. The state of a process on another
machine can't be checked, so a claim from another machine expires ten minutes after its last
renewal. A process number on this machine may be reused, so a claim from this machine expires an
hour after its last renewal. A claim also expires if this process has seen no renewal for that time:
the date of a claim may be wrong, for example in the future. In the worst case an item is computed
twice, and two equal copies are stored.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import CacheError
from ..json_text import read_text
from .files import (
    ABANDONED_SECONDS,
    SYSTEM,
    is_dead,
    remove_debris,
    storage_error,
    temporary_name,
)

CLAIMS = "claims"
_RENEW_SECONDS = 60.0
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}
_LEASE_SECONDS = 600.0  # other machines' processes can't be checked
_MAX_OWNER = 1000  # bytes of a claim that are read
_DIGEST = re.compile(r"[0-9a-f]{32}")
_HOST = re.compile(r"[A-Za-z0-9-]+")

# State of each claim when this process saw the claim change last, and the time of that by the
# monotonic clock: (modification time, inode), seconds.
_renewals: dict[Path, tuple[tuple[int, int], float]] = {}


class Claims:
    """Claims of one process on items of one feature; a context manager that releases the claims."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / CLAIMS
        self._name: Path | None = None  # names this process; claims are links to this file
        self._claims: list[Path] = []
        self._renewed = time.monotonic()

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._claims:
            if _is_mine(path):  # else another process has taken over the claim
                with contextlib.suppress(OSError):
                    path.unlink()
        if self._name is not None:
            with contextlib.suppress(OSError):
                self._name.unlink()
        self._claims, self._name = [], None

    def take(self, key: str) -> bool:
        """Claim an item; return False if a living builder has claimed it."""
        path = claim_path(self._folder.parent, key)
        try:
            if not self._make(path) and (_alive(path) or not self._take_over(path)):
                return False
        except OSError as error:
            raise storage_error(self._folder, error) from None
        self._claims.append(path)
        return True

    def renew(self) -> None:
        """Renew all claims of this process, at most once a minute."""
        if time.monotonic() - self._renewed < _RENEW_SECONDS:
            return
        self._renewed = time.monotonic()
        for path in self._claims:
            if _is_mine(path):
                with contextlib.suppress(OSError):
                    os.utime(path)

    def _take_over(self, path: Path) -> bool:
        """Take over an expired claim; return False if another process took over the claim first."""
        return remove_dead_claim(path) and self._make(path)

    def _make(self, path: Path) -> bool:
        try:
            os.link(self._own_name(), path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _make_file(path)
        return True

    def _own_name(self) -> Path:
        if self._name is None:
            if self._folder.is_symlink():
                raise OSError(errno.ELOOP, "it is a symbolic link", str(self._folder))
            self._folder.mkdir(exist_ok=True)
            self._name = temporary_name(self._folder)
            try:
                self._name.write_text(_owned())
            except OSError:
                with contextlib.suppress(OSError):
                    self._name.unlink()
                self._name = None
                raise
        return self._name


@contextlib.contextmanager
def alone(folder: Path, task: str, message: str) -> Iterator[Claims]:
    """Let only one process at a time perform `task` on a folder.

    The context yields a :class:`Claims`. During long work, call :meth:`Claims.renew` between the
    steps.

    Parameters
    ----------
    task : str
        Name of the work that only one process may do at a time.
    message : str
        Error message to raise if another process performs the task.

    Raises
    ------
    CacheError
        If another process performs the task.
    StorageError
        If the folder can't be written to.
    """
    with Claims(folder) as claims:
        if not claims.take(task):
            raise CacheError(
                message,
                hint=f"Wait until {described(holders(folder, [task]))} has ended. The claim of a "
                "killed process expires: at once on this machine, after ten minutes on another.",
            )
        yield claims


def claimed(folder: Path, keys: Iterable[str]) -> set[str]:
    """Return the keys among `keys` that a living builder has claimed."""
    return {key for key in keys if _alive(claim_path(folder, key))}


@dataclass(frozen=True, slots=True)
class Holder:
    """Process that has claimed items.

    Attributes
    ----------
    system : str
        Its machine or container; "unknown" if the claim names no process.
    pid : int
        Its number; -1 if unknown.
    is_local : bool
        Whether it runs on this machine.
    expires : float
        Seconds after which its claims expire without a renewal.
    """

    system: str
    pid: int
    is_local: bool
    expires: float


def holders(folder: Path, keys: Iterable[str]) -> list[Holder]:
    """Return the processes that have claimed some of the items, without repeats."""
    unique: dict[Holder, None] = {}
    for key in keys:
        owner = _owner(claim_path(folder, key))
        if owner is None:
            unique[Holder("unknown", -1, False, _RENEW_SECONDS)] = None
        else:
            is_local = owner[0] == SYSTEM
            lease = ABANDONED_SECONDS if is_local else _LEASE_SECONDS
            unique[Holder(*owner, is_local, lease)] = None
    return list(unique)


def described(processes: Iterable[Holder]) -> str:
    """Return a text that names processes: ``process 12 on host, process 7 on other``."""
    return ", ".join(
        f"process {each.pid} on {each.system}" if each.pid >= 0 else "an unknown process"
        for each in processes
    )


def claims_of(folder: Path, pids: Collection[int]) -> list[Path]:
    """Return the claims held by the given processes of this machine."""
    owners = ((path, _owner(path)) for path in _listed(folder))
    return [path for path, owner in owners if owner and owner[0] == SYSTEM and owner[1] in pids]


def claim_path(folder: Path, key: str) -> Path:
    """Return the path of the claim on an item of a feature."""
    return folder / CLAIMS / hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def remove_claims(folders: Iterable[Path], pids: Collection[int]) -> None:
    """Remove claims and temporary files left by dead processes of this machine."""
    for folder in folders:
        for path in claims_of(folder, pids):
            remove_dead_claim(path)
        remove_debris([folder / CLAIMS], pids)


def any_claimed(folder: Path) -> bool:
    """Return whether a living builder has claimed any item of this feature."""
    return any(_alive(path) for path in _listed(folder))


def find_dead_claims(folder: Path) -> list[Path]:
    """Return the expired claims of a feature."""
    return [path for path in _listed(folder) if not _alive(path)]


def remove_dead_claim(path: Path) -> bool:
    """Remove an expired claim; return False if a living process has taken over the claim.

    Raises
    ------
    OSError
        If the claim can't be removed.
    """
    # Renaming comes first, so that only one of several processes gets the claim. After that, the
    # claim is checked, because another process may have taken over the claim in the meantime.
    aside = temporary_name(path.parent)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return True
    if path in _renewals:
        _renewals[aside] = _renewals.pop(path)
    if not _alive(aside):
        aside.unlink(missing_ok=True)
        return True
    with contextlib.suppress(OSError):
        os.link(aside, path)  # rename would replace the claim of a third process
    aside.unlink(missing_ok=True)
    return False


def _listed(folder: Path) -> list[Path]:
    claims = folder / CLAIMS
    if claims.is_symlink():  # the files in it may be anyone's, and expired claims are removed
        return []
    try:
        return sorted(path for path in claims.iterdir() if _DIGEST.fullmatch(path.name))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _make_file(path: Path) -> bool:
    """Create a claim as a file, on file systems without links; return False if it exists.

    The file is first created, then the owner is written. If the process is killed in between, the
    claim has no owner and expires after a minute.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(_owned())
    except OSError:  # disk full: an empty claim would block every builder
        path.unlink(missing_ok=True)
        raise
    return True


def _age(path: Path) -> float:
    """Return the seconds since the last renewal of a claim, by its date or by observation.

    Raises
    ------
    OSError
        If the claim does not exist.
    """
    status, now = path.stat(), time.monotonic()
    state = (status.st_mtime_ns, status.st_ino)
    before, since = _renewals.get(path, (None, now))
    if before != state:
        since = now
        _renewals[path] = (state, now)
    return max(time.time() - status.st_mtime, now - since)


def _owned() -> str:
    return f"{SYSTEM} {os.getpid()}\n"


def _is_mine(path: Path) -> bool:
    return _owner(path) == (SYSTEM, os.getpid())


def _owner(path: Path) -> tuple[str, int] | None:
    try:
        host, pid = read_text(path, _MAX_OWNER).split()
        return (host, int(pid)) if _HOST.fullmatch(host) else None
    except (OSError, ValueError):
        return None


def _alive(path: Path) -> bool:
    try:
        age = _age(path)
    except OSError:
        return False
    owner = _owner(path)
    if owner is None:  # the file is being written, or has no owner
        return age < _RENEW_SECONDS and path.exists()
    if owner[0] == SYSTEM:
        # A claim expires after an hour, because a process number can be reused.
        return not is_dead(*owner) and age < ABANDONED_SECONDS
    return age < _LEASE_SECONDS
