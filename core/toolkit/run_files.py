"""Files of a run directory: read with a word on what is wrong, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..contracts.errors import RunError, StorageError


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    RunError
        If the file is missing or damaged, or holds something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} can't be read: {error}") from error
    if not isinstance(data, dict):
        raise RunError(f"{path} does not hold a JSON object.")
    return data


def write_json(run: Path, name: str, data: Mapping[str, Any]) -> None:
    """Replace a file of `run` by a JSON object; NaN and infinity are refused.

    Raises
    ------
    StorageError
        If the folder can't be written to or is full.
    """
    write_text(run, name, json.dumps(data, indent=1, allow_nan=False) + "\n")


def write_text(run: Path, name: str, text: str) -> None:
    """Replace a file of `run` by `text`, whole or not at all.

    Raises
    ------
    StorageError
        If the folder can't be written to or is full.
    """
    path = run / name
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # surrogateescape: a file name may be any bytes, and comes back as it was.
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # it may never have been there, nor its folder
            temporary.unlink()
        raise StorageError(
            f"{path} could not be written: {error.strerror or error}.",
            hint=f"Free some space or mend the permissions, then: fusion run --resume {run}",
        ) from error
