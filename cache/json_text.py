"""JSON and text from strangers: regular files only, bounded in size and in nesting.

Run directories, cache folders and remote caches are data from strangers. All JSON of this project
is parsed here, so that no file blocks (a named pipe), fills the memory (a device) or ends in a
traceback (100,000 nested brackets).
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

# Largest text file that is read as a whole; run.json of 100,000 clips has 40 MB.
MAX_BYTES = 1 << 30


def parse_json(text: str | bytes, *, finite: bool = False) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    finite : bool
        Whether to refuse NaN and infinity, which are not JSON but are read by Python.

    Raises
    ------
    ValueError
        If the text is not JSON in UTF-8, or is nested deeper than the parser can follow.
    """
    try:
        return json.loads(text, parse_constant=_refused if finite else None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def read_json(file: Path, max_bytes: int = MAX_BYTES, *, finite: bool = False) -> Any:
    """Return the JSON value in a file; see :func:`parse_json`.

    Raises
    ------
    OSError
        As :func:`read_text`.
    ValueError
        As :func:`parse_json`.
    """
    return parse_json(read_text(file, max_bytes), finite=finite)


def read_text(file: Path, max_bytes: int = MAX_BYTES) -> str:
    """Return the UTF-8 text of a regular file.

    Raises
    ------
    OSError
        If the file can't be read, is larger than `max_bytes`, or is not a regular file: a folder,
        a named pipe, a socket or a device.
    UnicodeDecodeError
        If the file is not UTF-8.
    """
    return read_bytes(file, max_bytes).decode("utf-8")


def read_bytes(file: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the bytes of a regular file.

    Raises
    ------
    OSError
        As :func:`read_text`.
    """
    # O_NONBLOCK: opening a named pipe without a writer would wait forever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    handle = os.open(file, flags)
    with os.fdopen(handle, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(file))
        # One byte more than allowed: the file may grow after the check.
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes} bytes", str(file))
    return data
