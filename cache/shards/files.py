"""Writing of files that are never visible incomplete, and removal of interrupted writes."""

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
_FIRST_NAMESPACE = 0xEFFFFFFC  # inode of Linux's PID namespace outside containers


def _system() -> str:
    """Return a name for the scope of process numbers: this machine or this container."""
    with contextlib.suppress(OSError):
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        if namespace != _FIRST_NAMESPACE:
            return f"{HOST}-{namespace}"
    return HOST


SYSTEM = _system()
ABANDONED_SECONDS = 3600.0  # a file unchanged for this long is no longer being written

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>[0-9]+)\.tmp")


def temporary_name(folder: Path) -> Path:
    """Return a new name in `folder` that contains machine and process (see :func:`find_debris`)."""
    return folder / f".{uuid.uuid4().hex}.{SYSTEM}.{os.getpid()}.tmp"


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write to, which becomes `path` if the context succeeds.

    If the process is killed at any moment, `path` is complete, unchanged or absent. The name of a
    temporary file contains the process that wrote the file.

    Raises
    ------
    StorageError
        If the folder is full or can't be written to.
    """
    try:
        with all_written_whole([path]) as (temporary,):
            yield temporary
    except OSError as error:
        raise storage_error(path.parent, error) from None


@contextlib.contextmanager
def all_written_whole(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield a temporary name for each of several files of one folder.

    The first file appears last. If the first file exists, all files exist. An old first file is
    removed before any other file is replaced.

    Raises
    ------
    OSError
        If the folder is full or can't be written to.
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


def unlinked(path: str, flags: int) -> int:
    """Open a file for ``open(..., opener=unlinked)``; fail if the path is a symbolic link.

    A stranger's folder may have a link in place of a log or a lock, whose target would be written.

    Raises
    ------
    OSError
        If the file can't be opened, or is a link.
    """
    # O_NONBLOCK: a named pipe without a reader is an error instead of an endless wait.
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return os.open(path, flags, 0o666)


def sync(path: Path) -> None:
    """Write a file's contents, or the names in a folder, to the disk."""
    if path.is_dir() and os.name == "nt":  # Windows can't open folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems (CIFS, some FUSE ones) can't sync a folder.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.EBADF)):
            raise
    finally:
        os.close(descriptor)


def storage_error(folder: Path, error: OSError) -> StorageError:
    """Return an error with the reason for a failed write to `folder`, and what to do."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "Free some space and start again: finished items are kept."
    else:
        hint = "Choose a folder that you may write to (--out, --cache or FUSION_CACHE)."
    return StorageError(f"Can't write to {folder}: {reason}.", hint=hint)


# -- debris --------------------------------------------------------------------------


def find_debris(folder: Path) -> list[Path]:
    """Return the temporary files of a folder that no process writes to any more.

    A file of a process of this machine is debris when that process is dead. Any temporary file is
    debris when it has not changed for an hour.
    """
    debris = []
    for path in sorted(folder.glob(".*.tmp")):
        match = _TEMPORARY.fullmatch(path.name)
        if match and (is_dead(match["host"], int(match["pid"])) or _old(path)):
            debris.append(path)
    return debris


def remove_debris(folders: Iterable[Path], pids: Iterable[int]) -> None:
    """Remove the unfinished files of dead processes of this machine."""
    for folder in folders:
        for pid in pids:
            for path in folder.glob(f".*.{SYSTEM}.{pid}.tmp"):
                with contextlib.suppress(OSError):
                    path.unlink()


def is_dead(system: str, pid: int) -> bool:
    """Return whether a process is known to have ended; always False for other machines."""
    if system != SYSTEM or os.name != "posix":  # on other systems signal 0 is not harmless
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
