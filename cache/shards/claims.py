"""Who is computing what, so that builders beside each other do not do the same work twice.

A claim is a name that is given before an item is computed and removed when its shard is
written, a link to a file that says whose it is. Making a link whose name must not exist yet is
one step on every file system, also a network one, so of two builders only one gets the item;
the other comes back to it at the end.
Claims are advice: a claim counts for nothing when its process is dead, or, where that can't be
known, when nobody has renewed it: for ten minutes on another machine, for an hour on this one,
where its number may have gone to another process. The worst that can happen is that an item is
computed twice, and is there twice, the same.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from ..errors import CacheError
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
_LEASE_SECONDS = 600.0  # for processes of other machines, which can't be asked whether they live


class Claims:
    """The claims of one process on items of one feature; a context that releases them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / CLAIMS
        self._name: Path | None = None  # the file that says who we are, to which claims are links
        self._held: list[Path] = []
        self._renewed = time.monotonic()

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._held:
            if _is_mine(path):  # and not taken over by somebody, who thought us dead
                with contextlib.suppress(OSError):
                    path.unlink()
        if self._name is not None:
            with contextlib.suppress(OSError):
                self._name.unlink()
        self._held, self._name = [], None

    def take(self, key: str) -> bool:
        """Claim an item; False where a living builder has it."""
        path = claim_path(self._folder.parent, key)
        try:
            if not self._make(path) and (_alive(path) or not self._take_over(path)):
                return False
        except OSError as error:
            raise storage_error(self._folder, error) from None
        self._held.append(path)
        return True

    def renew(self) -> None:
        """Say that the work goes on. Costs nothing unless a minute has gone by."""
        if time.monotonic() - self._renewed < _RENEW_SECONDS:
            return
        self._renewed = time.monotonic()
        for path in self._held:
            if _is_mine(path):
                with contextlib.suppress(OSError):
                    os.utime(path)

    def _take_over(self, path: Path) -> bool:
        """Replace a dead claim by one of ours, if nobody else does."""
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
def alone(folder: Path, task: str, others: str) -> Iterator[Claims]:
    """Keep other processes from doing the same meanwhile. Call ``renew`` of what this gives between
    the steps of long work.

    Parameters
    ----------
    task : str
        What only one process may do at a time.
    others : str
        What to say where another one does.

    Raises
    ------
    CacheError
        If another process is at it.
    StorageError
        If the folder can't be written to.
    """
    with Claims(folder) as claims:
        if not claims.take(task):
            raise CacheError(
                others,
                hint="Wait until it has ended. One that was killed counts for nothing; one of "
                "another machine for ten minutes.",
            )
        yield claims


def claimed(folder: Path, keys: Iterable[str]) -> set[str]:
    """Those of `keys` on which a living builder works."""
    return {key for key in keys if _alive(claim_path(folder, key))}


def claims_of(folder: Path, pids: Collection[int]) -> list[Path]:
    """The claims of these processes of this machine."""
    owners = ((path, _owner(path)) for path in _listed(folder))
    return [path for path, owner in owners if owner and owner[0] == SYSTEM and owner[1] in pids]


def claim_path(folder: Path, key: str) -> Path:
    """Return the path of the claim on an item of a feature."""
    return folder / CLAIMS / hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def remove_claims(folders: Iterable[Path], pids: Collection[int]) -> None:
    """Remove the claims of processes of this machine, known to be dead."""
    for folder in folders:
        for path in claims_of(folder, pids):
            remove_dead_claim(path)
        remove_debris([folder / CLAIMS], pids)


def any_claimed(folder: Path) -> bool:
    """Whether a living builder works on anything of this feature."""
    return any(_alive(path) for path in _listed(folder))


def find_dead_claims(folder: Path) -> list[Path]:
    """Claims that count for nothing any more."""
    return [path for path in _listed(folder) if not _alive(path)]


def remove_dead_claim(path: Path) -> bool:
    """Remove a claim that counts for nothing; False if somebody living has it by now.

    Raises
    ------
    OSError
        If it can't be removed.
    """
    # Renamed first, so that of several who do this one gets it, and looked at only then: in
    # the meantime it may have been taken over.
    aside = temporary_name(path.parent)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return True
    if not _alive(aside):
        aside.unlink(missing_ok=True)
        return True
    with contextlib.suppress(OSError):
        os.link(aside, path)  # not rename, which would replace a third one's
    aside.unlink(missing_ok=True)
    return False


def _listed(folder: Path) -> list[Path]:
    try:
        found = (folder / CLAIMS).iterdir()
        return sorted(path for path in found if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _make_file(path: Path) -> bool:
    """A claim where there are no links. A kill between its two steps leaves one that is
    nobody's, and that counts for a minute."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(_owned())
    except OSError:  # full: an empty claim would be in everybody's way
        path.unlink(missing_ok=True)
        raise
    return True


def _owned() -> str:
    return f"{SYSTEM} {os.getpid()}\n"


def _is_mine(path: Path) -> bool:
    return _owner(path) == (SYSTEM, os.getpid())


def _owner(path: Path) -> tuple[str, int] | None:
    try:
        host, pid = path.read_text().split()
        return host, int(pid)
    except (OSError, ValueError):
        return None


def _alive(path: Path) -> bool:
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return False
    owner = _owner(path)
    if owner is None:  # just being written, or nobody's
        return age < _RENEW_SECONDS and path.exists()
    if owner[0] == SYSTEM:
        # The hour: a number can have gone to another process.
        return not is_dead(*owner) and age < ABANDONED_SECONDS
    return age < _LEASE_SECONDS
