"""DataFrames and datasets as sources of a run: written once as tables in the user's cache folder.

A run stores only texts, so that the run can be repeated from its directory. A table in memory
becomes a file named by a digest of its content. Neither pandas nor datasets is imported: objects
are recognised by their attributes.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from ...cache.exchange.columns import ColumnChoice, column_names, roles_of
from ...cache.exchange.paths import is_file
from ...cache.exchange.tables import listed
from ..contracts.errors import ParameterError
from ..toolkit.unpacked import write_once
from ..toolkit.waveforms import audio_suffix, has_sample_rate, is_waveform, wav_bytes
from .arguments import shortened

_SAMPLE = 100  # different cells of a column that are tested for being names of files


@dataclass(frozen=True)
class ColumnArguments:
    """Arguments of ``fusion.run`` that concern the columns of tables.

    Attributes
    ----------
    names : mapping of str to str
        Column by role, as in ``{"label": "EmoClass"}``.
    ignored : collection of str
        Columns that are not written.
    searched : bool
        Whether a corpus searches for files that do not exist. Relative paths are then kept, unless
        the file exists in the working folder.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    ignored: Collection[str] = ()
    searched: bool = False


@dataclass(frozen=True)
class _Table:
    """Rows in memory, with the knowledge that a table on disk can't express."""

    names: tuple[str, ...]
    rows: Iterable[tuple[Any, ...]]
    audio: tuple[str, ...] = ()  # columns with recordings
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # names, by column

    def without(self, ignored: Collection[str]) -> _Table:
        """Return the table without the ignored columns."""
        indices = [index for index, name in enumerate(self.names) if name not in ignored]
        return replace(
            self,
            names=tuple(self.names[index] for index in indices),
            rows=(tuple(row[index] for index in indices) for row in self.rows),
            audio=tuple(name for name in self.audio if name not in ignored),
        )


def data_folder() -> Path:
    """Return the folder of tables and recordings from Python, beside the user's feature cache.

    The folder holds the only copy of data that runs refer to. After its removal these runs can
    still be read, but not repeated.
    """
    import platformdirs

    return platformdirs.user_cache_path("fusion") / "data"


def source_texts(
    data: Any, columns: ColumnArguments | None = None, folder: Path | None = None
) -> tuple[str, ...]:
    """Return one or several sources as texts, and write DataFrames and datasets to files.

    Parameters
    ----------
    data : str, path, DataFrame, Dataset, or iterable of these
        Texts and paths are returned unchanged. A DataFrame (pandas) has the columns of a table of
        clips; index levels with a name are columns as well. A Dataset or DatasetDict (Hugging Face)
        has such columns and an Audio column: the recordings that are not local files are written as
        files. Cells with an array and its sampling rate, or with the bytes of a file, are
        recordings in a DataFrame too. The names of a ClassLabel replace the numbers.
    columns : ColumnArguments, optional
        Choice of columns.
    folder : Path, optional
        Folder of the files; by default in the user's cache folder.

    Raises
    ------
    ParameterError
        If an item is none of these, has no rows, has two columns with one name, or lacks a column
        of `columns`.
    StorageError
        If a file can't be written.
    """
    columns, folder = columns or ColumnArguments(), folder or data_folder()
    alone = isinstance(data, str | Path) or _is_table(data) or not isinstance(data, Iterable)
    texts: list[str] = []
    for item in [data] if alone or isinstance(data, Mapping) else data:
        if isinstance(item, str | Path):
            texts += [str(item)] if str(item) else []
        elif _is_table(item):
            texts.append(str(_written(_table_of(item, columns), columns, folder)))
        else:
            raise ParameterError(
                "data must be one or several texts, paths, DataFrames or datasets, and "
                f"{shortened(item)} is none of these.",
                hint="A list of rows: pandas.DataFrame(rows).",
            )
    return tuple(texts)


def _is_frame(item: Any) -> bool:
    return hasattr(item, "itertuples") and hasattr(item, "columns")


def _is_dataset(item: Any) -> bool:
    return hasattr(item, "features") and hasattr(item, "column_names")


def _is_table(item: Any) -> bool:
    if isinstance(item, Mapping):  # a DatasetDict
        return bool(item) and all(_is_dataset(part) for part in item.values())
    return _is_frame(item) or _is_dataset(item)


