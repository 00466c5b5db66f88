"""Formats of tables: each is read into column names and rows of text."""

from __future__ import annotations

import codecs
import csv
import importlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..errors import not_installed

_SEPARATORS = ",;\t|"
_BATCH = 4096  # rows of a parquet file in memory at a time


class TableFault(Exception):  # noqa: N818  (turned into an error of the caller's class)
    """Problem of a table, without the name of the file.

    Attributes
    ----------
    message, hint : str
        Problem and advice.
    line : int
        Line of the problem; 0 if it has no line.
    """

    def __init__(self, message: str, *, line: int = 0, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.hint = hint


@dataclass(frozen=True)
class RawTable:
    """Names of the columns, and rows with their line numbers.

    Attributes
    ----------
    header : sequence of str
        Names of the columns as the file has them.
    rows : iterable of (int, sequence of str)
        Line and cells of each row.
    header_line : int
        Line of the column names.
    """

    header: Sequence[str]
    rows: Iterable[tuple[int, Sequence[str]]]
    header_line: int = 1


# -- text ----------------------------------------------------------------------------


def _decoded(file: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte order mark."""
    raw = file.read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16")
    return raw.decode("utf-8-sig")  # removes the byte order mark that spreadsheets write


def read_separated(file: Path) -> RawTable:
    """Read a CSV or TSV file.

    The separator is the comma, semicolon, tab or bar that divides the first line into most cells,
    or the separator that a first line such as ``sep=;`` names. Quotation marks are doubled within
    a cell in quotation marks. A file that can't be read in this way is read with backslashes
    before quotation marks; a TSV file also without quotation marks. These two readings count only
    if every row has equally many cells.
    """
    text = _decoded(file)
    skipped, separator = 0, ""
    lines = io.StringIO(text, newline="")
    first = lines.readline()
    if first.lower().startswith("sep=") and len(first.strip()) <= len("sep=;"):
        separator, skipped = first.strip()[4:] or "\t", 1
        first = lines.readline()
    separator = separator or _separator(first, "\t" if file.suffix.lower() == ".tsv" else "")
    body = io.StringIO(text, newline="")
    for _ in range(skipped):
        body.readline()
    return _in_some_dialect(body, separator, skipped)


def _separator(first: str, preferred: str) -> str:
    if len(first) > csv.field_size_limit():
        raise TableFault("The first line is too long to hold the names of columns.", line=1)
    counts = {s: len(next(csv.reader([first], delimiter=s), [])) for s in _SEPARATORS}
    if preferred and counts[preferred] > 1:
        return preferred
    best = max(counts, key=lambda s: counts[s])
    return best if counts[best] > 1 or not preferred else preferred


def _in_some_dialect(body: io.StringIO, separator: str, skipped: int) -> RawTable:
    """Read the rest of `body`, after `skipped` lines, in the first dialect that fits.

    Raises
    ------
    TableFault
        If no dialect fits; the message is that of the usual dialect.
    """
    dialects: list[dict[str, Any]] = [
        {"strict": True},
        {"strict": True, "doublequote": False, "escapechar": "\\"},
    ]
    if separator == "\t":  # many writers of TSV files never quote
        dialects.append({"quoting": csv.QUOTE_NONE})
    start, failure = body.tell(), None
    for dialect in dialects:
        body.seek(start)
        reader = csv.reader(body, delimiter=separator, **dialect)
        rows: list[tuple[int, Sequence[str]]] = []
        try:
            rows += ((skipped + reader.line_num, cells) for cells in reader)
        except csv.Error as error:
            failure = failure or TableFault(f"{error}.", line=skipped + reader.line_num)
            continue
        if failure is None or len({len(cells) for _, cells in rows if any(cells)}) == 1:
            header_line, header = rows[0] if rows else (1, [])
            return RawTable(header, rows[1:], header_line)
    assert failure is not None
    raise failure


def read_json_lines(file: Path) -> RawTable:
    """Read JSON lines: one object per line, whose keys are the columns."""
    records: list[tuple[int, dict[str, Any]]] = []
    for line, text in enumerate(io.StringIO(_decoded(file)), 1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deeply or a number too long")
            raise TableFault(f"The line is not valid JSON: {reason}.", line=line) from None
        if not isinstance(record, dict):
            raise TableFault("The row is not a JSON object, {...}.", line=line)
        records.append((line, record))
    return _from_records(records)


def read_json(file: Path) -> RawTable:
    """Read a JSON list of objects, one object of columns (as pandas writes it), or JSON lines."""
    try:
        content = json.loads(_decoded(file))
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deeply or a number too long")
        if reason == "Extra data":  # manifests of NeMo are JSON lines in a file called .json
            return read_json_lines(file)
        raise TableFault(f"It is not valid JSON: {reason}.") from None
    if isinstance(content, dict) and content and all(isinstance(v, dict) for v in content.values()):
        keys = dict.fromkeys(key for column in content.values() for key in column)
        content = [{name: column.get(k) for name, column in content.items()} for k in keys]
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        raise TableFault("It is not a list of JSON objects, [{...}, ...].")
    return _from_records(list(enumerate(content, 1)))


def _from_records(records: Sequence[tuple[int, Mapping[str, Any]]]) -> RawTable:
    header = list(dict.fromkeys(str(key) for _, record in records for key in record))
    rows = [(line, [cell_text(record.get(name)) for name in header]) for line, record in records]
    return RawTable(header, rows)


# -- binary --------------------------------------------------------------------------


def read_parquet(file: Path) -> RawTable:
    """Read a parquet file with pyarrow; columns of bytes and of nested values are left out."""
    parquet = _module("pyarrow.parquet", "A parquet file", "pyarrow", "parquet")
    types = importlib.import_module("pyarrow").types
    try:
        content = parquet.ParquetFile(file)
        schema = content.schema_arrow
        names = [f.name for f in schema if not (types.is_nested(f.type) or _is_bytes(types, f))]
        rows = [
            (number, [cell_text(value) for value in values])
            for number, values in enumerate(_parquet_rows(content, names), 1)
        ]
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise TableFault(f"It can't be read as a parquet file: {error}.") from None
    return RawTable(names, rows)


def _is_bytes(types: Any, column: Any) -> bool:
    return bool(types.is_binary(column.type) or types.is_large_binary(column.type))


def _parquet_rows(content: Any, names: list[str]) -> Iterator[tuple[Any, ...]]:
    for batch in content.iter_batches(batch_size=_BATCH, columns=names):
        columns = [batch.column(i).to_pylist() for i in range(len(names))]
        yield from zip(*columns, strict=True)


def read_excel(file: Path) -> RawTable:
    """Read the first sheet of an Excel file with openpyxl; formulas give their stored values."""
    openpyxl = _module("openpyxl", "An Excel file", "openpyxl", "excel")
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        values = [
            (number, [cell_text(value) for value in row])
            for number, row in enumerate(book.worksheets[0].iter_rows(values_only=True), 1)
        ]
        book.close()
    except Exception as error:  # openpyxl raises errors of zip and XML readers
        raise TableFault(f"It can't be read as an Excel file: {error}.") from None
    filled = [(number, cells) for number, cells in values if any(cells)]
    if not filled:
        return RawTable([], [])
    return RawTable(filled[0][1], filled[1:], filled[0][0])


def _module(name: str, purpose: str, package: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise not_installed(purpose, package, extra) from None


def cell_text(value: Any) -> str:
    """Return a value as the text of a cell; None and NaN are empty, whole numbers have no point."""
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, timedelta):
        return repr(value.total_seconds())
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, default=str).strip('"')


FORMATS: Mapping[str, Callable[[Path], RawTable]] = {
    ".csv": read_separated,
    ".tsv": read_separated,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".parquet": read_parquet,
    ".xlsx": read_excel,
}
