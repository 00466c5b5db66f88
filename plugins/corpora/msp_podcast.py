"""MSP-Podcast: natural speech from podcasts, eight emotions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from ...core.contracts.data import Clip, Corpus, Recording
from ...core.contracts.errors import CorpusError
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.filenames import audio_names, readable
from ._metadata import first_files, folders_near, read_csv, stem

_EMOTIONS = {
    "A": "angry", "S": "sad", "H": "happy", "U": "surprised", "F": "fearful", "D": "disgust",
    "C": "contempt", "N": "neutral", "O": "other",
}  # fmt: skip
_SPLITS = {"train": "train", "development": "val", "test1": "test", "test2": "test"}
_DIMENSIONS = {"EmoAct": "activation", "EmoVal": "valence", "EmoDom": "dominance"}
# Early releases spell the file name with a "c".
_TABLES = ("labels_consensus.csv", "labels_concensus.csv")
_USED = {"path": "FileName", "label": "EmoClass", "speaker": "SpkrID", "split": "Split_Set"}


class MspPodcast(Corpus):
    """MSP-Podcast, with the consensus labels of its raters.

    Reads ``Labels/labels_consensus.csv`` and the recordings in ``Audios``. The published split is
    used: Train, Development, and one of the test sets. Clips without an agreement of the raters
    (``EmoClass`` X) are passed over, and so are clips of unknown speakers, unless they are
    requested. Surprised, contempt and other are not among the six shared emotions. Attributes are
    ``activation``, ``valence`` and ``dominance`` (1 to 7) and ``gender``.

    Parameters
    ----------
    path : Path
        Folder that contains ``Labels`` and ``Audios``.
    test : {"test1", "test2", "both"}
        Test set to read. The clips of the other test set are passed over.
    unknown_speakers : bool
        Whether to read clips whose speaker is unknown. The unknown speakers of one part of the
        split count as one speaker. A person may be in two parts.

    References
    ----------
    R. Lotfian, C. Busso, Building naturalistic emotionally balanced speech corpus by retrieving
    emotional speech from existing podcast recordings, IEEE Transactions on Affective Computing
    10(4), 2019. https://doi.org/10.1109/TAFFC.2017.2736999
    """

    name = "msp_podcast"
    labels = {  # noqa: RUF012
        label: label
        for label in ("angry", "sad", "happy", "fearful", "disgust", "neutral")
    }  # fmt: skip

    def __init__(
        self,
        path: Path | None,
        *,
        test: Literal["test1", "test2", "both"] = "test1",
        unknown_speakers: bool = False,
    ) -> None:
        super().__init__(path)
        self.test = test
        self.unknown_speakers = unknown_speakers

    @classmethod
    def detect(cls, path: Path) -> bool:
        return path.is_dir() and _table(path) is not None

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        self.passed_over = {}
        self.columns_used = dict(_USED)
        table = _table(self.path)
        if table is None:
            raise CorpusError(f"{self.path} has no table of MSP-Podcast: Labels/{_TABLES[0]}.")
        rows = {
            row["FileName"].rpartition(".")[0]: row
            for row in read_csv(table, tuple(_USED.values()))
        }

        def key(name: str) -> str | None:
            row = rows.get(stem(name))
            reason = "not in the table" if row is None else self._reason(row)
            if reason:
                self.pass_over(readable(name), reason)
                return None
            return stem(name)

        names = audio_names(self.path, self.pass_over)
        files = first_files(self, names, key)
        for missing in sorted(rows.keys() - {stem(name) for name in names}):
            self.pass_over(f"{table.name}: {missing}", "row without a recording")
        for identity, name in files.items():
            yield self._clip(name, rows[identity])

    def _reason(self, row: dict[str, str]) -> str:
        """Return the reason for which a clip is passed over; empty to read the clip."""
        part, label = row["Split_Set"].lower(), row["EmoClass"]
        if label not in _EMOTIONS:
            return f"no agreement of the raters ({label or 'no label'})"
        if part not in _SPLITS or (_SPLITS[part] == "test" and self.test not in ("both", part)):
            return f"not wanted: {row['Split_Set'] or 'no part of the split'}"
        if not self.unknown_speakers and not _is_known(row):
            return "speaker unknown"
        return ""

    def _clip(self, name: str, row: dict[str, str]) -> Clip:
        assert self.path is not None
        split = _SPLITS[row["Split_Set"].lower()]
        attributes = {ours: row[theirs] for theirs, ours in _DIMENSIONS.items() if row.get(theirs)}
        if row.get("Gender"):
            attributes["gender"] = row["Gender"].lower()
        return Clip(
            Recording(self.path / name),
            name,
            _EMOTIONS[row["EmoClass"]],
            row["SpkrID"] if _is_known(row) else "",
            self.name,
            split=split,
            attributes=attributes,
        )


def _is_known(row: dict[str, str]) -> bool:
    return row["SpkrID"].lower() not in ("", "unknown")


def _table(root: Path) -> Path | None:
    """Return the table of labels, which may be up to two folders below the root."""
    files = (folder / name for folder in folders_near(root) for name in _TABLES)
    return next((file for file in files if file.is_file()), None)


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [MspPodcast]
