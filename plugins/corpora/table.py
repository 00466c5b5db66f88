"""Tables: CSV, TSV, JSON lines, and the published manifests of EmoBox."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...core.contracts.data import Clip, Corpus, Recording
from ...core.contracts.hooks import hookimpl
from ...core.corpora import audio_files, speaker_pattern
from ...core.errors import CorpusError

# Columns by the names under which they are found, the first one preferred.
_COLUMNS = {
    "path": ("path", "wav", "file", "filename", "filepath", "audio", "audio_path", "recording"),
    "label": ("label", "emotion", "emo", "class", "category", "target"),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "actor", "subject"),
    "split": ("split", "partition", "part", "subset"),
    "fold": ("fold", "session"),
    "start": ("start", "begin", "onset"),
    "end": ("end", "stop", "offset"),
    "name": ("name", "key", "id", "utterance", "utt_id"),
}
_PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "dev": "val",
          "validation": "val", "development": "val", "test": "test", "eval": "test"}  # fmt: skip
_MANIFEST = re.compile(r"(?P<corpus>.+)_(?P<part>train|test|valid)_fold_?(?P<fold>\d+)\.jsonl?")

# EmoBox names no speakers. Where its corpora's file names do, this is where.
_SPEAKER_IN_NAME = {
    "ravdess": r"-(\d\d)$",
    "cremad": r"(?:^|[-_])(\d{4})_[A-Z]{3}_",
    "savee": r"(?:^|[-_/])(DC|JE|JK|KL)[-_]",
    "tess": r"(?:^|[-_])([OY]A)F?_",
    "emodb": r"(?:^|[-_])(\d\d)[ab]\d\d[WLEAFTN]",
    "iemocap": r"(Ses\d\d)[FM]_.*_[FM]\d+$",
    "esd": r"(?:^|[-_])(\d{4})_\d{6}$",
}


class Table(Corpus):
    """A table with a row per clip: CSV, TSV, JSON lines, or EmoBox's manifests as published.

    Columns: path, label, speaker; optional split (train, val, test) or fold, start and end in
    seconds, name. Anything else becomes an attribute. Paths are relative to the table. For
    EmoBox (Ma et al. 2024) give the folder of one corpus (``data/ravdess``), with its folds,
    or one manifest.

    Parameters
    ----------
    path : Path
        The table, or a folder of EmoBox manifests.
    root : str
        Folder that the paths are relative to. Recordings that are not there are looked for
        anywhere below it by name, whatever their extension.
    speaker : str
        Regular expression for tables without a speaker column, searched for in the clip's
        name and then in its path (both without extension); its first group is the speaker.
    """

    name = "table"
    priority = 1

    def __init__(self, path: Path | None, *, root: str = "", speaker: str = "") -> None:
        super().__init__(path)
        self.root = Path(root).expanduser() if root else None
        self.speaker = speaker_pattern(speaker, "table.speaker")

    @classmethod
    def detect(cls, path: Path) -> bool:
        if path.is_dir():
            return any(_MANIFEST.fullmatch(f.name) for f in path.glob("fold_*/*.json*"))
        if path.suffix.lower() not in (".csv", ".tsv", ".jsonl", ".json"):
            return False
        try:
            _, row = next(iter(_rows(path)))
        except (StopIteration, CorpusError):
            return False
        return all(_find(row, column) is not None for column in ("path", "label"))

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        found = _Recordings(self.path, self.root)
        clips = [
            self._clip(place, row, found, assigned)
            for table, assigned in _tables(self.path)
            for place, row in _rows(table)
        ]
        found.check()
        return clips

    def _clip(
        self, place: str, row: Mapping[str, str], found: _Recordings, assigned: dict[str, str]
    ) -> Clip:
        path, label = _need(row, "path", place), _need(row, "label", place)
        start, end = _seconds(row, "start", place), _seconds(row, "end", place)
        if end is not None and end <= (start or 0.0):
            raise CorpusError(f"{place}: the end, {end} s, is not after the start, {start or 0} s.")
        name = _find(row, "name") or path
        segmented = start is not None or end is not None
        if segmented and not _find(row, "name"):
            name = f"{path}@{start or 0}-{'' if end is None else end}"
        split = assigned.get("split") or _find(row, "split")
        known = {key for column in _COLUMNS for key in [_key(row, column)] if key}
        return Clip(
            Recording(found.locate(path), start or 0.0, end),
            name,
            label,
            _find(row, "speaker") or self._speaker(row, name, path, place),
            self.name,
            split=_part(split, place) if split else None,
            fold=assigned.get("fold") or _find(row, "fold"),
            attributes={k: v for k, v in row.items() if k not in known and v},
        )

    def _speaker(self, row: Mapping[str, str], name: str, path: str, place: str) -> str:
        known = _SPEAKER_IN_NAME.get(row.get("dataset", ""))
        pattern = self.speaker or (re.compile(known) if known else None)
        if pattern is None:
            raise CorpusError(
                f"{place}: there is no speaker column, and without speakers a split can't keep "
                "the ones it tests out of training.",
                hint="Add a column 'speaker', or say where the speaker stands in the name or path: "
                "--set 'table.speaker=spk(\\d+)_'.",
            )
        without_extension = path.rsplit(".", 1)[0]
        for text in (name, without_extension):
            match = pattern.search(text)
            if match is not None:
                return match.group(1)
        raise CorpusError(f"{place}: the pattern {pattern.pattern!r} finds no speaker in {name!r}.")


class _Recordings:
    """Finds the files that a table names, and remembers whether any was there."""

    def __init__(self, table: Path, root: Path | None) -> None:
        folder = table if table.is_dir() else table.parent
        # Paths in published manifests start somewhere above the manifest.
        self._bases = [root] if root else [folder, *folder.resolve().parents]
        self._root = root
        self._by_stem: dict[str, Path] | None = None
        self._base: Path | None = None
        self._first_missing: Path | None = None
        self._any = False

    def locate(self, path: str) -> Path:
        bases = [self._base] if self._base else self._bases
        for base in bases:
            candidate = base / path
            if candidate.exists():
                self._any, self._base = True, base
                return candidate
        if self._root is not None:
            if self._by_stem is None:
                self._by_stem = {f.stem: f for f in audio_files(self._root)}
            by_name = self._by_stem.get(Path(path).stem)
            if by_name is not None:
                self._any = True
                return by_name
        missing = (self._base or self._bases[0]) / path
        self._first_missing = self._first_missing or missing
        return missing  # extraction lists it with the recordings that can't be read

    def check(self) -> None:
        if not self._any and self._first_missing is not None:
            raise CorpusError(
                f"None of the table's recordings is there; the first would be "
                f"{self._first_missing}.",
                hint="Say where the recordings lie: --set table.root=FOLDER",
            )


def _tables(path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The tables to read, and what standing in them says of a clip's part."""
    if not path.is_dir():
        yield path, {}
        return
    folds: dict[int, dict[str, Path]] = {}
    for file in sorted(path.glob("fold_*/*.json*"), key=lambda f: f.suffix):
        match = _MANIFEST.fullmatch(file.name)
        if match:  # .jsonl after .json: where both are there, the last one counts
            folds.setdefault(int(match["fold"]), {})[match["part"]] = file
    if not folds:
        raise CorpusError(
            f"{path} holds no EmoBox manifests (fold_1/NAME_test_fold_1.jsonl).",
            hint="Give a table: CSV, TSV or JSON lines with path, label and speaker.",
        )
    if len(folds) == 1:
        ((_, parts),) = folds.items()
        names = {"train": "train", "valid": "val", "test": "test"}
        yield from ((file, {"split": names[part]}) for part, file in sorted(parts.items()))
        return
    for fold, parts in sorted(folds.items()):
        if "test" not in parts:
            raise CorpusError(f"{path}: fold {fold} has no test manifest.")
        yield parts["test"], {"fold": str(fold)}


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows as text, each with its place for messages: ``clips.csv, line 3``."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"The table {path} can't be read: {error}") from error
    if path.suffix.lower() in (".json", ".jsonl"):
        yield from _json_rows(path, text)
        return
    first = text.split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" or "\t" in first else ","
    if delimiter == "," and ";" in first and "," not in first:
        delimiter = ";"
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter)
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        if None in row:
            raise CorpusError(f"{place}: there are more cells than columns.")
        yield place, {k.strip(): (v or "").strip() for k, v in row.items()}


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, str]]]:
    if path.suffix.lower() == ".json":
        whole = _parsed(text, str(path))
        items = whole.items() if isinstance(whole, dict) else enumerate(whole)
        for key, record in items:
            yield f"{path}, entry {key!r}", {"key": str(key), **_as_text(record, f"{path}")}
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            yield place, _as_text(_parsed(line, place), place)


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CorpusError(f"{place}: this is no JSON: {error}") from error


