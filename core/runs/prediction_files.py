"""Recordings that the arguments of ``fusion predict`` name: files, folders, patterns and tables."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...cache.exchange.columns import column_names
from ...cache.exchange.paths import PathFinder
from ...cache.exchange.tables import SUFFIXES, listed, read_table
from ..contracts import Recording
from ..contracts.errors import ParameterError
from ..toolkit.filenames import AUDIO, NO_RECORDING, audio_files, is_audio

_SHOWN = 5  # suffixes that a note names, and arguments that an error names


@dataclass
class FoundRecordings:
    """Recordings to label, and the files that are no recordings.

    Attributes
    ----------
    recordings : list of Recording
        Files and parts of files, in the order of the arguments; sorted within a folder or pattern.
    passed_over : Counter
        Number of files in folders and among the matches of patterns that are no recordings, by
        suffix in lower case.
    empty : list of str
        Arguments without a recording.
    """

    recordings: list[Recording] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    empty: list[str] = field(default_factory=list)

    def pass_over(self, name: str, reason: str) -> None:
        """Count a file of a folder if it is no recording; hidden files do not count."""
        if reason.startswith(NO_RECORDING):
            self.passed_over[Path(name).suffix.lower()] += 1

    def note(self) -> str | None:
        """Return a sentence on the files that are passed over; None if there are none."""
        total = sum(self.passed_over.values())
        if not total:
            return None
        kinds = self.passed_over.most_common()
        parts = [f"{count} {suffix or 'without suffix'}" for suffix, count in kinds[:_SHOWN]]
        if more := sum(count for _, count in kinds[_SHOWN:]):
            parts.append(f"{more} with other suffixes")
        files = "1 file is" if total == 1 else f"{total} files are"
        return f"{files} passed over as no recording: {', '.join(parts)}"


def find_recordings(arguments: Sequence[str]) -> FoundRecordings:
    """Return the recordings that arguments name.

    Parameters
    ----------
    arguments : sequence of str
        A file, which is a recording whatever its suffix. A folder, for all recordings below it. A
        pattern with ``*``, ``?`` or ``[...]``, where ``**`` matches any folders. A table
        (:func:`fusion.cache.exchange.tables.read_table`) with a column of paths, whose files are
        searched below the table's folder, and optional columns ``start``, ``end`` and
        ``duration``. A name that does not exist is a recording too: its prediction is an error,
        or its features are in a table.

    Raises
    ------
    ParameterError
        If no argument has a recording, a table can't be read, or several files match a path in a
        table equally well.
    CorpusError
        If a folder can't be read.
    """
    result = FoundRecordings()
    if "" in arguments:
        raise ParameterError(
            "The name of a recording is empty.", hint="For the working folder, write a dot: ."
        )
    for argument in arguments:
        path = Path(argument)
        before = len(result.recordings)
        if path.is_dir():
            _add_files(result, audio_files(path, result.pass_over))
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            result.recordings += _rows(path)
        elif _is_pattern(argument):
            matches = _matches(argument)
            _add_files(result, (match for match in matches if is_audio(match.name)))
            result.passed_over.update(m.suffix.lower() for m in matches if not is_audio(m.name))
        else:
            result.recordings.append(Recording(path))
            continue
        if len(result.recordings) == before:
            result.empty.append(argument)
    if not result.recordings:
        passed_over = f"; {result.note()}" if result.passed_over else ""
        more = f" and {len(result.empty) - _SHOWN} more" if len(result.empty) > _SHOWN else ""
        raise ParameterError(
            f"No recordings were found in {', '.join(result.empty[:_SHOWN])}{more}{passed_over}.",
            hint="A folder or pattern gives the files with the suffix of an audio format, listed "
            "by: fusion plugins show audio. A file with another suffix must be named.",
        )
    return result


def _is_pattern(argument: str) -> bool:
    """Return True for a pattern; a name with brackets that matches no file is a plain name."""
    if Path(argument).exists() or not glob.has_magic(argument):
        return False
    return any(sign in argument for sign in "*?") or bool(_matches(argument))


def _matches(pattern: str) -> list[Path]:
    # Path.glob accepts no absolute patterns, and finds hidden files.
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207
    return sorted(Path(name) for name in names if Path(name).is_file())


def _add_files(result: FoundRecordings, files: Iterable[Path]) -> None:
    """Add the files that no earlier argument named."""
    named = {recording.path for recording in result.recordings}
    result.recordings += [Recording(file) for file in files if file not in named]


def _rows(file: Path) -> list[Recording]:
    """Return the recordings that the rows of a table name; rows without a path are left out."""
    roles = column_names("path", "start", "end", "duration")
    table = read_table(file, roles, fault=ParameterError)
    if "path" not in table.columns:
        raise table.error(
            f"There is no column of paths. Columns: {listed(list(table.names.values()))}.",
            hint=f"Accepted names: {', '.join(roles['path'])}.",
        )
    rows = [row for row in table.rows if row.get("path")]
    files = PathFinder(file.parent, {row.need("path") for row in rows}, suffixes=AUDIO)
    hint = "Write more of the path in the table."
    return [Recording(row.find(files, hint), *row.span()) for row in rows]
