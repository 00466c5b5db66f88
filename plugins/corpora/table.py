"""A table of clips: CSV, TSV, JSON lines, or EmoBox's manifests."""

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
    "Scores count only on speakers that were not trained on. Add a column speaker, or say where "
    r"the path has it (--set table.speaker='spk(\d+)', a regular expression). "
    "Of a manifest of EmoBox, give the folder (EmoBox/data/NAME): the speakers stand beside it."
)


class Table(Corpus):
    """A table with a row per clip: CSV, TSV or JSON lines (``.csv``, ``.tsv``, ``.jsonl``).

    Columns: ``path``, ``label`` and ``speaker``; optional ``split`` (train, val, test) or
    ``fold``, ``start`` and ``end`` (seconds), ``name``; any other is kept as an attribute.
    Common other names are understood: wav, file, filename, audio; emotion, emo, class; spk,
    speaker_id; start_time, end_time; key, id. Relative paths start at the table's folder.

    EmoBox's manifests are read as they are published: give the folder of one data set
    (``EmoBox/data/ravdess``), and each clip's fold is the one in whose test file it stands (a
    single fold becomes the split). Labels go through its ``label_map.json``, speakers come from
    its ``data.seg.wrd.stm``, and paths (``downloads/...``) start at the folder above ``data``.

    Pooled tables are one corpus: speakers of equal name count as one, so give different people
    different names.

    Parameters
    ----------
    path : Path
        The table, or the folder of an EmoBox manifest.
    root : str
        The folder where relative paths start; empty for the table's own. Files that are not
        at their paths are looked for anywhere below it by name, whatever their extension.
    speaker : str
        Regular expression, searched in each path, then name; its group (the one called
        ``speaker``, if there are several) is the speaker. Empty: the column says it.

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
        # By the suffix alone: a table without the right columns gets a message that says so.
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
            clips = _found_below(self._root, clips)
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
        raise row.error("Nothing says who speaks.", hint=_HINT)


@dataclass(frozen=True)
class Span:
    """The part of a file that is the clip, in seconds."""

    start: float
    end: float | None

    @classmethod
    def of(cls, row: Row) -> Span:
        """The row's columns start and end."""
        start, end = row.seconds("start") or 0.0, row.seconds("end")
        if start < 0 or (end is not None and end <= start):
            raise row.error(f"A clip from second {start} to second {end} has no length.")
        return cls(start, end)

    @property
    def suffix(self) -> str:
        """What tells clips of one file apart in their names; empty for a whole file."""
        if not self.start and self.end is None:
            return ""
        return f"@{self.start:g}-{'' if self.end is None else format(self.end, 'g')}"


def _split(row: Row) -> str | None:
    text = row.get("split")
    if text is None:
        return None
    if text.lower() not in _SPLITS:
        raise row.error(f"The split {text!r} is unknown; possible are train, val and test.")
    return _SPLITS[text.lower()]


def _found_below(root: Path, clips: list[Clip]) -> list[Clip]:
    """Clips whose file is missing, with the one of that name below `root` where there is one."""
    if all(clip.recording.path.is_file() for clip in clips):
        return clips
    by_name = {file.stem: file for file in audio_files(root)}
    found: list[Clip] = []
    for clip in clips:
        path = clip.recording.path
        elsewhere = None if path.is_file() else by_name.get(path.stem)
        recording = replace(clip.recording, path=elsewhere or path)
        found.append(replace(clip, recording=recording))
    return found


def _check_files(rows: list[Row], clips: list[Clip]) -> None:
    """Some missing files are left out later, like unreadable ones; all of them are a mistake."""
    if clips and not any(clip.recording.path.is_file() for clip in clips):
        raise rows[0].error(
            f"There is no file {clips[0].recording.path}: none of the {len(clips)} is there.",
            hint="Relative paths start at the table's folder, or at --set table.root=FOLDER.",
        )


def _check_names(rows: list[Row], clips: list[Clip]) -> None:
    """One recording in two rows would be counted twice, perhaps with two labels."""
    counts = Counter(clip.name for clip in clips)
    for row, clip in zip(rows, clips, strict=True):
        if counts[clip.name] > 1:
            raise row.error(
                f"The clip {clip.name!r} stands in {counts[clip.name]} rows.",
                hint="Several clips of one file need a start and end, or a name each.",
            )


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Table]
