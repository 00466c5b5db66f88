"""Corpora whose labels are in a table or text file beside the recordings."""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from ...core.contracts.data import Corpus
from ...core.contracts.errors import CorpusError
from ...core.toolkit.filenames import ANOTHER_FORMAT, format_rank, is_folder, readable

_MOST_BYTES = 500 << 20
_MOST_PER_FOLDER = 200
_MOST_ENTRIES = 2_000
Key = TypeVar("Key", bound=Hashable)


def folders_near(root: Path) -> Iterator[Path]:
    """Yield `root` and the folders up to two levels below, quickly for a tree of any size.

    The order is by depth, then by name. Up to 200 entries of each folder, and 2,000 in total, are
    examined. Hidden and unreadable folders are left out.
    """
    level, remaining = [root], _MOST_ENTRIES
    for _ in range(3):
        yield from level
        inner: list[Path] = []
        for folder in level:
            entries = _entries(folder, min(_MOST_PER_FOLDER, remaining))
            remaining -= len(entries)
            inner += [Path(e.path) for e in entries if not e.name.startswith(".") and is_folder(e)]
        level = sorted(inner)


def _entries(folder: Path, count: int) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as scan:
            return list(itertools.islice(scan, count))
    except OSError:
        return []


def read_text(file: Path) -> str:
    """Return the text of a file in UTF-8; a byte that is no UTF-8 becomes a replacement character.

    Raises
    ------
    CorpusError
        If the file can't be read, is no regular file or is larger than 500 MiB.
    """
    try:
        if not file.is_file() or file.stat().st_size > _MOST_BYTES:
            raise CorpusError(f"{file} is not a regular file of up to 500 MiB.")
        return file.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise CorpusError(f"{file} can't be read: {error.strerror}.") from error


def read_csv(file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a header, by column, without blanks around the cells.

    The published tables of MELD have a few bytes that are no UTF-8, which the general reader of
    tables refuses.

    Parameters
    ----------
    columns : sequence of str
        Columns that must exist.

    Raises
    ------
    CorpusError
        If the file can't be read, or lacks one of `columns`.
    """
    reader = csv.reader(io.StringIO(read_text(file), newline=""))
    try:
        lines = [[cell.strip() for cell in line] for line in reader]
    except csv.Error as error:
        raise CorpusError(f"{file}, line {reader.line_num}: {error}.") from None
    header = lines[0] if lines else []
    for column in columns:
        if column not in header:
            raise CorpusError(f"{file} has no column {column}; its columns: {', '.join(header)}.")
    return [dict(zip(header, line, strict=False)) for line in lines[1:] if any(line)]


def first_files(
    corpus: Corpus, names: Iterable[str], key: Callable[[str], Key | None]
) -> dict[Key, str]:
    """Return the file to read for each key, sorted by path; pass all other files over.

    Parameters
    ----------
    names : iterable of str
        Paths of the recordings, relative to the corpus.
    key : callable
        Returns the identity of a recording by its path; None for a file that was passed over.
    """
    chosen: dict[Key, str] = {}
    for name in sorted(names, key=lambda name: (format_rank(name), name.split("/"))):
        identity = key(name)
        if identity is None:
            continue
        first = chosen.setdefault(identity, name)
        if first != name:
            same_format = format_rank(first) == format_rank(name)
            reason = "second file of the same recording" if same_format else ANOTHER_FORMAT
            corpus.pass_over(readable(name), reason)
    return dict(sorted(chosen.items(), key=lambda item: item[1].split("/")))


def stem(name: str) -> str:
    """Return the name of a file without folders and suffix."""
    return name.rpartition("/")[2].rpartition(".")[0]
