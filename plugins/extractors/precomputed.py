"""Features that another tool computed, one row of a table for each clip."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...cache.exchange.tables import Table, TableRow, read_table
from ...core.contracts.data import Extractor, Recording
from ...core.contracts.errors import CacheError, MissingModalityError, ParameterError
from ...core.contracts.hooks import hookimpl

Place = tuple[Path, float, float | None]  # file, start and end in seconds

_PATH = {"path": ("file", "filename", "wav", "audio", "recording")}
_SHOWN = 5  # names in a message


class Precomputed(Extractor):
    """One row of numbers for each clip, read from a table: (D,) float32.

    For what has nothing to do with sound, or was made elsewhere: embeddings of a video or of
    a transcript, answers to a questionnaire, heart rates. A clip without a row, or with an empty
    one, lacks the modality and takes part in a run without it.

    The table is a CSV or TSV file whose first line names the columns: ``path``, the recording
    (relative paths start at the table's folder), ``start`` and ``end`` in seconds where a clip
    is a part of a recording, and a column for each number. Several tables, or arrays of more axes:
    ``fusion cache import NAME SOURCE``.

    Parameters
    ----------
    table : str
        The file.
    columns : tuple of str
        Names of the columns to take, in this order; ``text_*`` means all that begin so. Empty
        means every column that holds numbers alone.
    root : str
        Where relative paths start; empty means the table's folder.
    """

    name = "precomputed"
    libraries = ("numpy",)
    default_branch = "mlp"
    sources = ("table", "root")
    by_place = True

    def __init__(self, *, table: str = "", columns: tuple[str, ...] = (), root: str = "") -> None:
        if not table:
            raise ParameterError(
                "precomputed needs a table.", hint="--set precomputed.table=FILE.csv"
            )
        path = Path(table).expanduser().absolute()
        folder = Path(root).expanduser().absolute() if root else path.parent
        self._rows = _read(path, columns, folder, path.stat().st_mtime_ns if path.exists() else 0)
        self.columns = self._rows.columns
        self.shape = (len(self.columns),)
        # No root stays none: another table has its own folder.
        self.parameters = {
            "table": str(path),
            "columns": columns,
            "root": str(folder) if root else "",
        }

    def identity(self) -> Mapping[str, Any]:
        # What stands in the table decides, not where it lies.
        return {"table": self._rows.digest, "columns": list(self.columns)}

    def extract(self, recording: Recording) -> npt.NDArray[np.float32]:
        place = (recording.path.absolute().resolve(), recording.start, recording.end)
        found = self._rows.by_place.get(place)
        if found is None:
            raise MissingModalityError(f"{self._rows.file} has no row for {recording}")
        return found.copy()


class _Rows:
    """A table as it was read.

    Attributes
    ----------
    columns : tuple of str
        Those that were taken.
    by_place : dict
        (D,) float32 of each clip that has a row.
    digest : str
        Of all that was taken.
    """

    def __init__(self, file: Path, columns: tuple[str, ...], folder: Path) -> None:
        try:
            table = read_table(file, _PATH)
        except CacheError as error:
            raise ParameterError(
                f"precomputed.table: {error.message}",
                hint=error.hint or "Name the table: --set precomputed.table=FILE.csv",
            ) from None
        self.file = file
        self.columns = _chosen(table, columns)
        self.by_place: dict[Place, npt.NDArray[np.float32]] = {}
        digest = blake2b(digest_size=16)
        for row in table.rows:
            numbers = _numbers(row, self.columns)
            place = _place(row, folder)
            if place in self.by_place:
                raise ParameterError(f"{row.where}: a second row for {place[0]}.")
            if numbers is not None:
                self.by_place[place] = numbers
                digest.update(repr((row.cells["path"], *place[1:])).encode() + numbers.tobytes())
        self.digest = digest.hexdigest()


@functools.lru_cache(maxsize=4)
def _read(file: Path, columns: tuple[str, ...], folder: Path, changed: int) -> _Rows:
    """Once per process: of a feature, several extractors are made. `changed` tells versions of a
    file apart."""
    return _Rows(file, columns, folder)


def _chosen(table: Table, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the columns to take."""
    if "path" not in table.columns:
        raise ParameterError(
            f"{table.file} has no column path; it has: {', '.join(table.columns[:_SHOWN])}.",
            hint="A column called path names the recording that a row belongs to.",
        )
    rest = [c for c in table.columns if c not in ("path", "start", "end")]
    if not columns:
        chosen = [c for c in rest if _is_numeric(table, c)]
    else:
        wanted = [c.strip().lower() for c in columns]
        chosen = []
        for name in wanted:
            begins = [c for c in rest if c.startswith(name[:-1])] if name.endswith("*") else []
            found = begins or [c for c in rest if c == name]
            if not found:
                raise ParameterError(
                    f"{table.file} has no column {name!r}; it has: {', '.join(rest[:_SHOWN])}"
                    f"{' ...' if len(rest) > _SHOWN else ''}."
                )
            chosen += found
    if not chosen:
        raise ParameterError(
            f"{table.file} has no column of numbers beside path, start and end.",
            hint="precomputed takes a column for each number, named in the first line.",
        )
    return tuple(dict.fromkeys(chosen))


def _is_numeric(table: Table, column: str) -> bool:
    """Whether a column holds numbers: most of its cells, and then all of them have to be."""
    rows = [row for row in table.rows if row.get(column) is not None]
    wrong = [row for row in rows if not _is_number(row.cells[column])]
    if wrong and 2 * len(wrong) < len(rows):
        raise ParameterError(
            f"{wrong[0].where}: {column} is {wrong[0].cells[column]!r}, and a number in "
            f"{len(rows) - len(wrong)} other rows.",
            hint="Mend it, empty the whole row, or name the columns to take: "
            "--set precomputed.columns=A,B",
        )
    return bool(rows) and not wrong


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _numbers(row: TableRow, columns: tuple[str, ...]) -> npt.NDArray[np.float32] | None:
    """(D,), or None where every cell is empty."""
    try:
        values = [row.number(column) for column in columns]
    except CacheError as error:
        raise ParameterError(f"precomputed.table: {error.message}") from None
    empty = [c for c, value in zip(columns, values, strict=True) if value is None]
    if len(empty) == len(columns):
        return None
    if empty:
        raise ParameterError(
            f"{row.where}: {', '.join(empty[:_SHOWN])} empty, and other columns are not.",
            hint="A clip has all numbers or none: fill them in, or empty the whole row.",
        )
    return np.array(values, dtype=np.float32)


def _place(row: TableRow, folder: Path) -> Place:
    path = row.get("path")
    if path is None:
        raise ParameterError(f"{row.where}: there is no path.")
    try:
        start, end = row.number("start"), row.number("end")
    except CacheError as error:
        raise ParameterError(f"precomputed.table: {error.message}") from None
    return (folder / Path(path).expanduser()).resolve(), start or 0.0, end


@hookimpl
def fusion_extractors() -> list[type[Extractor]]:
    return [Precomputed]