def _table_of(item: Any, columns: ColumnArguments) -> _Table:
    if isinstance(item, Mapping):
        tables = {str(split): _of_dataset(part) for split, part in item.items()}
        return _joined(tables).without(columns.ignored)
    table = _of_frame(item) if _is_frame(item) else _of_dataset(item)
    return table.without(columns.ignored)


def _of_frame(frame: Any) -> _Table:
    levels = [name for name in getattr(frame.index, "names", ()) if name is not None]
    if levels := [name for name in levels if name not in frame.columns]:
        frame = frame.reset_index(level=levels)
    names = tuple(str(name) for name in frame.columns)
    return _Table(names, frame.itertuples(index=False, name=None))


def _of_dataset(dataset: Any) -> _Table:
    features = dict(dataset.features or {})
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    if hasattr(dataset, "with_format"):
        dataset = dataset.with_format(None)  # plain values instead of tensors
    for name, feature in features.items():
        if getattr(feature, "decode", False):  # keep the files as they are
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    names = tuple(dataset.column_names or features or next(iter(dataset), ()))
    return _Table(
        names,
        (tuple(row[name] for name in names) for row in dataset),
        tuple(name for name in names if kinds.get(name) == "Audio"),
        {n: tuple(features[n].names) for n in names if kinds.get(n) == "ClassLabel"},
    )


def _joined(tables: Mapping[str, _Table]) -> _Table:
    """Join the parts of a DatasetDict; several parts are the split."""
    first = next(iter(tables.values()))
    for split, table in tables.items():
        if set(table.names) != set(first.names) or table.classes != first.classes:
            raise ParameterError(
                f"The part {split!r} of the dataset has other columns or classes than the part "
                f"{next(iter(tables))!r}.",
                hint="Give the parts one by one: data=[dataset['train'], dataset['test']]",
            )
    if len(tables) == 1 or "split" in first.names:
        return replace(first, rows=(row for table in tables.values() for row in table.rows))
    order = {s: [t.names.index(n) for n in first.names] for s, t in tables.items()}
    rows = (
        (*(row[i] for i in order[split]), split)
        for split, table in tables.items()
        for row in table.rows
    )
    return replace(first, names=(*first.names, "split"), rows=rows)


# -- from values to a file -----------------------------------------------------------------------


def _written(table: _Table, columns: ColumnArguments, folder: Path) -> Path:
    """Write a table as JSON lines, and its recordings as files; return the path of the table."""
    names = _column_names(table, columns)
    paths = _path_column(names, columns)
    rows: list[dict[str, str | None]] = []
    own_names: dict[int, str | None] = {}  # name of each unpacked recording, by row
    nested: set[str] = set()
    for row in table.rows:
        cells: dict[str, str | None] = {}
        for source, name, value in zip(table.names, names, row, strict=True):
            cell = _cell(value, table.classes.get(source), source in table.audio, folder)
            if cell is None:
                nested.add(name)
                continue
            cells[name] = cell.text
            if cell.unpacked and name == paths:
                own_names[len(rows)] = cell.own_name
        rows.append(cells)
    if not rows:
        raise ParameterError(
            f"A table in data has no rows; its columns are: {', '.join(table.names) or 'none'}."
        )
    if nested:
        warnings.warn(
            f"columns of data are left out, because they hold lists, images or other nested "
            f"values: {', '.join(sorted(nested))}",
            stacklevel=4,
        )
        rows = [{n: cell for n, cell in row.items() if n not in nested} for row in rows]
    for name in _columns_of_paths(rows, paths):
        for cells in rows:
            if text := cells.get(name):
                cells[name] = _absolute(text, columns.searched)
    if own_names and "name" not in names:
        _name_rows(rows, own_names)
    lines = "".join(f"{json.dumps(cells)}\n" for cells in rows)
    return write_once(folder / "tables", lines.encode(), ".jsonl")


def _column_names(table: _Table, columns: ColumnArguments) -> list[str]:
    """Return the names under which columns are written: an Audio column is the path."""
    if doubled := [name for name, count in Counter(table.names).items() if count > 1]:
        raise ParameterError(f"A table in data has several columns called {doubled[0]!r}.")
    if not table.audio or "path" in columns.names:
        return list(table.names)
    if len(table.audio) > 1:
        raise ParameterError(
            f"A dataset has several columns of recordings: {', '.join(table.audio)}.",
            hint=f"Choose one: columns={{'path': {table.audio[0]!r}}}",
        )
    # A column called path beside the recordings is the location on the publisher's machine.
    renamed = {"path": "original_path", table.audio[0]: "path"}
    return [renamed.get(name, name) for name in table.names]


