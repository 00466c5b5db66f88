"""MELD: dialogues of a television series, seven emotions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ...core.contracts.data import Clip, Corpus, Recording
from ...core.contracts.errors import CorpusError
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.filenames import audio_names, readable
from ._metadata import first_files, folders_near, read_csv, stem

_USED = {"label": "Emotion", "speaker": "Speaker", "transcript": "Utterance"}
_SPLITS = {"train": "train", "dev": "val", "test": "test"}
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
_NAME = re.compile(r"(?:(?:train|dev|test)[_-])?dia(\d+)_utt(\d+)", re.IGNORECASE)
_PART = re.compile(r"(?<![a-z])(train|dev|val|valid|test)(?![a-z])", re.IGNORECASE)

Key = tuple[str, int, int]


class Meld(Corpus):
    """Multimodal EmotionLines Dataset, from the television series Friends.

    Reads ``train_sent_emo.csv``, ``dev_sent_emo.csv`` and ``test_sent_emo.csv``, and the recordings
    ``diaD_uttU.mp4`` in the published folders ``train_splits``, ``dev_splits_complete`` and
    ``output_repeated_splits_test``. Recordings converted to another format may be in other folders,
    if the name of a folder contains train, dev or test; the numbers of dialogues repeat in each
    part. The published split is used; its parts share speakers. ``Speaker`` also names groups of
    people ("All", "Joey and Ross"). Surprise is not one of the six shared emotions. Attributes are
    ``text``, ``sentiment`` and ``dialogue``.

    Parameters
    ----------
    path : Path
        Folder with the tables and the recordings.

    References
    ----------
    S. Poria et al., MELD: a multimodal multi-party dataset for emotion recognition in
    conversations, ACL 2019. https://doi.org/10.18653/v1/P19-1050
    """

    name = "meld"
    labels = {  # noqa: RUF012
        "neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry",
        "fear": "fearful", "disgust": "disgust",
    }  # fmt: skip

    @classmethod
    def detect(cls, path: Path) -> bool:
        return path.is_dir() and bool(_tables(path))

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        self.passed_over = {}
        self.columns_used = dict(_USED)
        tables = _tables(self.path)
        if not tables:
            raise CorpusError(
                f"{self.path} has no table of MELD: train_sent_emo.csv, dev_sent_emo.csv or "
                "test_sent_emo.csv."
            )
        rows = {
            (part, number, utterance): row
            for part, file in tables.items()
            for number, utterance, row in _rows(file)
        }

        def key(name: str) -> Key | None:
            result = _key(name, tables)
            if isinstance(result, str):
                self.pass_over(readable(name), result)
                return None
            if result not in rows:
                self.pass_over(readable(name), "not in the table")
                return None
            return result

        files = first_files(self, audio_names(self.path, self.pass_over), key)
        for part, number, utterance in sorted(rows.keys() - files.keys()):
            self.pass_over(f"{part}, dia{number}_utt{utterance}", "row without a recording")
        for (part, number, utterance), name in files.items():
            row = rows[part, number, utterance]
            yield Clip(
                Recording(self.path / name),
                name,
                row["Emotion"].lower(),
                row["Speaker"],
                self.name,
                split=_SPLITS[part],
                attributes={
                    "text": row["Utterance"],
                    "sentiment": row["Sentiment"],
                    "dialogue": f"{part}-{number}",
                },
            )


def _tables(root: Path) -> dict[str, Path]:
    """Return the table of each part, which may be up to two folders below the root."""
    tables: dict[str, Path] = {}
    for folder in folders_near(root):
        for part in _SPLITS:
            file = folder / f"{part}_sent_emo.csv"
            if part not in tables and file.is_file():
                tables[part] = file
    return tables


def _rows(file: Path) -> Iterable[tuple[int, int, dict[str, str]]]:
    """Yield dialogue, utterance and row of a table."""
    for row in read_csv(file, _COLUMNS):
        try:
            yield int(row["Dialogue_ID"]), int(row["Utterance_ID"]), row
        except (KeyError, ValueError):
            raise CorpusError(
                f"{file} has a row without a number of the dialogue or utterance: {row}."
            ) from None


def _key(name: str, tables: dict[str, Path]) -> Key | str:
    """Return part, dialogue and utterance of a recording; a reason for passing over other files."""
    match = _NAME.fullmatch(stem(name))
    if match is None:
        return "not a file name of meld"
    parts = _PART.findall(name)
    if not parts and len(tables) != 1:
        return "in no folder of train, dev or test"
    part = parts[-1].lower() if parts else next(iter(tables))
    return part.replace("valid", "dev").replace("val", "dev"), int(match[1]), int(match[2])


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Meld]
