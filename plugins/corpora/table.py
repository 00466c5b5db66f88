"""Corpus defined by a table of clips: CSV, TSV, JSON, parquet, Excel, or an EmoBox manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ...cache.exchange.columns import column_names
from ...cache.exchange.paths import PathFinder, is_file
from ...cache.exchange.tables import SUFFIXES, TableRow, listed, read_table
from ...cache.exchange.tables import Table as Rows
from ...core.contracts.data import Clip, Corpus, Recording
from ...core.contracts.errors import CorpusError
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.audio import duration_of
from ...core.toolkit.filenames import AUDIO
from ...core.toolkit.parts import PARTS, is_numbered, part_of
from ...core.toolkit.patterns import SpeakerPattern
from ._emobox import Manifest, is_manifest
from ._examples import span_suffix

_ROLES = column_names()
_SEVERAL = "Write more of the path in the table, or give a lower folder: --set table.root=FOLDER"
_TIMES = ("start", "end")
_LONGEST_LINE = 1 << 20  # bytes of a JSON file that are examined
_SAMPLE = 20  # files whose lengths are compared with the times of their rows
_USED = ("path", "label", "speaker", "split", "fold", "start", "end", "name")


class Table(Corpus):
    """A table with one row per clip: CSV, TSV, JSON, JSON lines, parquet or Excel.

    Required columns are ``path`` and ``label``. Without a column ``speaker``, speakers are unknown,
    and only ``--split random`` and ``--split published`` are possible. Optional columns are
    ``split`` (train, val, test) or ``fold``; ``start`` and ``end`` or ``duration`` (seconds, clock
    times or pandas time deltas); ``name`` and ``transcript``. Other columns become attributes.
    Names that common corpora and tools give to these columns are recognised, regardless of case and
    punctuation (file, audio_filepath, emotion, EmoClass, SpkrID, Split_Set, Start_Time ...);
    ``--column ROLE=NAME`` names a column, and ``--ignore-column NAME`` leaves one out.

    A recording is searched below `root` by the trailing components of its path, so Windows paths
    and paths of another machine are found. If two files match equally well, the table is refused.
    A row without a path, label or speaker (if other rows have one) is passed over, and so is a row
    that repeats an earlier row. A column ``name`` whose values are not unique is an attribute.
    Reading parquet needs the extra ``parquet``, and reading Excel files the extra ``excel``.

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
        Folder to which relative paths refer, and below which recordings are searched; empty means
        the table's folder.
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
        if path.is_dir():
            return is_manifest(path)
        suffix = path.suffix.lower()
        return suffix in SUFFIXES and (suffix != ".json" or _is_list(path))

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        if self.path.is_dir():
            manifest = Manifest(self.path)
            rows: Sequence[TableRow] = manifest.rows()
            root = self._root or manifest.root()
        else:
            table = read_table(self.path, _ROLES, chosen=self.columns, fault=CorpusError)
            self.columns_used = dict(table.roles)
            self._check_columns(table)
            rows, root = self._without_numbered_split(table), self._root or self.path.parent
        names = {path for row in rows if (path := row.get("path"))}
        paths = PathFinder(root, names, suffixes=AUDIO)
        rows = self._usable(rows, paths)
        files = [row.find(paths, _SEVERAL) for row in rows]
        if _times_are_elsewhere(rows, files):
            self._check_milliseconds(rows, files)
            rows = [self._without_times(row) for row in rows]
        clips = [self._clip(row, file) for row, file in zip(rows, files, strict=True)]
        named = _with_unique_names(rows, clips, required="name" in self.columns.names)
        if named is not clips:
            self.columns_used.pop("name", None)
        clips = named
        _check_files(rows, clips)
        return clips

    def _check_columns(self, table: Rows) -> None:
        """Raise CorpusError if the table has no column of paths or labels."""
        for role in ("path", "label"):
            if role not in table.columns:
                own = listed(list(table.names.values()))
                raise table.error(
                    f"There is no column {role}. Columns: {own}.",
                    hint=f"Name the column: --column {role}=NAME. Recognised names: "
                    f"{', '.join(_ROLES[role])}.",
                )

    def _without_numbered_split(self, table: Rows) -> Sequence[TableRow]:
        """Return the rows; a column of splits that holds numbers only becomes an attribute.

        Nothing says which part a number means.
        """
        own = table.roles.get("split")
        if own is None or "split" in self.columns.names:
            return table.rows
        if not is_numbered(row.get("split") or "" for row in table.rows):
            return table.rows
        del self.columns_used["split"]
        self.columns_used["not a split"] = own
        return [
            replace(
                row, cells={"split number" if c == "split" else c: t for c, t in row.cells.items()}
            )
            for row in table.rows
        ]

    def _usable(self, rows: Sequence[TableRow], paths: PathFinder) -> list[TableRow]:
        """Return the rows that have a path, a label and a speaker, each clip once.

        Raises
        ------
        CorpusError
            If no row is usable, or two rows give different labels or speakers to one clip.
        """
        needed = ["path", "label"]
        if self._speaker is None and any(row.get("speaker") for row in rows):
            needed.append("speaker")
        usable: list[TableRow] = []
        first: dict[tuple[str | None, ...], TableRow] = {}
        for row in rows:
            missing = next((role for role in needed if row.get(role) is None), None)
            place = tuple(row.get(column) for column in ("path", "start", "end", "duration"))
            if missing is not None:
                self.pass_over(row.location, f"no {missing}")
            elif _is_empty(row):
                self.pass_over(row.location, "ends before it starts")
            elif place in first:
                row.find(paths, _SEVERAL)  # one name may stand for several files
                _check_equal(row, first[place], needed)
                self.pass_over(row.location, "repeats an earlier row")
            else:
                first[place] = row
                usable.append(row)
        if not usable and rows:
            reason = next(iter(self.passed_over))
            raise rows[0].error(f"No row is complete: all {len(rows)} rows have {reason}.")
        return usable

    def _check_milliseconds(self, rows: Sequence[TableRow], files: Sequence[Path]) -> None:
        """Raise CorpusError if all times, read as milliseconds, are within their files."""
        for row, file in zip(rows[:_SAMPLE], files, strict=False):
            if not (row.get("start") or "").replace(".", "").isdecimal():
                return  # a clock time states its unit
            length = duration_of(Recording(file)) if is_file(file) else None
            start, end = row.span()
            if length is not None and max(start, end or 0.0) / 1000 > length:
                return
        raise rows[0].error(
            "The times are after the end of every file, and within the files as milliseconds.",
            hint="Write the unit: 350 ms. If they are other times: --ignore-column "
            f"{self.columns_used.get('start', 'start')} --ignore-column "
            f"{self.columns_used.get('end', 'end')}",
        )

    def _without_times(self, row: TableRow) -> TableRow:
        """Return a row whose times are attributes: they are not times within the row's file."""
        for role in _TIMES:
            own = self.columns_used.pop(role, None)
            if own is not None:
                self.columns_used[f"{role}, not in the file"] = own
        cells = {f"{c} elsewhere" if c in _TIMES else c: t for c, t in row.cells.items()}
        return replace(row, cells=cells)

    def _clip(self, row: TableRow, file: Path) -> Clip:
        path = row.need("path")
        rest = {role: text for role, text in row.cells.items() if role not in _USED}
        return Clip(
            Recording(file, *row.span()),
            row.get("name") or path + span_suffix(*row.span()),
            row.need("label"),
            self._speaker_of(row, path),
            self.name,
            split=_split(row),
            fold=row.get("fold"),
            attributes=rest,
        )

    def _speaker_of(self, row: TableRow, path: str) -> str:
        if self._speaker is None:
            return row.get("speaker") or ""
        try:
            return self._speaker.find(*filter(None, (path, row.get("name"))))
        except CorpusError as error:
            raise row.error(error.message) from None


