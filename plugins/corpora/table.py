"""Corpus defined by a table of clips: CSV, TSV, JSON lines, or an EmoBox manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.contracts.data import Clip, Corpus, Recording
from ...core.contracts.errors import CorpusError
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.filenames import audio_files
from ...core.toolkit.patterns import SpeakerPattern
from ._emobox import Manifest, is_manifest
from ._rows import SUFFIXES, Row, read_rows

_SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "dev": "val", "test": "test", "testing": "test",
}  # fmt: skip
_HINT = (
    "Each clip needs a speaker, because scores are only valid on held-out speakers. Add a column "
    "speaker, or give a regular expression that finds the speaker in the path "
    r"(--set table.speaker='spk(\d+)'). For EmoBox, give the folder of the data set "
    "(EmoBox/data/NAME), which contains the speakers."
)


class Table(Corpus):
    """A table with one row per clip: CSV, TSV or JSON lines (``.csv``, ``.tsv``, ``.jsonl``).

    Required columns are ``path``, ``label`` and ``speaker``. Optional columns are ``split``
    (train, val, test) or ``fold``, ``start`` and ``end`` (seconds), and ``name``; any other column
    becomes an attribute. Common aliases are accepted: wav, file, filename, audio; emotion, emo,
    class; spk, speaker_id; start_time, end_time; key, id. Relative paths start at the table's
    folder.

    Published EmoBox manifests are read without changes: give the folder of one data set
    (``EmoBox/data/ravdess``). A clip's fold is the fold whose test file contains the clip; if there
    is a single fold, its parts become the split. Labels are mapped by the data set's
    ``label_map.json``, speakers are read from its ``data.seg.wrd.stm``, and paths
    (``downloads/...``) start at the folder above ``data``.

    Pooled tables are one corpus: speakers with the same name count as one person, so give different
    people different names.

    Parameters
    ----------
    path : Path
        The table, or the folder of an EmoBox manifest.
    root : str
        Folder to which relative paths refer; empty means the table's folder. A file that does not
        exist at its path is searched anywhere below this folder, by name without extension.
    speaker : str
        Regular expression that is searched in each path, then in the name. The match of its group
        (of the group called ``speaker``, if there are several) is the speaker. If empty, the column
        ``speaker`` is used.

    References
    ----------
    Z. Ma et al., EmoBox, Interspeech 2024. https://github.com/emo-box/EmoBox
    """

    name = "table"
    priority = 0

    def __init__(self, path: Path | None, *, root: str = "", speaker: str = "") -> None:
        super().__init__(path)
        self._root = Path(root).expanduser() if root else None
        self._speaker = SpeakerPattern(speaker, "table.speaker") if speaker else None

    @classmethod
    def detect(cls, path: Path) -> bool:
        # The suffix is checked here; missing columns are reported when the table is read.
        return is_manifest(path) if path.is_dir() else path.suffix.lower() in SUFFIXES

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        if self.path.is_dir():
            manifest = Manifest(self.path)
            rows, root = manifest.rows(), self._root or manifest.root()
        else:
            rows, root = list(read_rows(self.path)), self._root or self.path.parent
        clips = [self._clip(row, root) for row in rows]
        _check_names(rows, clips)
        if self._root is not None:
            clips = _with_files_below(self._root, clips)
        _check_files(rows, clips)
        return clips

    def _clip(self, row: Row, root: Path) -> Clip:
        path = row.need("path")
        rest = dict(row.cells)
        for used in ("path", "label", "speaker", "split", "fold", "start", "end", "name"):
            rest.pop(used, None)
        span = Span.of(row)
        return Clip(
            Recording(root / path, span.start, span.end),
            row.get("name") or path + span.suffix,
            row.need("label"),
            self._speaker_of(row, path),
            self.name,
            split=_split(row),
            fold=row.get("fold"),
            attributes=rest,
        )

    def _speaker_of(self, row: Row, path: str) -> str:
        if self._speaker is not None:
            try:
                return self._speaker.find(*filter(None, (path, row.get("name"))))
            except CorpusError as error:
                raise row.error(error.message) from None
        if speaker := row.get("speaker"):
            return speaker
        raise row.error("The speaker is missing.", hint=_HINT)


@dataclass(frozen=True)
class Span:
    """Start and end, in seconds, of a clip that is a part of a file."""

    start: float
    end: float | None

    @classmethod
    def of(cls, row: Row) -> Span:
        """Return the span that a row's columns start and end define."""
        start, end = row.seconds("start") or 0.0, row.seconds("end")
        if start < 0 or (end is not None and end <= start):
            raise row.error(f"The clip from second {start} to second {end} has no length.")
        return cls(start, end)

    @property
    def suffix(self) -> str:
        """Suffix that makes the names of clips of one file unique; empty for a whole file."""
        if not self.start and self.end is None:
            return ""
        return f"@{self.start:g}-{'' if self.end is None else format(self.end, 'g')}"


def _split(row: Row) -> str | None:
    text = row.get("split")
    if text is None:
        return None
    if text.lower() not in _SPLITS:
        raise row.error(f"The split {text!r} is unknown; accepted are train, val and test.")
    return _SPLITS[text.lower()]


def _with_files_below(root: Path, clips: list[Clip]) -> list[Clip]:
    """Return the clips, with each missing file replaced by a file of the same name below `root`."""
    if all(clip.recording.path.is_file() for clip in clips):
        return clips
    by_name = {file.stem: file for file in audio_files(root)}
    resolved: list[Clip] = []
    for clip in clips:
        path = clip.recording.path
        elsewhere = None if path.is_file() else by_name.get(path.stem)
        recording = replace(clip.recording, path=elsewhere or path)
        resolved.append(replace(clip, recording=recording))
    return resolved


def _check_files(rows: list[Row], clips: list[Clip]) -> None:
    """Raise if no file exists; single missing files are later left out like unreadable files."""
    if clips and not any(clip.recording.path.is_file() for clip in clips):
        raise rows[0].error(
            f"None of the {len(clips)} files exists; the first is {clips[0].recording.path}.",
            hint="Relative paths start at the table's folder, or at --set table.root=FOLDER.",
        )


def _check_names(rows: list[Row], clips: list[Clip]) -> None:
    """Raise if two clips have the same name, because one recording would count twice."""
    counts = Counter(clip.name for clip in clips)
    for row, clip in zip(rows, clips, strict=True):
        if counts[clip.name] > 1:
            raise row.error(
                f"The clip {clip.name!r} is in {counts[clip.name]} rows.",
                hint="Several clips of one file each need a start and end, or a name.",
            )


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Table]
