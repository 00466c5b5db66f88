"""Rows of CSV, TSV and JSON lines files, with normalised column names."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...core.contracts.errors import CorpusError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_ALIASES = {
    "path": ("wav", "file", "filename", "file_name", "filepath", "file_path", "audio",
             "audio_path", "wav_path"),
    "label": ("emotion", "emo", "class"),
    "speaker": ("spk", "speaker_id", "spk_id", "speakerid", "actor", "actor_id"),
    "split": ("partition", "subset", "set"),
    "start": ("start_time", "begin"),
    "end": ("end_time", "stop"),
    "name": ("key", "id", "clip", "utterance", "utterance_id"),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Row of a table, with its file and line.

    Attributes
    ----------
    file : Path
        Path of the table.
    line : int
        Line number, counted from 1 as in an editor.
    cells : mapping of str to str
        Maps the canonical name of a column to the text of the cell; empty cells are left out.
    """

    file: Path
    line: int
    cells: Mapping[str, str]

    def get(self, column: str) -> str | None:
        """Return the cell of a column, or None if the cell is empty or the column is missing."""
        return self.cells.get(column)

    def need(self, column: str) -> str:
        """Return the cell of a column; raise CorpusError if the cell is empty or does not exist."""
        if column in self.cells:
            return self.cells[column]
        raise self.error(
            f"The {column} is missing. Columns with a value: {', '.join(self.cells) or 'none'}.",
            hint=f"Accepted column names: {', '.join((column, *_ALIASES.get(column, ())))}.",
        )

    def seconds(self, column: str) -> float | None:
        """Return a column's cell as a finite number of seconds, or None if the cell is empty."""
        text = self.get(column)
        try:
            value = None if text is None else float(text)
        except ValueError:
            value = math.nan
        if value is not None and not math.isfinite(value):
            raise self.error(f"Column {column} holds {text!r}, which is not a number of seconds.")
        return value

    def error(self, message: str, hint: str | None = None) -> CorpusError:
        """Return an error whose message names the file and the line."""
        return CorpusError(f"{self.file}, line {self.line}: {message}", hint=hint)


def read_rows(file: Path) -> Iterator[Row]:
    """Yield the rows of a table; the file's suffix determines the format.

    Raises
    ------
    CorpusError
        If the file can't be read in the format of its suffix.
    """
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise CorpusError(f"{file} is not a table. Accepted suffixes: {', '.join(SUFFIXES)}.")
    raw = _json_lines(file) if suffix in (".jsonl", ".ndjson") else _separated(file, suffix)
    try:
        for row in raw:
            yield replace(row, cells=_common(row))
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{file} is not encoded in UTF-8: {error.reason} at byte {error.start}."
        ) from None
    except OSError as error:
        raise CorpusError(f"{file} can't be read: {error.strerror}.") from error


def _common(row: Row) -> dict[str, str]:
    """Return the cells by canonical column name, which takes precedence over an alias."""
    cells: dict[str, str] = {}
    for column, value in row.cells.items():
        if value:
            cells[column.strip().lower()] = value
    for common, aliases in _ALIASES.items():
        for alias in aliases:
            if common not in cells and alias in cells:
                cells[common] = cells.pop(alias)
    return cells


def _separated(file: Path, suffix: str) -> Iterator[Row]:
    # utf-8-sig removes the byte order mark that spreadsheets put before the first column's name.
    with file.open(encoding="utf-8-sig", newline="") as stream:
        header = stream.readline()
        delimiter = "\t" if suffix == ".tsv" else max(",;\t", key=header.count)
        rest = csv.reader(stream, delimiter=delimiter, strict=True)
        columns = next(csv.reader(io.StringIO(header), delimiter=delimiter), [])
        if len({c.strip().lower() for c in columns}) < len(columns):
            raise CorpusError(f"{file}, line 1: duplicate column: {', '.join(columns)}.")
        try:
            for cells in rest:
                yield from _separated_row(file, 1 + rest.line_num, columns, cells)
        except csv.Error as error:
            raise CorpusError(f"{file}, line {1 + rest.line_num}: {error}.") from None


def _separated_row(file: Path, line: int, columns: list[str], cells: list[str]) -> Iterator[Row]:
    if not any(cell.strip() for cell in cells):
        return
    row = Row(file, line, dict(zip(columns, map(str.strip, cells), strict=False)))
    if len(cells) != len(columns):
        raise row.error(f"{len(cells)} cells, but the first line names {len(columns)} columns.")
    yield row


def _json_lines(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig") as stream:
        for line, text in enumerate(stream, 1):
            if not text.strip():
                continue
            row = Row(file, line, {})
            try:
                record = json.loads(text)
            except json.JSONDecodeError as error:
                raise row.error(f"The line is not valid JSON: {error.msg}.") from None
            if not isinstance(record, dict):
                raise row.error("The row is not a JSON object, {...}.")
            yield replace(row, cells={str(k): _text(v) for k, v in record.items()})


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)