def _times_are_elsewhere(rows: Sequence[TableRow], files: Sequence[Path]) -> bool:
    """Return True if the times of rows are not times within the rows' files.

    MELD's tables, for instance, have a file per utterance and the times of the utterance in the
    episode. This is the case if each row has a file of its own, and in a sample of rows every start
    is after the end of the file.
    """
    if len(set(files)) < len(files):
        return False
    starts = ((row.seconds("start") or 0.0, file) for row, file in zip(rows, files, strict=True))
    timed = ((start, file) for start, file in starts if start > 0 and is_file(file))
    sample = [(start, duration_of(Recording(file))) for start, file in islice(timed, _SAMPLE)]
    return bool(sample) and all(length is not None and start >= length for start, length in sample)


def _is_empty(row: TableRow) -> bool:
    """Return True if a clip starts before its file or has no length."""
    start, end = row.span()
    return start < 0 or (end is not None and end <= start)


def _is_list(file: Path) -> bool:
    """Return whether a JSON file holds a list, or JSON lines (one object per line)."""
    try:
        with file.open("rb") as stream:
            first = stream.readline(_LONGEST_LINE).strip(b"\xef\xbb\xbf \t\r\n")
    except OSError:
        return False
    return first.startswith(b"[") or (first.startswith(b"{") and first.endswith(b"}"))


def _check_equal(row: TableRow, earlier: TableRow, columns: Sequence[str]) -> None:
    """Raise CorpusError if two rows of one clip differ in a column."""
    for column in columns:
        if row.get(column) != earlier.get(column):
            raise row.error(
                f"The clip {row.need('path')!r} is also in line {earlier.line}, with the {column} "
                f"{earlier.get(column)!r} instead of {row.get(column)!r}.",
                hint="Several clips of one file each need a start and end.",
            )


def _split(row: TableRow) -> str | None:
    text = row.get("split")
    if text is None or part_of(text):
        return text and part_of(text)
    raise row.error(
        f"The split {text!r} is unknown; accepted are {', '.join(PARTS)}.",
        hint="If the column is no split: --ignore-column "
        f"{row.names.get('split', 'split')}; if it holds folds: --column fold="
        f"{row.names.get('split', 'split')}",
    )


def _with_unique_names(
    rows: Sequence[TableRow], clips: list[Clip], *, required: bool
) -> list[Clip]:
    """Return the clips with unique names: those of the table, or the paths if names repeat.

    Raises
    ------
    CorpusError
        If names repeat and are `required`.
    """
    counts = Counter(clip.name for clip in clips)
    if len(counts) == len(clips):
        return clips
    row, clip = next((r, c) for r, c in zip(rows, clips, strict=True) if counts[c.name] > 1)
    if required:
        raise row.error(f"The name {clip.name!r} is in {counts[clip.name]} rows.")
    return [_named_by_path(row, clip) for row, clip in zip(rows, clips, strict=True)]


def _named_by_path(row: TableRow, clip: Clip) -> Clip:
    """Return the clip named by its path, with its former name as an attribute."""
    own = row.names.get("name", "name").lower()
    name = row.need("path") + span_suffix(*row.span())
    return replace(clip, name=name, attributes={**clip.attributes, own: row.get("name") or ""})


def _check_files(rows: Sequence[TableRow], clips: list[Clip]) -> None:
    """Raise if no file exists; single missing files are later left out like unreadable files."""
    if clips and not any(is_file(clip.recording.path) for clip in clips):
        raise rows[0].error(
            f"None of the {len(clips)} files exists; the first is {clips[0].recording.path}.",
            hint="Relative paths start at the table's folder, or at --set table.root=FOLDER.",
        )


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Table]
