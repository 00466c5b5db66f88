"""Parquet files with recordings as bytes, as the package datasets of Hugging Face writes them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ...cache.exchange.columns import plain
from ...core.contracts.data import ColumnChoice, Corpus
from ...core.contracts.errors import CorpusError
from ...core.toolkit.optional import required
from ._cells import clean_name, inner_path, split_of, text_of
from ._examples import Example, Roles
from ._recordings import LARGEST, unpack

_ROWS = 4  # rows in memory at a time
_BUFFER = 1 << 20  # bytes of a column that are read at a time


def arrow() -> Any:
    """Return the module ``pyarrow`` with its module ``parquet``.

    Raises
    ------
    ParameterError
        If pyarrow is not installed.
    """
    module = required("pyarrow", extra="parquet", by="The corpus 'audiofolder'")
    required("pyarrow.parquet", extra="parquet", by="The corpus 'audiofolder'", package="pyarrow")
    return module


class AudioParquet:
    """One parquet file, read a few rows at a time.

    Parameters
    ----------
    file : Path
        The file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def schema(self) -> Any:
        """Return the schema, a ``pyarrow.Schema``.

        Raises
        ------
        CorpusError
            If the file is not a parquet file.
        """
        with self._opened() as table:
            return table.schema_arrow

    def has_audio(self, choice: ColumnChoice = ColumnChoice()) -> bool:  # noqa: B008  (immutable)
        """Return True if a column holds recordings."""
        return bool(_audio_columns(self.schema(), choice))

    def examples(self, corpus: Corpus, inner: str) -> Iterator[Example]:
        """Yield the examples of the file; unpack their recordings.

        Parameters
        ----------
        corpus : Corpus
            The corpus, for the choice of columns and for rows that are passed over.
        inner : str
            Path of the file in the corpus.

        Raises
        ------
        CorpusError
            If several columns hold recordings, a class has no name, or the file is damaged.
        """
        with self._opened() as table:
            schema = table.schema_arrow
            audio = self._audio_column(schema, corpus.columns)
            corpus.columns_used["path"] = audio
            classes = _class_names(schema)
            plain = [f.name for f in schema if f.name != audio and _is_plain(f.type)]
            name_column = Roles([audio, *plain], corpus.columns).use("name")
            split = split_of(*reversed(PurePosixPath(inner).with_suffix("").parts))
            number = 0
            for batch in table.iter_batches(batch_size=_ROWS, columns=[audio, *plain]):
                for row in batch.to_pylist():
                    number += 1
                    where = f"{inner}, row {number}"
                    cells = {c: self._text(row[c], classes.get(c), where) for c in plain}
                    cells = {column: text for column, text in cells.items() if text}
                    stored, content = _recording(row[audio])
                    fallback = f"{inner}/{number}"
                    name = stored or cells.get(name_column or "", "")
                    name = clean_name(name) if name else fallback
                    file = self._file(content, stored, corpus, name)
                    if file is not None:
                        cells[audio] = name
                        yield Example(cells, where, name, file, fallback, split)

    def _audio_column(self, schema: Any, choice: ColumnChoice) -> str:
        names = _audio_columns(schema, choice)
        if len(names) > 1:
            raise CorpusError(
                f"{self.file} has several columns of recordings: {', '.join(names)}.",
                hint=f"Choose one: --column path={names[0]}",
            )
        return names[0]

    def _file(self, content: bytes | None, stored: str, corpus: Corpus, name: str) -> Path | None:
        """Return the file of a recording; None, and the reason reported, if there is none."""
        if content:
            if len(content) <= LARGEST:
                return unpack(content, name)
            corpus.pass_over(name, f"larger than {LARGEST >> 20} MiB")
            return None
        inside = inner_path(stored)
        if inside is None:
            corpus.pass_over(name, "outside the folder" if stored else "no recording")
            return None
        return self.file.parent / inside

    def _text(self, value: Any, classes: list[str] | None, where: str) -> str:
        if classes is None or not isinstance(value, int):
            return text_of(value)
        if value == -1:  # the value of a class that is not published
            return ""
        if not 0 <= value < len(classes):
            raise CorpusError(
                f"{self.file.parent / where}: class {value} has no name; the schema names "
                f"{len(classes)} classes: {', '.join(classes)}."
            )
        return classes[value]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        """Yield the open ``pyarrow.parquet.ParquetFile``."""
        pyarrow = arrow()
        try:
            with pyarrow.parquet.ParquetFile(self.file, buffer_size=_BUFFER) as table:
                yield table
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise CorpusError(f"{self.file} can't be read as a parquet file: {error}") from None


def _recording(cell: Any) -> tuple[str, bytes | None]:
    """Return path and content of a recording; an empty path if none is stored."""
    if isinstance(cell, Mapping):
        return text_of(cell.get("path")), cell.get("bytes")
    return "", cell


def _audio_columns(schema: Any, choice: ColumnChoice) -> list[str]:
    """Return the columns of recordings: the user's choice, or all columns that hold bytes.

    Bytes that the schema declares as another kind of media (images) are left out. Bytes without
    declaration and without a path count only in a column that is named like a recording.
    """
    kinds = {name: str(feature.get("_type", "")) for name, feature in _features(schema).items()}
    bytes_in = [f for f in schema if _holds_bytes(f.type) and f.name not in choice.ignored]
    if choice.names.get("path") in [field.name for field in bytes_in]:
        return [choice.names["path"]]
    declared = [field.name for field in bytes_in if kinds.get(field.name) == "Audio"]
    return declared or [
        field.name
        for field in bytes_in
        if kinds.get(field.name, "Value") == "Value"
        and (_is_nested(field.type) or plain(field.name) in ("audio", "wav"))
    ]


def _holds_bytes(kind: Any) -> bool:
    types = arrow().types
    if types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        return {"bytes", "path"} <= set(fields) and _holds_bytes(fields["bytes"])
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_nested(kind: Any) -> bool:
    return bool(arrow().types.is_nested(kind))


def _is_plain(kind: Any) -> bool:
    """Return True for text, numbers, times and other values of one cell."""
    return not (_is_nested(kind) or _holds_bytes(kind))


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Return the features that the package datasets has stored in a schema, by column."""
    try:
        stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = stored["info"]["features"]
        return {c: f for c, f in features.items() if isinstance(f, dict)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Return the names of the classes by column of type ClassLabel."""
    return {
        column: [str(name) for name in feature["names"]]
        for column, feature in _features(schema).items()
        if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }
