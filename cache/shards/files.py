"""Files that appear whole or not at all, and what is left of those that did not."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import StorageError

HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "unknown"
_FIRST_NAMESPACE = 0xEFFFFFFC  # of process numbers, on any Linux; others are containers'


def _system() -> str:
    """Where process numbers mean the same: a machine, or a container with numbers of its own."""
    with contextlib.suppress(OSError):
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        if namespace != _FIRST_NAMESPACE:
            return f"{HOST}-{namespace}"
    return HOST


SYSTEM = _system()
ABANDONED_SECONDS = 3600.0  # what has not changed for this long, nobody is writing any more

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>[0-9]+)\.tmp")


def temporary_name(folder: Path) -> Path:
    """A new name in `folder` that says whose it is (see :func:`find_debris`)."""
    return folder / f".{uuid.uuid4().hex}.{SYSTEM}.{os.getpid()}.tmp"


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; it becomes `path` when that went well.

    After a kill at any moment `path` is there whole or not at all, and what was left under
    the temporary name says whose it was.

    Raises
    ------
    StorageError
        If the folder can't be written to or is full.
    """
    try:
        with all_written_whole([path]) as (temporary,):
            yield temporary
    except OSError as error:
        raise storage_error(path.parent, error) from None


@contextlib.contextmanager
def all_written_whole(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Give a temporary name for each file of one folder. The first one appears last: where it is,
    all are, and an old one never stands beside new ones.

    Raises
    ------
    OSError
        If the folder can't be written to or is full.
    """
    temporary = [temporary_name(path.parent) for path in paths]
    try:
        yield temporary
        for path in temporary:
            sync(path)
        if len(paths) > 1:
            paths[0].unlink(missing_ok=True)
        for path, final in reversed(list(zip(temporary, paths, strict=True))):
            path.replace(final)
        sync(paths[0].parent)
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make sure that a file's contents, or a folder's names, are on the disk."""
    if path.is_dir() and os.name == "nt":  # which can't open folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems (CIFS, some of FUSE) can't do that for a folder.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.EBADF)):
            raise
    finally:
        os.close(descriptor)


def storage_error(folder: Path, error: OSError) -> StorageError:
    """What the operating system said about writing to `folder`, and what to do."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "Free some space and start again: what is finished stays."
    else:
        hint = "Choose a folder that you may write to; FUSION_CACHE sets the default."
    return StorageError(f"Can't write to the cache in {folder}: {reason}.", hint=hint)


# -- debris --------------------------------------------------------------------------


def find_debris(folder: Path) -> list[Path]:
    """Temporary files that nobody is writing any more.

    A file of a process of this machine is debris when that process is dead; any file when it
    has not changed for an hour.
    """
    found = []
    for path in sorted(folder.glob(".*.tmp")):
        match = _TEMPORARY.fullmatch(path.name)
        if match and (is_dead(match["host"], int(match["pid"])) or _old(path)):
            found.append(path)
    return found


def remove_debris(folders: Iterable[Path], pids: Iterable[int]) -> None:
    """Remove what these processes of this machine, known to be dead, left unfinished."""
    for folder in folders:
        for pid in pids:
            for path in folder.glob(f".*.{SYSTEM}.{pid}.tmp"):
                with contextlib.suppress(OSError):
                    path.unlink()


def is_dead(system: str, pid: int) -> bool:
    """Whether that process is known to be gone; of another machine's nothing is known."""
    if system != SYSTEM or os.name != "posix":  # elsewhere signal 0 is not harmless
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def _old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    except FileNotFoundError:
        return False  # finished in the meantime
