"""Folders to try a plugin on, and what is in a folder before and after."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def strange_places() -> Iterator[dict[str, Path]]:
    """Paths where nothing of any corpus lies, by what they are."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        found = {"an empty folder": root / "empty", "a folder of other files": root / "files"}
        for place in found.values():
            place.mkdir()
        (found["a folder of other files"] / "notes.txt").write_text("Buy milk.\n")
        (found["a folder of other files"] / "recording.wav").write_bytes(bytes(range(256)))
        (root / "picture.png").write_bytes(b"\x89PNG" + bytes(range(256)))
        yield {**found, "a file that is something else": root / "picture.png"}


def contents(path: Path | None) -> dict[str, tuple[int, int]]:
    """File below `path` -> its size and time of change."""
    if path is None or not path.is_dir():
        return {}
    found = ((file, file.stat()) for file in sorted(path.rglob("*")))
    return {str(file): (status.st_size, status.st_mtime_ns) for file, status in found}