@dataclass(frozen=True, slots=True)
class _Cell:
    """Cell of a table on disk."""

    text: str | None  # None for an empty cell
    unpacked: bool = False  # True for the path of a recording that was written as a file
    own_name: str | None = None  # name that the recording had


def _cell(value: Any, classes: tuple[str, ...] | None, audio: bool, folder: Path) -> _Cell | None:
    """Return a value as text, or None for a nested value that is no recording."""
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if _is_missing(value):
        return _Cell(None)
    if classes is not None and isinstance(value, int):
        return _Cell(classes[value] if 0 <= value < len(classes) else None)
    if isinstance(value, str | int | float):
        return _Cell(str(value))
    if isinstance(value, bytes):
        value = {"bytes": value}
    if isinstance(value, Mapping) and not is_waveform(value):
        return _file_cell(value, audio, folder)
    if is_waveform(value) and has_sample_rate(value):
        path = write_once(folder / "audio", wav_bytes(value, None), ".wav")
        name = value.get("path") if isinstance(value, Mapping) else None
        return _Cell(str(path), True, name)
    if hasattr(value, "total_seconds"):
        return _Cell(repr(float(value.total_seconds())))
    if isinstance(value, Iterable) and not isinstance(value, Path):
        return None
    return _Cell(str(value))


def _is_missing(value: Any) -> bool:
    """Return True for None, NaN, and the missing values of pandas (NA and NaT)."""
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or type(value).__name__ in ("NAType", "NaTType")
    )


def _file_cell(value: Mapping[str, Any], audio: bool, folder: Path) -> _Cell | None:
    """Return the path of a recording given as ``{"path": ..., "bytes": ...}``.

    The path counts only without bytes: beside bytes it is a name on the publisher's machine.
    """
    path, data = value.get("path"), value.get("bytes")
    if data is None:
        if path and is_file(Path(path)):
            path = str(Path(path).absolute())
        return _Cell(path) if audio else None
    suffix = audio_suffix(data, path or "")
    if suffix is None and not audio:
        return None
    written = write_once(folder / "audio", data, suffix or ".audio")
    return _Cell(str(written), True, path)


def _name_rows(rows: list[dict[str, str | None]], own_names: Mapping[int, str | None]) -> None:
    """Name the clips by the recordings' own names, since files are named by digests."""
    counts = Counter(own_names.values())
    for index, cells in enumerate(rows):
        name = own_names.get(index)
        cells["name"] = name if name and counts[name] == 1 else f"{name or 'row'}#{index + 1}"


def _path_column(names: Sequence[str], columns: ColumnArguments) -> str | None:
    """Return the column that is read as the path, by the rules of tables on disk."""
    try:
        position = roles_of(names, column_names("path"), ColumnChoice(columns.names)).get("path")
    except KeyError as error:  # here, because the table's file is unknown to the user
        raise ParameterError(
            f"The DataFrame or dataset in data has no column {error.args[0]!r}. Columns: "
            f"{listed(names)}.",
            hint="The values of columns={ROLE: NAME} are names of columns.",
        ) from None
    return None if position is None else names[position]


def _columns_of_paths(rows: Sequence[Mapping[str, str | None]], paths: str | None) -> Iterator[str]:
    """Yield the column of paths, and other columns with the name of an existing file."""
    for name in rows[0]:
        cells = dict.fromkeys(cell for row in rows if (cell := row.get(name)))
        if name == paths or any(map(_names_file, list(cells)[:_SAMPLE])):
            yield name


def _names_file(text: str) -> bool:
    try:
        return bool(Path(text).suffix) and len(text) < 1000 and Path(text).is_file()
    except (OSError, ValueError):
        return False


def _absolute(text: str, searched: bool) -> str:
    path = Path(text).expanduser()
    if path.is_absolute() or PureWindowsPath(text).is_absolute() or "://" in text:
        return str(path) if path.is_absolute() else text
    return text if searched and not _names_file(text) else str(path.absolute())
