"""CSV and TSV files as rows, each with the file and line number for messages."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ..errors import CacheError

SUFFIXES = (".csv", ".tsv")


@dataclass(frozen=True)
class TableRow:
    """One row with its file and line.

    Attributes
    ----------
    file : Path
        The table.
    line : int
        Line number, counted from 1 as in an editor; the last line of a row of several lines.
    cells : mapping of str to str
        Text of each cell by column; empty cells are omitted.
    """

    file: Path
    line: int
    cells: Mapping[str, str]

    @property
    def location(self) -> str:
        """Location of the row: ``clips.csv, line 3``."""
        return f"{self.file}, line {self.line}"

    def get(self, column: str) -> str | None:
        """Return the text of a cell, or None if the cell is empty or the column does not exist."""
        return self.cells.get(column)

    def number(self, column: str) -> float | None:
        """Return the number in a cell, or None if the cell is empty or the column does not exist.

        Raises
        ------
        CacheError
            If the cell is not a finite number.
        """
        text = self.get(column)
        try:
            value = None if text is None else float(text)
        except ValueError:
            value = math.nan
        if value is not None and not math.isfinite(value):
            raise self.error(f"Column {column} holds {text!r}, which is not a number.")
        return value

    def error(self, message: str, hint: str | None = None) -> CacheError:
        """Return an error that names the file and line."""
        return CacheError(f"{self.location}: {message}", hint=hint)


@dataclass(frozen=True)
class Table:
    """Contents of a table.

    Attributes
    ----------
    file : Path
        The file.
    columns : tuple of str
        Names of the columns in lower case; aliases are replaced by the canonical name.
    rows : tuple of TableRow
        Rows, without empty lines.
    """

    file: Path
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]

    def error(self, message: str, hint: str | None = None) -> CacheError:
        """Return an error that names the first line, which holds the column names."""
        return CacheError(f"{self.file}, line 1: {message}", hint=hint)


def read_table(file: Path, aliases: Mapping[str, Sequence[str]]) -> Table:
    """Read a table whose first line names the columns.

    Parameters
    ----------
    aliases : mapping of str to sequence of str
        Other accepted names of a column, by the column's canonical name.

    Raises
    ------
    CacheError
        If the file can't be read as a table with named columns, or has no rows.
    """
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        with file.open(encoding="utf-8-sig", newline="") as stream:
            header = stream.readline()
            delimiter = "\t" if file.suffix.lower() == ".tsv" else max(",;\t", key=header.count)
            names = next(csv.reader(io.StringIO(header), delimiter=delimiter), [])
            columns = _common([name.strip().lower() for name in names], aliases)
            table = Table(file, columns, ())
            twice = [name for name in columns if columns.count(name) > 1]
            if twice:
                raise table.error(f"Two columns are called {twice[0]!r}: {', '.join(names)}.")
            rows = tuple(_rows(file, columns, stream, delimiter))
    except UnicodeDecodeError as error:
        raise CacheError(
            f"{file} is not encoded in UTF-8: {error.reason} at byte {error.start}."
        ) from None
    except csv.Error as error:
        raise CacheError(f"{file}, line 1: {error}.") from None
    except OSError as error:
        raise CacheError(f"{file} can't be read: {error.strerror or error}.") from None
    if not rows:
        raise CacheError(f"{file} holds no rows.", hint="Add rows below the line of column names.")
    return Table(file, columns, rows)


def _common(names: list[str], aliases: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return column names with aliases replaced, unless the table also has the canonical name."""
    for common, alternatives in aliases.items():
        alias = next((name for name in alternatives if name in names), None)
        if common not in names and alias is not None:
            names[names.index(alias)] = common
    return tuple(names)


def _rows(
    file: Path, columns: tuple[str, ...], stream: TextIO, delimiter: str
) -> Iterator[TableRow]:
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            texts = [cell.strip() for cell in cells]
            if not any(texts):
                continue
            named = {c: t for c, t in zip(columns, texts, strict=False) if t}
            row = TableRow(file, 1 + reader.line_num, named)
            if len(cells) != len(columns):
                raise row.error(
                    f"{len(cells)} cells, but the first line names {len(columns)} columns."
                )
            yield row
    except csv.Error as error:
        raise CacheError(f"{file}, line {1 + reader.line_num}: {error}.") from None
