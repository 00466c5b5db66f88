"""Features computed by another tool, read from a table with one row per clip."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...cache.exchange.columns import ColumnChoice, column_names
from ...cache.exchange.paths import PathFinder
from ...cache.exchange.tables import Table, TableRow, listed, read_table
from ...core.contracts.data import Extractor, Recording
from ...core.contracts.errors import MissingModalityError, ParameterError
from ...core.contracts.hooks import hookimpl

Place = tuple[Path, float, float | None]  # file, start and end in seconds

# Roles of columns that are never features, even if they hold numbers.
_ROLES = column_names()
_SHOWN = 5  # most column names in a message


class Precomputed(Extractor):
    """One row of numbers per clip, read from a table: (D,) float32.

    The table is for modalities other than sound, and for features that other tools computed:
    embeddings of video or transcripts, answers to a questionnaire, heart rates. A clip without a
    row, or with an empty row, lacks the modality. A run then uses the other modalities of the clip.

    The table has the formats and the column names of the corpus ``table``: CSV, TSV, JSON lines,
    parquet, Excel, and the CSV files of opensmile-python. The column ``path`` has the recording,
    which is found below `root` by the trailing components of its path. The columns ``start`` and
    ``end`` (seconds, clock times or time deltas) are for clips that are parts of a recording. Each
    number has a column of its own. Label, speaker, split, fold, times, names and the row numbers
    of a data frame are never features, unless `columns` names them. For several tables, or for
    arrays of more than one axis, use ``fusion cache import NAME SOURCE``.

    Parameters
    ----------
    table : str
        Path of the table.
    columns : tuple of str
        Columns to read, in this order; ``text_*`` selects all columns that start with ``text_``.
        Empty selects every numeric column that is not ignored.
    root : str
        Folder to which relative paths refer; empty means the table's folder.
    recording : str
        Name of the column that holds the recording, if it has none of the usual names.
    ignore : tuple of str
        Columns that are not read.
    """

    name = "precomputed"
    libraries = ("numpy",)
    default_branch = "mlp"
    sources = ("table", "root")
    by_place = True
    added_parameters = {"recording": "", "ignore": ()}  # noqa: RUF012

    def __init__(
        self,
        *,
        table: str = "",
        columns: tuple[str, ...] = (),
        root: str = "",
        recording: str = "",
        ignore: tuple[str, ...] = (),
    ) -> None:
        if not table:
            raise ParameterError(
                "precomputed.table is empty; precomputed needs a table.",
                hint="Name the table: --set precomputed.table=FILE.csv",
            )
        path = Path(table).expanduser().absolute()
        folder = Path(root).expanduser().absolute() if root else path.parent
        changed = path.stat().st_mtime_ns if path.exists() else 0
        self._rows = _read(path, columns, folder, recording, ignore, changed)
        self.columns = self._rows.columns
        self.shape = (len(self.columns),)
        # An empty root stays empty, so that another table uses its own folder.
        self.parameters = {
            "table": str(path),
            "columns": columns,
            "root": str(folder) if root else "",
            "recording": recording,
            "ignore": ignore,
        }
        shown = listed(self.columns, _SHOWN)
        self.note = f"columns of {path.name} that are features ({len(self.columns)}): {shown}"

    def identity(self) -> Mapping[str, Any]:
        # The contents of the table identify the features; the path of the table does not.
        return {"table": self._rows.digest, "columns": list(self.columns)}

    def extract(self, recording: Recording) -> npt.NDArray[np.float32]:
        numbers = self._rows.numbers_of(recording)
        if numbers is None:
            raise MissingModalityError(f"{self._rows.file} has no row for {recording}.")
        return numbers.copy()


class _Rows:
    """Selected numbers of a table, by clip.

    Attributes
    ----------
    columns : tuple of str
        Selected columns.
    by_place : dict
        Maps file, start and end of each clip that has numbers to these numbers, (D,) float32.
    digest : str
        Digest of the selected numbers and their clips.
    """

    def __init__(
        self,
        file: Path,
        columns: tuple[str, ...],
        folder: Path,
        recording: str,
        ignore: tuple[str, ...],
    ) -> None:
        chosen = ColumnChoice({"path": recording} if recording else {}, ignore)
        try:
            table = read_table(file, _ROLES, chosen=chosen, fault=ParameterError)
        except ParameterError as error:
            raise ParameterError(
                f"precomputed.table: {error.message}",
                hint=error.hint or "Name the table: --set precomputed.table=FILE.csv",
            ) from None
        self.file = file
        self.columns = _chosen(table, columns)
        paths = PathFinder(folder, {p for row in table.rows if (p := row.get("path"))})
        self.by_place: dict[Place, npt.NDArray[np.float32]] = {}
        digest = blake2b(digest_size=16)
        for row in table.rows:
            numbers = _numbers(row, self.columns)
            place = _place(row, paths)
            if place in self.by_place:
                raise ParameterError(f"{row.location}: an earlier row is for {place[0]}, too.")
            if numbers is not None:
                self.by_place[place] = numbers
                digest.update(repr((row.cells["path"], *place[1:])).encode() + numbers.tobytes())
        self.digest = digest.hexdigest()
        self._near = {_rounded(place): numbers for place, numbers in self.by_place.items()}
        self._of_file: dict[Path, list[Place]] = {}
        for place in self.by_place:
            self._of_file.setdefault(place[0], []).append(place)

    def numbers_of(self, recording: Recording) -> npt.NDArray[np.float32] | None:
        """Return the numbers of a recording, (D,), or None if there are none.

        Times are compared to a tenth of a millisecond. The only row of a file, if it starts at 0,
        also stands for the whole file: opensmile-python writes the length of the file as its end.
        """
        path = recording.path.absolute().resolve()
        numbers = self._near.get(_rounded((path, recording.start, recording.end)))
        places = self._of_file.get(path, [])
        if numbers is None and not recording.start and recording.end is None and len(places) == 1:
            numbers = self.by_place[places[0]] if places[0][1] == 0 else None
        return numbers


def _rounded(place: Place) -> Place:
    path, start, end = place
    return path, round(start, 4), None if end is None else round(end, 4)


@functools.lru_cache(maxsize=4)
def _read(
    file: Path,
    columns: tuple[str, ...],
    folder: Path,
    recording: str,
    ignore: tuple[str, ...],
    changed: int,
) -> _Rows:
    """Read a table once per process, even if several extractors use the table.

    `changed` is the file's modification time: a changed file is read again.
    """
    return _Rows(file, columns, folder, recording, ignore)


def _chosen(table: Table, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the selected columns.

    Raises
    ------
    ParameterError
        If there is no column ``path``, a named column does not exist, or no column is numeric.
    """
    if "path" not in table.columns:
        raise ParameterError(
            f"{table.file} has no column 'path'; it has: {listed(table.columns, _SHOWN)}.",
            hint="Name the column with the recording of each row: "
            "--set precomputed.recording=COLUMN",
        )
    rest = [c for c in table.columns if c != "path"]
    if not columns:
        chosen = [c for c in rest if c not in _ROLES and _is_numeric(table, c)]
    else:
        wanted = [c.strip().lower() for c in columns]
        chosen = []
        for name in wanted:
            by_prefix = [c for c in rest if c.startswith(name[:-1])] if name.endswith("*") else []
            matches = by_prefix or [c for c in rest if name in (c, table.roles.get(c, c).lower())]
            if not matches:
                raise ParameterError(
                    f"{table.file} has no column {name!r}; it has: {', '.join(rest[:_SHOWN])}"
                    f"{' ...' if len(rest) > _SHOWN else ''}."
                )
            chosen += matches
    if not chosen:
        raise ParameterError(
            f"{table.file} has no numeric column that can be a feature; it has: "
            f"{listed(table.columns)}.",
            hint="Add one column per number, or select columns: --set precomputed.columns=A,B",
        )
    return tuple(dict.fromkeys(chosen))


