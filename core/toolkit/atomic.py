"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}")


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the folder of `path`, which replaces `path` if the context ends.

    An exception inside the context removes the temporary file and leaves `path` unchanged. Several
    threads and processes may write one file at the same time; the last one to end wins. Unlike the
    cache (``fusion.cache.shards.files``), this does not wait for the disk: a run that loses a file
    in a power failure can be repeated.

    Raises
    ------
    OSError
        If the temporary file can't replace `path`.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # neither the file nor its folder need exist
            temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove temporary files of :func:`replaced` that killed processes left in a folder.

    Call this function only if no other process writes to the folder.
    """
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _UNFINISHED.fullmatch(path.name) and not path.is_dir():
                path.unlink(missing_ok=True)
