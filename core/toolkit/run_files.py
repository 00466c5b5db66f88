"""Files of a run directory: validated when read, and written atomically."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Literal, TextIO, TypeVar

import msgspec

from ...cache import json_text
from ...cache.guarded_arrays import check_regular
from ...cache.shards.files import unlinked
from ..contracts.errors import RunError, StorageError
from .atomic import replaced

T = TypeVar("T")
_MISSING = re.compile(r"Object missing required field `(.+?)`")
_WRONG = re.compile(r"Expected `(.+?)`(?:, got `(.+?)`)?")
_FIELD = re.compile(r" - at `\$\.?(.*)`$")
_JSON_NAMES = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false",
               "object": "an object", "array": "a list", "null": "null"}  # fmt: skip


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises
    ------
    RunError
        If the file is missing or damaged, or does not hold a JSON object.
    """
    try:
        data = json_text.read_json(path, finite=True)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} can't be read: {_reason(error)}.") from error
    if not isinstance(data, dict):
        raise RunError(f"{path} does not hold a JSON object.")
    return data


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON objects, one per line; a last line that is incomplete is left out.

    Raises
    ------
    RunError
        If the file is missing or damaged; the message names the line.
    """
    try:
        text = json_text.read_text(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} can't be read: {_reason(error)}.") from error
    return [line_object(line, path, n) for n, line in enumerate(text.split("\n")[:-1], 1)]


def open_table(path: Path) -> TextIO:
    """Open a CSV file of a run for reading; file names in it may be arbitrary bytes.

    Raises
    ------
    OSError
        If the file can't be read, or is not a regular file: a named pipe would wait for ever.
    """
    check_regular(path)
    return path.open(encoding="utf-8", errors="surrogateescape", newline="")


def line_object(line: str | bytes, path: Path, number: int) -> dict[str, Any]:
    """Return the JSON object in a line of a file.

    Raises
    ------
    RunError
        If the line holds no JSON object.
    """
    try:
        data = json_text.parse_json(line, finite=True)
    except ValueError as error:
        raise RunError(f"{path} is damaged at line {number}: {error}.") from None
    if not isinstance(data, dict):
        raise RunError(f"{path} is damaged at line {number}: it does not hold a JSON object.")
    return data


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def as_type(data: Any, cls: type[T], file: Path) -> T:
    """Convert the contents of a JSON file to a dataclass, ignoring fields unknown to `cls`.

    Raises
    ------
    RunError
        If a field is missing or has the wrong type; the message names the file and the field.
    """
    try:
        return msgspec.convert(data, cls)
    except msgspec.ValidationError as error:
        raise RunError(f"{file} is damaged: {_fault(str(error))}.") from None


def _fault(text: str) -> str:
    """Return an error message of msgspec, with types named as in JSON."""
    match = _FIELD.search(text)
    field = match[1] if match else ""
    if missing := _MISSING.match(text):
        inside = f" in {field!r}" if field else ""
        return f"it has no {missing[1]!r}{inside}"
    wrong = _WRONG.match(text)
    if wrong is None or not field:
        return text
    expected = " or ".join(_JSON_NAMES.get(name, name) for name in wrong[1].split(" | "))
    actual = f", and is {_JSON_NAMES.get(wrong[2], wrong[2])}" if wrong[2] else ""
    return f"{field!r} must be {expected}{actual}"


def check_inside(run: Path, name: str) -> None:
    """Raise if a name in a run directory leads out of the directory, also through links.

    Parameters
    ----------
    name : str
        Relative path of a file or folder to write. The last part may be a link, which a file
        replaces.

    Raises
    ------
    RunError
        If the name is absolute or contains ``..``, or a folder in it is a symbolic link.
    """
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts:
        raise RunError(f"The name {name!r} in {run} leads out of the run directory.")
    for folder in [*path.parents][:-1]:
        if (run / folder).is_symlink():
            raise RunError(
                f"{run / folder} is a symbolic link; a run writes only inside its directory.",
                hint="Replace the link by the folder, or remove it.",
            )


def write_json(run: Path, name: str, data: Mapping[str, Any]) -> None:
    """Replace a file of `run` by a JSON object, atomically; reject NaN and infinity.

    Raises
    ------
    StorageError
        If the folder can't be written to or is full.
    """
    write_text(run, name, json.dumps(data, indent=1, allow_nan=False) + "\n")


def write_text(run: Path, name: str, text: str) -> None:
    """Replace a file of `run` by `text`, atomically.

    Raises
    ------
    StorageError
        If the folder can't be written to or is full.
    """
    path = run / name
    check_inside(run, name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as temporary:
            # surrogateescape: file names may be arbitrary bytes, which must survive a round trip.
            temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise StorageError(
            f"{path} can't be written: {error.strerror or error}.",
            hint=f"Free some space or correct the permissions, then: fusion run --resume {run}",
        ) from error


def open_log(path: Path, mode: Literal["a", "w"]) -> TextIO:
    """Open a log that is written line by line; a symbolic link is not followed.

    Raises
    ------
    StorageError
        If the file can't be written, or is a link.
    """
    try:
        return open(path, mode, encoding="utf-8", buffering=1, opener=unlinked)
    except OSError as error:
        raise StorageError(
            f"{path} can't be written: {error.strerror or error}.",
            hint="If it is a link, delete it; otherwise correct the folder's permissions.",
        ) from error
