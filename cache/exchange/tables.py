"""Tables of recordings: CSV, TSV, JSON, JSON lines, parquet and Excel files as rows of text.

One reader serves corpora, precomputed features and imports, so that all accept the same files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CacheError, UserError
from .columns import ColumnChoice, plain, roles_of, without_index
from .paths import AmbiguousPath, PathFinder
from .table_formats import FORMATS, RawTable, TableFault
from .times import parse_seconds

SUFFIXES = tuple(FORMATS)

_EVERYTHING = ColumnChoice()


@dataclass(frozen=True)
class TableRow:
    """One row with its file and line.

    Attributes
    ----------
    file : Path
        The table.
    line : int
        Line number, counted from 1 as in an editor; the last line of a row of several lines. In
        files without lines, the number of the row, counted from 1.
    cells : mapping of str to str
        Text of each cell by column; empty cells are omitted.
    names : mapping of str to str
        The file's own name of a column by role, for messages.
    fault : type of UserError
        Class of the errors about this row.
    """

    file: Path
    line: int
    cells: Mapping[str, str]
    names: Mapping[str, str] = field(default_factory=dict, compare=False)
    fault: type[UserError] = field(default=CacheError, compare=False)

    @property
    def location(self) -> str:
        """Location of the row: ``clips.csv, line 3``."""
        return f"{self.file}, line {self.line}"

    def get(self, column: str) -> str | None:
        """Return the text of a cell, or None if the cell is empty or the column does not exist."""
        return self.cells.get(column)

    def need(self, column: str) -> str:
        """Return the text of a cell.

        Raises
        ------
        UserError
            If the cell is empty or the column does not exist.
        """
        if column in self.cells:
            return self.cells[column]
        raise self.error(f"The {column} is missing.")

    def number(self, column: str) -> float | None:
        """Return the number in a cell, or None if the cell is empty or the column does not exist.

        Raises
        ------
        UserError
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

    def seconds(self, column: str) -> float | None:
        """Return the time in a cell in seconds, or None if the cell is empty or ``NaT``.

        Raises
        ------
        UserError
            If the cell is not a time (:func:`~fusion.cache.exchange.times.parse_seconds`).
        """
        text = self.get(column)
        try:
            return None if text is None else parse_seconds(text)
        except ValueError:
            raise self.error(
                f"Column {column} holds {text!r}, which is not a time.",
                hint="Write seconds with a decimal point (3.795), HH:MM:SS.mmm, or a pandas time "
                "delta.",
            ) from None

    def span(self) -> tuple[float, float | None]:
        """Return start and end in seconds, from ``start`` and ``end`` or ``duration``.

        A duration counts only with a start. The end is None if the row states none.

        Raises
        ------
        UserError
            If a cell is not a time.
        """
        start, end = self.seconds("start"), self.seconds("end")
        if end is None and start is not None and (duration := self.seconds("duration")):
            end = start + duration
        return start or 0.0, end

    def find(self, paths: PathFinder, hint: str) -> Path:
        """Return the file that the row's path names.

        Raises
        ------
        UserError
            If the row has no path, or several files match it equally well; `hint` is the advice
            for several files.
        """
        try:
            return paths.find(self.need("path"))
        except AmbiguousPath as several:
            raise self.error(str(several), hint=hint) from None

    def error(self, message: str, hint: str | None = None) -> UserError:
        """Return an error that names the file and line."""
        return self.fault(f"{self.location}: {message}", hint=hint)


@dataclass(frozen=True)
class Table:
    """Contents of a table.

    Attributes
    ----------
    file : Path
        The file.
    columns : tuple of str
        Roles of the columns; a column without a role has its own name, in lower case. Columns that
        are not read are left out.
    rows : tuple of TableRow
        Rows, without empty lines.
    roles : mapping of str to str
        The file's own name of a column, by role.
    names : mapping of str to str
        The file's own name of each column in `columns`.
    fault : type of UserError
        Class of the errors about this table.
    """

    file: Path
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    roles: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    fault: type[UserError] = CacheError

    def error(self, message: str, hint: str | None = None) -> UserError:
        """Return an error that names the first line, which holds the column names."""
        return self.fault(f"{self.file}, line 1: {message}", hint=hint)


