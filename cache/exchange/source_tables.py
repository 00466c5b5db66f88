"""Import sources: tables with a ``.npy`` file per row, or with one ``.npy`` file for all rows."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CacheError
from ..guarded_arrays import is_npz, open_npy
from ..shards.rows import Array
from .columns import ColumnChoice, column_names
from .paths import PathFinder, is_file
from .sources import Place, Source, place_of, root_hint, stack
from .tables import SUFFIXES, Table, TableRow, read_table

_ALIASES = {
    **column_names("path", "start", "end"),
    "feature": ("features", "feature_path", "npy", "npy_path"),
}
_EVERYTHING = ColumnChoice()
_COLUMNS = ("path", "key", "feature", "row", "start", "end", "group")


def _one_each(table: Table, root: Path) -> Source:
    """Return the source of a table with a ``.npy`` file in each row."""
    places = _places(table, root)
    files = [_feature_of(row, root) for row in table.rows]

    def load(row: int, mapped: bool = False) -> Array:
        try:
            return _load_npy(files[row], mapped=mapped)
        except CacheError as error:
            raise places[row].error(error.message, error.hint) from None

    def form(row: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
        array = load(row, mapped=True)
        return array.shape, array.dtype

    return Source(places, _unused(table), form, load)


def from_table(path: Path, name: str, root: Path, chosen: ColumnChoice = _EVERYTHING) -> Source:
    """Return the source of a table with a ``.npy`` file per row, or with one file for all rows.

    The column of files may also be called `name`, so that one table can serve several features.

    Raises
    ------
    CacheError
        If a row is invalid; the message names its line.
    """
    table = _read(path, chosen, name)
    if "feature" in table.columns:
        return _one_each(table, root)
    array = path.with_suffix(".npy")
    if array.is_file():
        return _paired(array, table, root)
    raise table.error(
        f"There is no column feature that names a .npy file in each row, and no {array.name} "
        f"beside the table. Columns: {', '.join(table.columns)}.",
        hint=f"The column may also be called {', '.join((name, *_ALIASES['feature']))}.",
    )


def from_array(path: Path, root: Path, chosen: ColumnChoice = _EVERYTHING) -> Source:
    """Return the source of a ``.npy`` file of all arrays and the table of the same name.

    Raises
    ------
    CacheError
        If there is no table of that name, or a row is invalid; the message names the row's line.
    """
    for suffix in SUFFIXES:
        if path.with_suffix(suffix).is_file():
            return _paired(path, _read(path.with_suffix(suffix), chosen), root)
    raise CacheError(
        f"{path} has no table of recordings: there is no {path.with_suffix('.csv')}.",
        hint="The table needs a row per array, with its recording in a column path or key.",
    )


def _read(path: Path, chosen: ColumnChoice, name: str = "feature") -> Table:
    named = () if name in _COLUMNS else (name.lower(),)
    aliases = {**_ALIASES, "feature": (*named, *_ALIASES["feature"])}
    table = read_table(path, aliases, chosen=chosen)
    for column in table.columns:
        # If a misspelt column were ignored, a part would get the key of the whole recording.
        near = difflib.get_close_matches(column, ("start", "end"), n=1, cutoff=0.75)
        if near and column not in _COLUMNS:
            raise table.error(
                f"There is a column {column!r}. Did you mean {near[0]!r}?",
                hint="Correct the name, or give a column of other contents another name.",
            )
    if not {"path", "key"} & set(table.columns):
        raise table.error(
            "The table does not name recordings: there is no column path and no column key. "
            f"Columns: {', '.join(table.columns)}.",
            hint=f"path may also be called {', '.join(_ALIASES['path'])}.",
        )
    return table


def _feature_of(row: TableRow, root: Path) -> Path:
    named = row.get("feature")
    if named is None:
        raise row.error("The cell of the feature is empty.", hint="Remove rows without an array.")
    file = root / Path(named).expanduser()
    if not file.is_file():
        raise row.error(
            f"There is no file {file}.",
            hint=root_hint(root),
        )
    return file


def _paired(array: Path, table: Table, root: Path) -> Source:
    data = _load_npy(array, mapped=True)
    if data.ndim < 1:
        raise CacheError(f"{array} holds a single number; an array per row is needed.")
    if "row" in table.columns:
        positions = [_position(row, len(data)) for row in table.rows]
    elif len(table.rows) == len(data):
        positions = list(range(len(data)))
    else:
        raise CacheError(
            f"{table.file} has {len(table.rows)} rows, and {array} holds {len(data)} arrays.",
            hint="A column row, counting from 0, can name the array of each row.",
        )
    places = _places(table, root)
    return stack(data, places, positions, _unused(table))


def _position(row: TableRow, count: int) -> int:
    number = row.number("row")
    if number is None or not number.is_integer() or not 0 <= number < count:
        raise row.error(
            f"There is no row {row.get('row')!r}: there are {count} rows, counted from 0."
        )
    return int(number)


def _places(table: Table, root: Path) -> list[Place]:
    paths = PathFinder(root, {path for row in table.rows if (path := row.get("path"))})
    return [_place(row, paths) for row in table.rows]


def _place(row: TableRow, paths: PathFinder) -> Place:
    path = row.get("path")
    if path is not None:
        file = row.find(paths, "Write more of the path in the table; --root names another folder.")
        path = str(file) if is_file(file) else path
    return place_of(
        row.location,
        paths.root,
        key=row.get("key"),
        path=path,
        start=row.seconds("start") or 0.0,
        end=row.seconds("end"),
        group=row.get("group") or "",
    )


def _unused(table: Table) -> tuple[str, ...]:
    return tuple(column for column in table.columns if column not in _COLUMNS)


def _load_npy(path: Path, *, mapped: bool) -> Array:
    try:
        if is_npz(path):
            raise CacheError(
                f"{path} holds several arrays (.npz); one per file is needed.",
                hint="numpy.save(path, array) writes a single one.",
            )
        return open_npy(path, mapped=mapped)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise CacheError(
            f"{path} is not a .npy file of numbers, or is damaged: {error}",
            hint="numpy.save(path, array) writes one; arrays of objects are not read.",
        ) from None
