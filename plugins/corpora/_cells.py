"""Cells of containers with free column names: parts of splits, values and paths."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from ...cache.exchange.table_formats import cell_text
from ...core.toolkit.filenames import readable
from ...core.toolkit.parts import part_of


def split_of(*names: str) -> str | None:
    """Return the part of a split that words of some names state: ``train-00000-of-00001``.

    The first name with a known word decides. Two different parts in one name give None.
    """
    for name in names:
        words = re.split(r"[^a-z]+", name.lower())
        parts = {part for word in words if (part := part_of(word))}
        if parts:
            return parts.pop() if len(parts) == 1 else None
    return None


def text_of(value: Any) -> str:
    """Return a cell's value as text: ``3`` for 3.0; empty for None, NaN, lists and objects."""
    return "" if isinstance(value, (dict, list, tuple, bytes)) else cell_text(value)


def inner_path(text: str) -> PurePosixPath | None:
    """Return a path of a container, with slashes; None if it leaves the container's folder."""
    windows = PureWindowsPath(text)
    if windows.drive or windows.root or ".." in windows.parts or "\0" in text:
        return None
    path = PurePosixPath(*windows.parts)
    return path if path.parts else None


def clean_name(text: str) -> str:
    """Return a text as the name of a clip: a relative path with slashes.

    Bytes that are not UTF-8 become ``%`` and two hexadecimal digits.
    """
    parts = [part for part in re.split(r"[/\\]+", text) if part not in ("", ".", "..")]
    name = "/".join(re.sub(r"^[A-Za-z]:$", "", part) for part in parts).lstrip("/")
    return re.sub(r"[\x00-\x1f\x7f]", "\ufffd", readable(name)) or "unnamed"