def read_table(
    file: Path,
    aliases: Mapping[str, Sequence[str]],
    *,
    chosen: ColumnChoice = _EVERYTHING,
    fault: type[UserError] = CacheError,
) -> Table:
    """Read a table whose columns have names; the file's suffix determines the format.

    Parameters
    ----------
    aliases : mapping of str to sequence of str
        Names of a column that are accepted for a role, by role. Case, blanks and punctuation do
        not matter. The role itself is accepted and preferred.
    chosen : ColumnChoice
        Columns that the user assigned to roles or excluded.
    fault : type of UserError
        Class of the errors.

    Raises
    ------
    UserError
        If the file can't be read as a table with named columns or has no rows, or the user chose a
        column that does not exist.
    """
    suffix = file.suffix.lower()
    if suffix not in FORMATS:
        raise fault(f"{file} is not a table. Accepted suffixes: {', '.join(FORMATS)}.")
    try:
        raw = FORMATS[suffix](file)
        return _with_roles(file, raw, aliases, chosen, fault)
    except TableFault as error:
        at = f", line {error.line}" if error.line else ""
        raise fault(f"{file}{at}: {error.message}", hint=error.hint) from None
    except UnicodeDecodeError as error:
        raise fault(
            f"{file} is not encoded in UTF-8: {error.reason} at byte {error.start}.",
            hint="Save it as UTF-8, or convert it: iconv -f LATIN1 -t UTF-8 OLD > NEW",
        ) from None
    except OSError as error:
        raise fault(f"{file} can't be read: {error.strerror or error}.") from None


def _with_roles(
    file: Path,
    raw: RawTable,
    aliases: Mapping[str, Sequence[str]],
    chosen: ColumnChoice,
    fault: type[UserError],
) -> Table:
    header = without_index(raw.header, chosen.ignored)
    try:
        roles = roles_of(header, aliases, chosen)
    except KeyError as error:
        raise TableFault(
            f"There is no column {error.args[0]!r}. Columns: {listed(raw.header)}.",
            line=raw.header_line,
        ) from None
    by_position = {position: role for role, position in roles.items()}
    # If the user gives a role to a column, a column of the role's own name is not read.
    own_names = ["" if name.lower() in chosen.names else name.lower() for name in header]
    columns = [by_position.get(i, name) for i, name in enumerate(own_names)]
    _check_unique(columns, raw)
    own = {role: raw.header[position].strip() for role, position in roles.items()}
    rows = tuple(_rows(file, columns, own, raw, fault))
    if not rows:
        raise fault(f"{file} holds no rows.", hint="Add rows below the line of column names.")
    names = {c: name.strip() for c, name in zip(columns, raw.header, strict=True) if c}
    return Table(file, tuple(names), rows, own, names, fault)


def _check_unique(columns: Sequence[str], raw: RawTable) -> None:
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise TableFault(
            f"Two columns are called {twice[0]!r}: {', '.join(raw.header)}.",
            line=raw.header_line,
            hint="Rename one, or leave one out: --ignore-column NAME",
        )


def _rows(
    file: Path,
    columns: Sequence[str],
    own: Mapping[str, str],
    raw: RawTable,
    fault: type[UserError],
) -> Iterator[TableRow]:
    for line, cells in raw.rows:
        texts = [cell.strip() for cell in cells]
        if not any(texts):
            continue
        while len(texts) > len(columns) and not texts[-1]:  # spreadsheets write empty columns
            texts.pop()
        named = {c: t for c, t in zip(columns, texts, strict=False) if t and c}
        row = TableRow(file, line, named, own, fault)
        if len(texts) > len(columns) or len(cells) < len(columns):
            raise row.error(
                f"{len(cells)} cells, but the first line names {len(columns)} columns.",
                hint="A cell that contains the separator must be in quotation marks.",
            )
        yield row


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return the names as text, at most `most` of them."""
    shown = [name for name in names if plain(name)]
    more = f" ... and {len(shown) - most} more" if len(shown) > most else ""
    return f"{', '.join(shown[:most]) or 'none'}{more}"
