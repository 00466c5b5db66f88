"""Databases in audformat: header and tables, read without running code that a file contains."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cache.exchange.columns import plain
from ...core.contracts.errors import CorpusError
from ...core.toolkit.optional import required
from ...core.toolkit.parts import part_of
from ._cells import split_of, text_of

HEADER = "db.yaml"
_LARGEST_HEADER = 1 << 26  # bytes
_FORMATS = ("parquet", "csv")  # in audformat's order of preference

Place = tuple[str, float, float | None]  # file, start, end in seconds


@dataclass(frozen=True)
class Field:
    """Source of values: a column of a table, or an attribute of the labels of its scheme.

    Attributes
    ----------
    table, column : str
        The column.
    attribute : str
        Key in the dictionaries of the scheme's labels, such as ``"gender"``; empty for the values
        of the column.
    """

    table: str
    column: str
    attribute: str = ""

    @property
    def name(self) -> str:
        """Name of the field within its table."""
        return self.attribute or self.column


class Database:
    """Header and tables of a database on disk.

    The header is parsed by YAML's safe loader, and tables are read from CSV or parquet files only:
    the functions of audformat that load a whole database would construct any Python object that
    the header names, and would prefer pickled tables, which can run code.

    Parameters
    ----------
    root : Path
        Folder of the database, with ``db.yaml``.

    Raises
    ------
    CorpusError
        If the header can't be read or is not one of audformat.
    ParameterError
        If the package audformat is not installed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        audformat = required("audformat", extra="audformat", by="The corpus 'audformat'")
        header = _safe_yaml(root / HEADER)
        try:
            self._db: Any = audformat.Database.load_header_from_yaml(header)
            self.tables: tuple[str, ...] = tuple(self._db.tables)
            self._misc: tuple[str, ...] = tuple(self._db.misc_tables)
        except Exception as error:  # whatever an unexpected header makes audformat raise
            raise CorpusError(
                f"{root / HEADER} is not a header of audformat: {type(error).__name__}: {error}."
            ) from None
        for table in (*self.tables, *self._misc):
            if re.search(r"[/\\\0]", table):
                raise CorpusError(f"{root / HEADER}: the table {table!r} has no valid name.")
        self._check_schemes()
        self._loaded: set[str] = set()

    def _check_schemes(self) -> None:
        """Raise if a column has a scheme that the header does not define."""
        for field in self.fields((*self.tables, *self._misc)):
            scheme = self._db[field.table][field.column].scheme_id
            if scheme is not None and scheme not in self._db.schemes:
                raise CorpusError(
                    f"{self.root / HEADER}: the column {field.column!r} of the table "
                    f"{field.table!r} has the scheme {scheme!r}, which is not defined. Defined: "
                    f"{', '.join(map(str, self._db.schemes)) or 'none'}."
                )

    def fields(self, tables: Iterable[str]) -> Iterator[Field]:
        """Yield all columns of tables, in the order of the header."""
        for table in tables:
            for column in self._db[table].columns:
                yield Field(table, str(column))

    def attributes(self, tables: Iterable[str]) -> Iterator[Field]:
        """Yield the attributes of the labels of all columns."""
        for field in self.fields(tables):
            labels = self._labels(field).values()
            keys = dict.fromkeys(k for v in labels if isinstance(v, dict) for k in v)
            yield from (Field(field.table, field.column, str(key)) for key in keys)

    def other_tables(self, tables: Iterable[str]) -> list[str]:
        """Return the tables, also miscellaneous ones, that describe files and are not listed."""
        listed = set(tables)
        described = [t for t in self._misc if "file" in (self._db[t].levels or {})]
        return [table for table in (*self.tables, *described) if table not in listed]

    def fits(self, field: Field, names: Iterable[str]) -> int:
        """Return 2 if a field's own name is one of `names`, 1 if its scheme's is, else 0.

        Case and punctuation do not matter.
        """
        wanted = {plain(name) for name in names}
        if plain(field.name) in wanted:
            return 2
        scheme = "" if field.attribute else self._db[field.table][field.column].scheme_id
        return int(plain(scheme or "") in wanted)

    def split(self, table: str) -> str | None:
        """Return the part of a split that a table holds, by its split or its name."""
        split = self._db[table].split_id
        if split is None:
            return split_of(table)
        return part_of(str(self._db.splits[split].type)) or split_of(str(split))

    def values(self, field: Field) -> list[tuple[Place, str]]:
        """Return place and text of each row of a field; empty text where a value is missing.

        Raises
        ------
        CorpusError
            If the table can't be read.
        """
        try:
            places = self._places(field.table)
            series = self._frame(field.table)[field.column]
            present = series.notna().tolist()
            values = series.astype(object).tolist()
        except UnicodeDecodeError as error:  # parquet's text is decoded when it is used
            raise CorpusError(
                f"{self.root}: the table {field.table!r} is not encoded in UTF-8: {error}."
            ) from None
        labels = self._labels(field)
        mapped = bool(labels) and all(isinstance(v, str) and v for v in labels.values())
        texts: list[str] = []
        for value, is_present in zip(values, present, strict=True):
            if is_present and field.attribute:
                own = labels.get(value)
                value = own.get(field.attribute) if isinstance(own, dict) else None
            elif is_present and mapped:
                value = labels.get(value, value)
            texts.append(text_of(value) if is_present else "")
        return list(zip(places, texts, strict=True))

    def labels_of(self, field: Field) -> Mapping[str, Mapping[str, str]]:
        """Return the attributes of each value of a field, by the value's text."""
        if field.attribute:
            return {}
        return {
            text_of(label): {str(k): t for k, v in attributes.items() if (t := text_of(v))}
            for label, attributes in self._labels(field).items()
            if isinstance(attributes, dict)
        }

    # -- reading -------------------------------------------------------------------------

    def _places(self, table: str) -> list[Place]:
        index = self._frame(table).index
        files = [str(file) for file in index.get_level_values("file")]
        ends: list[float | None] = [None] * len(files)
        starts = [0.0] * len(files)
        if "start" in index.names:
            starts = [_seconds(time) or 0.0 for time in index.get_level_values("start")]
        if "end" in index.names:
            ends = [_seconds(time) for time in index.get_level_values("end")]
        return list(zip(files, starts, ends, strict=True))

    def _labels(self, field: Field) -> dict[Any, Any]:
        """Return the labels of a column's scheme as a dictionary, which may be empty."""
        scheme_id = self._db[field.table][field.column].scheme_id
        scheme = self._db.schemes[scheme_id] if scheme_id is not None else None
        labels = None if scheme is None else scheme.labels
        if isinstance(labels, str):  # the labels are the index of a miscellaneous table
            frame = self._frame(labels)
            return dict(zip(frame.index.tolist(), frame.to_dict("records"), strict=True))
        return labels if isinstance(labels, dict) else {}

    def _frame(self, table: str) -> Any:
        """Return the data of a table, a ``pandas.DataFrame``."""
        if table not in self._loaded:
            self._loaded.add(table)
            for field in self.fields([table]):
                self._labels(field)  # schemes in other tables must be known before the values
            self._load(table)
        return self._db[table].df

    def _load(self, table: str) -> None:
        name = f"{HEADER.removesuffix('.yaml')}.{table}"
        files = [self.root / f"{name}.{suffix}" for suffix in _FORMATS]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            raise self._missing(table, self.root / f"{name}.pkl")
        # The package reads DIR/db.TABLE.pkl first; this folder holds only the chosen file.
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, file.name)
            try:
                link.symlink_to(file.absolute())
            except OSError:  # Windows without the right to make links
                shutil.copyfile(file, link)
            try:
                self._db[table].load(str(link.with_suffix("")))
            except Exception as error:  # whatever a damaged table makes the readers raise
                raise CorpusError(
                    f"{file} can't be read as the table {table!r}: {type(error).__name__}: {error}."
                ) from None

    def _missing(self, table: str, pickled: Path) -> CorpusError:
        if not pickled.is_file():
            return CorpusError(
                f"{self.root} has no file of the table {table!r}: expected is "
                f"{pickled.stem}.csv or {pickled.stem}.parquet."
            )
        return CorpusError(
            f"The table {table!r} exists only as {pickled}. Pickle files can run any code when "
            "they are read, so they are never read.",
            hint="If the database comes from a source that you trust, write its tables as CSV: "
            f"python -c \"import audformat; audformat.Database.load('{self.root}')"
            f".save('{self.root}', storage_format='csv')\"",
        )


def _seconds(time: Any) -> float | None:
    """Return a ``pandas.Timedelta`` in seconds, or None for ``NaT``."""
    return None if time != time else float(time.total_seconds())  # NaT


def _safe_yaml(file: Path) -> dict[str, Any]:
    """Return the content of a YAML file without constructing Python objects.

    Raises
    ------
    CorpusError
        If the file is too large, is not YAML, or does not hold a mapping.
    """
    yaml = required("yaml", extra="audformat", by="The corpus 'audformat'", package="pyyaml")
    try:
        if file.stat().st_size > _LARGEST_HEADER:
            raise CorpusError(f"{file} is larger than {_LARGEST_HEADER >> 20} MiB.")
        text = file.read_text(encoding="utf-8")
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        header = yaml.load(text, Loader=loader)  # a safe loader
    except OSError as error:
        raise CorpusError(f"{file} can't be read: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CorpusError(f"{file} is not valid YAML: {error}") from None
    if not isinstance(header, dict):
        raise CorpusError(f"{file} is not a header of audformat.")
    return header
