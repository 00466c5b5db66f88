"""Search for recordings in folders, and corpora described by their file names."""

from __future__ import annotations

import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ..contracts.data import Clip, Corpus, Recording
from ..contracts.errors import CorpusError

AUDIO = (".wav", ".flac", ".ogg", ".mp3")  # in order of preference if a corpus has several formats

_ENTRIES_PER_FOLDER = 200
_ENTRIES = 5_000
_LARGE_SHARE = 0.8


def is_audio(name: str) -> bool:
    """Return True if the name is that of a recording; hidden files are not recordings.

    macOS adds ``._name.wav`` beside each file of an archive; these files hold no sound.
    """
    return name.lower().endswith(AUDIO) and not name.startswith(".")


def audio_files(root: Path) -> list[Path]:
    """Return all recordings below `root`, sorted by path, without hidden files and folders.

    Links to folders are followed, and each folder is searched once.

    Raises
    ------
    CorpusError
        If `root` is not a folder, or a folder in it can't be read.
    """
    if not root.is_dir():
        raise CorpusError(f"{root} is not a folder.")
    visited = {os.path.realpath(root)}
    recordings: list[Path] = []
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_unreadable):
        folders[:] = [
            f for f in sorted(folders) if not f.startswith(".") and _new(folder, f, visited)
        ]
        recordings += [Path(folder, name) for name in files if is_audio(name)]
    return sorted(recordings)


def _new(folder: str, name: str, visited: set[str]) -> bool:
    """Return True if a folder was not visited before, by any path, and mark it as visited."""
    real = os.path.realpath(Path(folder, name))
    new = real not in visited
    visited.add(real)
    return new


def _unreadable(error: OSError) -> None:
    """Raise CorpusError for a folder that can't be read."""
    raise CorpusError(f"The folder {error.filename} can't be read: {error.strerror}.") from error


def some_audio_files(root: Path) -> list[Path]:
    """Return some recordings below `root`, quickly for a tree of any size.

    The search is breadth first and reads a bounded number of entries per folder and in total, so
    that two corpora side by side are both found. Unreadable folders are skipped without an error.
    """
    recordings: list[Path] = []
    remaining = _ENTRIES
    folders = deque([root])
    visited = {os.path.realpath(root)}
    while folders and remaining > 0:
        folder = folders.popleft()
        for entry in _entries(folder, min(remaining, _ENTRIES_PER_FOLDER)):
            remaining -= 1
            if entry.name.startswith("."):
                continue
            if is_audio(entry.name):
                recordings.append(Path(entry.path))
            elif Path(entry.path).is_dir() and _new(str(folder), entry.name, visited):
                folders.append(Path(entry.path))
    return recordings


def _entries(folder: Path, count: int) -> Iterator[os.DirEntry[str]]:
    """Yield up to `count` entries of a folder; none if it can't be read."""
    try:
        with os.scandir(folder) as entries:
            yield from itertools.islice(entries, count)
    except OSError:
        return


def most_match(root: Path, matches: Callable[[Path], object]) -> bool:
    """Return True if at least 80 % of a sample of the recordings below `root` match.

    The result is False if there are no recordings.
    """
    files = some_audio_files(root)
    return bool(files) and sum(bool(matches(f)) for f in files) >= _LARGE_SHARE * len(files)


class FilenameCorpus(Corpus):
    """Corpus whose published file names encode the speaker, the emotion and other attributes.

    Files may be in any folder; files with other names are skipped. If the matched groups of several
    files are equal, one of the files is used, preferably a lossless file. Such duplicates occur
    because some archives contain their whole content twice, and some corpora have mp3 beside wav.

    Attributes
    ----------
    pattern : str
        Regular expression for the last components of a file's path without suffix, ignoring case,
        with groups ``speaker`` and ``emotion``. Other named groups become attributes.
    emotions : mapping of str to str
        Label by the match of the group ``emotion`` in lower case.
    """

    pattern: ClassVar[str]
    emotions: ClassVar[Mapping[str, str]]

    def wanted(self, groups: Mapping[str, str]) -> bool:
        """Return True if the corpus contains the recording with these groups."""
        return True

    def speaker(self, groups: Mapping[str, str]) -> str:
        """Return the name of the speaker."""
        return groups["speaker"].upper()

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Return True if most recordings in the folder match the pattern."""
        return path.is_dir() and most_match(path, lambda file: cls._match(path, file))

    def clips(self) -> Iterable[Clip]:
        """Yield one clip per recording, sorted by path."""
        assert self.path is not None
        by_groups: dict[tuple[str, ...], tuple[Path, dict[str, str]]] = {}
        for file in sorted(audio_files(self.path), key=_preference):
            if match := self._match(self.path, file):
                groups = {name: value or "" for name, value in match.groupdict().items()}
                if self.wanted(groups):
                    key = tuple(value.lower() for value in groups.values())
                    by_groups.setdefault(key, (file, groups))
        for file, groups in sorted(by_groups.values(), key=lambda pair: pair[0]):
            yield self._clip(file, groups)

    def _clip(self, file: Path, groups: dict[str, str]) -> Clip:
        assert self.path is not None
        return Clip(
            Recording(file),
            file.relative_to(self.path).as_posix(),
            self.emotions[groups["emotion"].lower()],
            self.speaker(groups),
            self.name,
            attributes={k: v for k, v in groups.items() if k not in ("speaker", "emotion")},
        )

    @classmethod
    def _match(cls, root: Path, file: Path) -> re.Match[str] | None:
        """Match the pattern against the path of a file."""
        # Include the name of the root, which may be the folder that names the speaker.
        path = root.resolve().name / file.relative_to(root).with_suffix("")
        return re.fullmatch(rf"(?:.*/)?{cls.pattern}", path.as_posix(), re.IGNORECASE)


def _preference(file: Path) -> tuple[int, Path]:
    """Return the sort key of a recording: preferred formats first."""
    return AUDIO.index(file.suffix.lower()), file
