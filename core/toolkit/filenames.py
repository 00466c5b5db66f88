"""Recordings in folders, and corpora whose file names say who speaks what and how."""

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

AUDIO = (".wav", ".flac", ".ogg", ".mp3")  # the earlier, the better, if a corpus has both

_ENTRIES_PER_FOLDER = 200
_ENTRIES = 5_000
_LARGE_SHARE = 0.8


def is_audio(name: str) -> bool:
    """Whether a file of this name is a recording. Hidden files are not.

    macOS leaves ``._name.wav`` beside each file of an archive; these hold no sound.
    """
    return name.lower().endswith(AUDIO) and not name.startswith(".")


def audio_files(root: Path) -> list[Path]:
    """Every recording below `root`, sorted by path; hidden files and folders are passed over.

    Links to folders are followed, each folder once.

    Raises
    ------
    CorpusError
        If `root` is no folder, or a folder in it can't be read.
    """
    if not root.is_dir():
        raise CorpusError(f"{root} is not a folder.")
    seen = {os.path.realpath(root)}
    found: list[Path] = []
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_unreadable):
        folders[:] = [f for f in sorted(folders) if not f.startswith(".") and _new(folder, f, seen)]
        found += [Path(folder, name) for name in files if is_audio(name)]
    return sorted(found)


def _new(folder: str, name: str, seen: set[str]) -> bool:
    """Whether this folder has not been entered by another way; notes that it is."""
    real = os.path.realpath(Path(folder, name))
    new = real not in seen
    seen.add(real)
    return new


def _unreadable(error: OSError) -> None:
    raise CorpusError(f"The folder {error.filename} can't be read: {error.strerror}.") from error


def some_audio_files(root: Path) -> list[Path]:
    """Some recordings below `root`: a quick look at a tree of any size.

    Goes breadth first and looks at a bounded number of entries in each folder and in all, so
    that two corpora side by side are both seen. Never raises; what can't be read is left out.
    """
    found: list[Path] = []
    left = _ENTRIES
    folders = deque([root])
    seen = {os.path.realpath(root)}
    while folders and left > 0:
        folder = folders.popleft()
        for entry in _entries(folder, min(left, _ENTRIES_PER_FOLDER)):
            left -= 1
            if entry.name.startswith("."):
                continue
            if is_audio(entry.name):
                found.append(Path(entry.path))
            elif Path(entry.path).is_dir() and _new(str(folder), entry.name, seen):
                folders.append(Path(entry.path))
    return found


def _entries(folder: Path, count: int) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from itertools.islice(entries, count)
    except OSError:
        return


def most_match(root: Path, matches: Callable[[Path], object]) -> bool:
    """Whether a large share of the recordings below `root` match, and there are any."""
    files = some_audio_files(root)
    return bool(files) and sum(bool(matches(f)) for f in files) >= _LARGE_SHARE * len(files)


class FilenameCorpus(Corpus):
    """A corpus whose published file names hold the speaker, the emotion and the rest.

    Files may lie in any folders. Others are passed over. A recording that is found twice under
    one name (archives are known that hold their whole content once more in a folder; mp3 beside
    wav) is read once, the lossless one first.

    Attributes
    ----------
    pattern : str
        Regular expression for the end of a file's path without suffix, case ignored, with
        groups ``speaker`` and ``emotion``; further named groups become attributes.
    emotions : mapping of str to str
        What ``emotion`` matches, in lower case -> label.
    """

    pattern: ClassVar[str]
    emotions: ClassVar[Mapping[str, str]]

    def wanted(self, groups: Mapping[str, str]) -> bool:
        """Whether the recording with these groups is to be read."""
        return True

    def speaker(self, groups: Mapping[str, str]) -> str:
        """The speaker's name."""
        return groups["speaker"].upper()

    @classmethod
    def detect(cls, path: Path) -> bool:
        return path.is_dir() and most_match(path, lambda file: cls._match(path, file))

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        found: dict[tuple[str, ...], tuple[Path, dict[str, str]]] = {}
        for file in sorted(audio_files(self.path), key=_preference):
            if match := self._match(self.path, file):
                groups = {name: value or "" for name, value in match.groupdict().items()}
                if self.wanted(groups):
                    key = tuple(value.lower() for value in groups.values())
                    found.setdefault(key, (file, groups))
        for file, groups in sorted(found.values(), key=lambda pair: pair[0]):
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
        # With the root's own name: it may be the folder that names the speaker.
        path = root.resolve().name / file.relative_to(root).with_suffix("")
        return re.fullmatch(rf"(?:.*/)?{cls.pattern}", path.as_posix(), re.IGNORECASE)


def _preference(file: Path) -> tuple[int, Path]:
    return AUDIO.index(file.suffix.lower()), file
