"""Corpus in audformat, the format of databases that audb publishes."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ...core.contracts.data import Clip, Corpus
from ...core.contracts.errors import CorpusError, UnknownNameError
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.parts import part_of
from ._audformat_database import HEADER, Database, Field, Place
from ._cells import clean_name, inner_path
from ._examples import ALIASES, Example, make_clips, speaker_pattern

_HEAD = 65536  # bytes of a header that detect reads
_KEYS = re.compile(rb"^\s*(usage|source)\s*:", re.MULTILINE)
_TIMES = ("start", "end")


class Audformat(Corpus):
    """Database in audformat: a folder with the header ``db.yaml``, tables and recordings.

    The label is the column that is called ``emotion``, ``label`` or the like, or whose scheme is,
    in a filewise or segmented table. The speaker is a column of that table, of another table with
    the same files (also a miscellaneous table with a level ``file``), or an attribute of the labels
    of a scheme. Attributes of the speaker's scheme and the other columns of the table become
    attributes. Tables that differ only in the part of a split
    (``emotion.categories.train.gold_standard``, ``emotion.categories.test.gold_standard``) are
    read together. Their parts are the split if training and test both occur.

    Tables are read from CSV and parquet files. Pickled tables are never read, because they could
    run code. The package audformat is needed (extra ``audformat``).

    Parameters
    ----------
    path : Path
        Folder of the database.
    table : str
        Table of the labels, if several tables have labels. Wildcards name several tables:
        ``emotion.categories.*.gold_standard``.
    column : str
        Column of the labels, if a table has several.
    speaker : str
        Regular expression that is searched in each file's path. The match of its group (of the
        group called ``speaker``, if there are several) is the speaker. If empty, the tables state
        the speaker.

    References
    ----------
    https://audeering.github.io/audformat/
    """

    name = "audformat"
    priority = 5

    def __init__(
        self, path: Path | None, *, table: str = "", column: str = "", speaker: str = ""
    ) -> None:
        super().__init__(path)
        self._table = table
        self._column = column
        self._speaker = speaker_pattern(speaker, self.name)

    @classmethod
    def detect(cls, path: Path) -> bool:
        try:
            with (path / HEADER).open("rb") as stream:
                head = stream.read(_HEAD)
        except OSError:
            return False
        return len(set(_KEYS.findall(head))) == 2

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        database = Database(self.path)
        labels = self._label_fields(database)
        tables = [field.table for field in labels]
        used = {"label": labels[0].name}
        # Values of other roles by the role's field, for any file or part of a file.
        lookups: dict[str, _Lookup] = {}
        for role in ("speaker", "split", "transcript"):
            if role == "speaker" and self._speaker is not None:
                continue
            fields = self._role_fields(database, role, tables)
            if fields:
                lookups[role] = _Lookup(database, fields)
                used[role] = fields[0].name
        self.columns_used.update(used)
        examples = [e for label in labels for e in self._examples(database, label, lookups)]
        columns = used | {time: time for time in _TIMES}
        return make_clips(
            self,
            examples,
            columns,
            speaker=self._speaker,
            hint="Files start at the folder of the database; audb.load downloads them.",
        )

    def _examples(
        self, database: Database, label: Field, lookups: dict[str, _Lookup]
    ) -> Iterator[Example]:
        """Yield the examples of one table."""
        own = [f for f in database.fields([label.table]) if f.name not in self.columns.ignored]
        columns = {f.name: [t for _, t in database.values(f)] for f in own if f != label}
        part = database.split(label.table)
        for number, (place, text) in enumerate(database.values(label)):
            file, start, end = place
            inside = inner_path(file)
            name = clean_name(file)
            if inside is None:
                self.pass_over(name, "outside the folder")
                continue
            cells = {column: texts[number] for column, texts in columns.items()}
            for lookup in lookups.values():
                cells |= lookup.cells(place)
            cells |= {label.name: text, "start": repr(start)}
            cells["end"] = "" if end is None else repr(end)
            cells = {column: value for column, value in cells.items() if value}
            where = f"table {label.table}, {file}"
            assert self.path is not None
            yield Example(cells, where, name, self.path / inside, split=part)

    # -- fields --------------------------------------------------------------------------

    def _label_fields(self, database: Database) -> list[Field]:
        """Return the field of the labels in each of its tables.

        Raises
        ------
        CorpusError
            If no field fits, or several do.
        """
        tables = database.tables
        if self._table:
            tables = tuple(t for t in tables if fnmatch.fnmatchcase(t, self._table))
            if not tables:
                raise UnknownNameError("table", self._table, database.tables)
        groups: dict[tuple[str, str], list[Field]] = {}
        for field in self._named(database, tables, "label", self._column):
            groups.setdefault((_family(field.table), field.name), []).append(field)
        if len(groups) == 1:
            return next(iter(groups.values()))
        if groups:
            names = [(_pattern(fields), fields[0].name) for fields in groups.values()]
            candidates = "; ".join(f"table {table}, column {column}" for table, column in names)
            table, column = names[0]
            raise CorpusError(
                f"{self.path} has several columns of labels: {candidates}.",
                hint=f"Choose one: --set audformat.table='{table}' "
                f"--set audformat.column='{column}'",
            )
        listed = "; ".join(
            f"{table}: {', '.join(f.name for f in database.fields([table])) or 'no columns'}"
            for table in tables
        )
        raise CorpusError(
            f"{self.path}: no column is known to be the label. Tables and columns: "
            f"{listed or 'none'}.",
            hint="Name the column: --set audformat.column=COLUMN",
        )

    def _role_fields(self, database: Database, role: str, tables: Sequence[str]) -> list[Field]:
        """Return the fields of a role: in the tables of the labels, else in other tables."""
        for places in (tables, database.other_tables(tables)):
            if fields := self._named(database, places, role):
                return fields
        if role in self.columns.names:
            all_tables = [*tables, *database.other_tables(tables)]
            columns = {f.name for f in database.fields(all_tables)}
            raise UnknownNameError("column", self.columns.names[role], columns)
        return []

    def _named(
        self, database: Database, tables: Iterable[str], role: str, column: str = ""
    ) -> list[Field]:
        """Return the best fields of a role: by name, by scheme, or attributes of labels."""
        tables = list(tables)
        chosen = column or self.columns.names.get(role)
        names = (chosen,) if chosen else ALIASES[role]
        for source in (database.fields, database.attributes):
            fields = [f for f in source(tables) if f.name not in self.columns.ignored]
            if chosen:
                exact = [field for field in fields if field.name == chosen]
            else:
                exact = _best(database, fields, names)
            if exact:
                return exact
        return []


def _best(database: Database, fields: Sequence[Field], names: Iterable[str]) -> list[Field]:
    """Return, for each table, the fields whose own name fits, else those whose scheme fits."""
    names = tuple(names)
    best: dict[str, int] = {}
    fit = {field: database.fits(field, names) for field in fields}
    for field, degree in fit.items():
        best[field.table] = max(best.get(field.table, 0), degree)
    return [field for field, degree in fit.items() if degree and degree == best[field.table]]


class _Lookup:
    """Values of fields by file, or by part of a file.

    Parameters
    ----------
    database : Database
        The database.
    fields : sequence of Field
        The fields, in order of preference. The first is the name of the values.

    Raises
    ------
    CorpusError
        If two fields have different values for one place.
    """

    def __init__(self, database: Database, fields: Sequence[Field]) -> None:
        self._name = fields[0].name
        self._by_place: dict[Place, str] = {}
        self._by_file: dict[str, str] = {}  # empty if parts of a file differ
        self._attributes: dict[str, dict[str, str]] = {}
        sources: dict[Place, str] = {}
        for field in fields:
            for label, attributes in database.labels_of(field).items():
                self._attributes.setdefault(label, dict(attributes))
            for place, text in database.values(field):
                if not text:
                    continue
                if self._by_place.setdefault(place, text) != text:
                    raise CorpusError(
                        f"{place[0]} has the {self._name} {self._by_place[place]!r} in the table "
                        f"{sources[place]}, and {text!r} in the table {field.table}."
                    )
                sources.setdefault(place, field.table)
                if self._by_file.setdefault(place[0], text) != text:
                    self._by_file[place[0]] = ""

    def cells(self, place: Place) -> dict[str, str]:
        """Return the value at a place and the attributes of the value, by column."""
        whole: Place = (place[0], 0.0, None)
        value = self._by_place.get(place) or self._by_place.get(whole)
        value = value or self._by_file.get(place[0], "")
        return {**self._attributes.get(value, {}), self._name: value}


def _family(table: str) -> str:
    """Return a table's name with wildcards instead of words for parts of a split."""
    return re.sub(r"[A-Za-z]+", lambda m: "*" if part_of(m[0]) else m[0], table)


def _pattern(fields: Sequence[Field]) -> str:
    """Return the name of the only table of some fields, or a pattern of their tables' names."""
    return fields[0].table if len(fields) == 1 else _family(fields[0].table)


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Audformat]
