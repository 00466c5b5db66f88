"""EmoBox's manifests: folds as JSON lines, speakers in a transcript file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ...cache.exchange.columns import column_names
from ...cache.exchange.tables import TableRow, read_table
from ...core.contracts.errors import CorpusError

_PARTS = {"train": "train", "valid": "val", "test": "test"}
_LABELS = ("label_map.json", "label_dict.json")  # in EMOVO, the file has the second name
# For data sets whose published speaker table is wrong, the speaker is read from the clips' keys.
# The table of IEMOCAP names the dialogue's leading speaker, so that the same two people would be in
# both parts of a split. In TESS, the key of OA_bite_neutral lacks a letter.
_IN_KEYS = {
    "iemocap": re.compile(r"(Ses\d\d)[FM]_.*_([FM])\w{3}$"),
    "tess": re.compile(r"-([OY]A)F?-"),
}


def is_manifest(folder: Path) -> bool:
    """Return whether `folder` is the manifest of one of EmoBox's data sets."""
    return (folder / "fold_1" / f"{folder.resolve().name}_test_fold_1.jsonl").is_file()


class Manifest:
    """EmoBox manifest: the folder of one data set, ``EmoBox/data/NAME``.

    The folder contains ``fold_K/NAME_train_fold_K.jsonl``, ``..._valid_...`` (in some data sets)
    and ``..._test_...``; ``label_map.json`` or ``label_dict.json``; and ``data.seg.wrd.stm`` with
    each clip's speaker.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.resolve().name

    def root(self) -> Path:
        """Return the folder to which the manifest's paths are relative."""
        return self.folder.resolve().parent.parent

    def rows(self) -> list[TableRow]:
        """Return the union of the rows of all folds, with label, speaker, and fold or split."""
        folds = sorted(self._folds(), key=lambda k: (len(k), k))
        if not folds:
            raise CorpusError(
                f"{self.folder} contains no EmoBox fold: fold_1/{self.name}_test_fold_1.jsonl "
                "does not exist.",
                hint="Give the folder of one published data set: EmoBox/data/NAME.",
            )
        column = "fold" if len(folds) > 1 else "split"
        rows: dict[str, TableRow] = {}
        for fold in folds:
            for part, split in _PARTS.items():
                for row in self._read(fold, part):
                    first = rows.setdefault(row.need("name"), row)
                    if column == "split" or part == "test":
                        place = {column: fold if column == "fold" else split}
                        self._check_place(first, column, place[column])
                        rows[row.need("name")] = replace(first, cells={**first.cells, **place})
        return [self._complete(row) for row in rows.values()]

    def _folds(self) -> list[str]:
        return [
            folder.name.removeprefix("fold_")
            for folder in self.folder.glob("fold_*")
            if self._file(folder.name.removeprefix("fold_"), "test").is_file()
        ]

    def _file(self, fold: str, part: str) -> Path:
        return self.folder / f"fold_{fold}" / f"{self.name}_{part}_fold_{fold}.jsonl"

    def _read(self, fold: str, part: str) -> list[TableRow]:
        file = self._file(fold, part)
        if not file.is_file() or not file.stat().st_size:
            return []
        return list(read_table(file, column_names("path", "label", "name"), fault=CorpusError).rows)

    @staticmethod
    def _check_place(row: TableRow, column: str, place: str) -> None:
        """Raise if a clip is in two folds, or in two splits."""
        if row.get(column) not in (None, place):
            raise row.error(
                f"{row.need('name')} is in {column} {row.get(column)} and in {column} {place}."
            )

    def _complete(self, row: TableRow) -> TableRow:
        """Return the row with its mapped label and its speaker."""
        label, key = row.need("label"), row.need("name")
        cells = {**row.cells, "label": self._labels.get(label, label)}
        if speaker := self._speaker(key):
            cells["speaker"] = f"{self.name}-{speaker}"  # unique among pooled data sets
        return replace(row, cells=cells)

    def _speaker(self, key: str) -> str | None:
        """Return the speaker of the clip called `key`, or None if unknown."""
        if self.name in _IN_KEYS:
            match = _IN_KEYS[self.name].search(key)
            return "".join(match.groups()) if match else None
        speaker = self._speakers.get(key)
        # MER2023's table gives each clip's own name as its speaker, so the speaker is unknown.
        return None if speaker == key.removeprefix(f"{self.name}-") else speaker

    @cached_property
    def _labels(self) -> Mapping[str, str]:
        files = [self.folder / name for name in _LABELS if (self.folder / name).is_file()]
        if not files:
            return {}
        file = files[0]
        try:
            return {str(k): str(v) for k, v in json.loads(file.read_text("utf-8")).items()}
        except (ValueError, AttributeError) as error:
            raise CorpusError(f"{file} is not a JSON object of labels: {error}.") from None

    @cached_property
    def _speakers(self) -> Mapping[str, str]:
        file = self.folder / "data.seg.wrd.stm"
        if not file.is_file():
            return {}
        matches = re.finditer(
            r"^.*<id=(.*?),lang=[^,]*,spk=(.*),emotion=", file.read_text("utf-8"), re.MULTILINE
        )
        return {match[1]: match[2] for match in matches}