def _is_numeric(table: Table, column: str) -> bool:
    """Return whether a column is numeric: every non-empty cell is a finite number.

    Raises
    ------
    ParameterError
        If most cells are numbers and some are not.
    """
    rows = [row for row in table.rows if row.get(column) is not None]
    wrong = [row for row in rows if not _is_number(row.cells[column])]
    if wrong and 2 * len(wrong) < len(rows):
        raise ParameterError(
            f"{wrong[0].location}: {column} is {wrong[0].cells[column]!r}, but a number in "
            f"{len(rows) - len(wrong)} other rows.",
            hint="Correct the cell, empty the whole row, or select columns: "
            "--set precomputed.columns=A,B",
        )
    return bool(rows) and not wrong


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _numbers(row: TableRow, columns: tuple[str, ...]) -> npt.NDArray[np.float32] | None:
    """Return the numbers of a row, (D,), or None if all its cells are empty.

    Raises
    ------
    ParameterError
        If only some cells are empty, or a cell is not a number.
    """
    values = [row.number(column) for column in columns]
    empty = [c for c, value in zip(columns, values, strict=True) if value is None]
    if len(empty) == len(columns):
        return None
    if empty:
        raise ParameterError(
            f"{row.location}: some columns are empty: {', '.join(empty[:_SHOWN])}.",
            hint="A clip needs all numbers or none: fill the cells, or empty the whole row.",
        )
    return np.array(values, dtype=np.float32)


def _place(row: TableRow, paths: PathFinder) -> Place:
    path = row.get("path")
    if path is None:
        raise ParameterError(f"{row.location}: the path is missing.")
    file = row.find(
        paths,
        "Write more of the path in the table, or name a lower folder: "
        "--set precomputed.root=FOLDER",
    )
    return (file.resolve(), *row.span())


@hookimpl
def fusion_extractors() -> list[type[Extractor]]:
    return [Precomputed]