def _as_text(record: Any, place: str) -> dict[str, str]:
    if not isinstance(record, dict):
        raise CorpusError(f"{place}: a JSON object was expected, not {record!r}.")
    return {k: "" if v is None else str(v) for k, v in record.items()}


def _key(row: Mapping[str, str], column: str) -> str | None:
    by_lower = {name.lower(): name for name in row}
    return next((by_lower[n] for n in _COLUMNS[column] if n in by_lower), None)


def _find(row: Mapping[str, str], column: str) -> str | None:
    key = _key(row, column)
    return (row[key] or None) if key else None


def _need(row: Mapping[str, str], column: str, place: str) -> str:
    value = _find(row, column)
    if value is None:
        named = " or ".join(_COLUMNS[column][:3])
        have = ", ".join(row)
        raise CorpusError(f"{place}: there is no {column} (column {named}). Columns: {have}.")
    return value


def _seconds(row: Mapping[str, str], column: str, place: str) -> float | None:
    value = _find(row, column)
    try:
        seconds = float(value) if value is not None else None
    except ValueError:
        raise CorpusError(f"{place}: {column} is {value!r}, no number of seconds.") from None
    if seconds is not None and seconds < 0:
        raise CorpusError(f"{place}: {column} is {seconds} s, before the beginning.")
    return seconds


def _part(text: str, place: str) -> str:
    part = _PARTS.get(text.lower())
    if part is None:
        raise CorpusError(f"{place}: the split {text!r} is none of train, val, test.")
    return part


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Table]
