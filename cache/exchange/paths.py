"""Search for the files that a table names, by the trailing components of their paths."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

Parts = tuple[str, ...]

_SHOWN = 3  # files that a message names
_MOST_FILES = 2_000_000  # files below the root that are searched
# Preferred formats if a table names a recording in a format that does not exist.
_FORMATS = (".wav", ".flac")


class AmbiguousPath(Exception):  # noqa: N818  (turned into an error that names the row)
    """Several files match a path equally well; the text of the exception names them.

    Parameters
    ----------
    name : str
        The path.
    files : tuple of Path
        The files.
    """

    def __init__(self, name: str, files: tuple[Path, ...]) -> None:
        super().__init__(f"{name!r} could be {' or '.join(map(str, files[:_SHOWN]))}.")
        self.files = files


class PathFinder:
    """Finder of the files that the rows of one table name.

    A path is taken as it is, if the file exists. Otherwise the trailing components of the path
    decide, without regard to case: the file below the root that has the most trailing components in
    common with the path is chosen. The number of common components must identify one path of the
    table and one file. If only the name of the file is common, and the row also names a folder, the
    file must be in `root` itself: a file of the same name in another folder is another file. Paths
    may be written as on Windows. If the root has no file of the same name, a file with the same
    stem and one of some other suffixes is accepted.

    Parameters
    ----------
    root : Path
        Folder to which relative paths refer, and below which files are searched.
    names : iterable of str
        All paths of the table.
    suffixes : collection of str
        Suffixes, in lower case, that a file of the same stem may have.
    """

    def __init__(self, root: Path, names: Iterable[str], *, suffixes: Collection[str] = ()) -> None:
        self.root = root
        self._suffixes = suffixes
        self._names = set(names)

    def find(self, name: str) -> Path:
        """Return the file that a row names; the path below the root if there is no such file.

        Raises
        ------
        AmbiguousPath
            If several files match equally well.
        """
        direct = self.root / expanded(name)
        if is_file(direct):
            return direct
        parts = parts_of(name)
        if not parts:
            return direct
        for index in (self._by_name, self._by_stem):
            file = self._best(name, parts, index.get(_last(parts, index is self._by_stem), []))
            if file is not None:
                return file
        return direct

    def _best(self, name: str, parts: Parts, candidates: list[Parts]) -> Path | None:
        """Return the candidate with the most trailing components in common with `parts`."""
        if not candidates:
            return None
        common = [_common(parts, candidate) for candidate in candidates]
        most = max(common)
        if self._sharing(parts, most) > 1:  # the components could also mean another row's file
            return None
        best = [c for c, count in zip(candidates, common, strict=True) if count == most]
        if most == 1 and len(parts) > 1:
            best = [candidate for candidate in best if len(candidate) == 1]
            if not best:
                return None
        folders = {candidate[:-1] for candidate in best}
        if len(folders) > 1:
            files = tuple(self.root.joinpath(*candidate) for candidate in best)
            raise AmbiguousPath(name, files)
        best.sort(key=_preference)
        return self.root.joinpath(*best[0])

    def _sharing(self, parts: Parts, count: int) -> int:
        """Return the number of the table's paths with the same trailing components."""
        return self._endings[_ending(parts, count)]

    @cached_property
    def _endings(self) -> Counter[Parts]:
        """Number of the table's paths by their trailing components, for every number of them."""
        counts: Counter[Parts] = Counter()
        for parts in {parts_of(name) for name in self._names}:
            counts.update({_ending(parts, count) for count in range(1, len(parts) + 1)})
        return counts

    @cached_property
    def _by_name(self) -> dict[str, list[Parts]]:
        """Files below the root, as components below the root, by name in lower case."""
        files: defaultdict[str, list[Parts]] = defaultdict(list)
        number = 0
        for folder, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = Path(folder).relative_to(self.root).parts
            for name in sorted(names):
                files[name.casefold()].append((*below, name))
            number += len(names)
            if number > _MOST_FILES:
                break
        return files

    @cached_property
    def _by_stem(self) -> dict[str, list[Parts]]:
        files: defaultdict[str, list[Parts]] = defaultdict(list)
        for name, candidates in self._by_name.items():
            if PurePosixPath(name).suffix in self._suffixes:
                for parts in candidates:
                    files[_last(parts, True)].append(parts)
        return files


def parts_of(name: str) -> Parts:
    """Return the components of a path without root, drive and dots, as Linux or Windows writes it.

    ``..`` removes the component before it, if there is one.
    """
    text = name.removeprefix("file://")
    windows = "\\" in text or text[1:2] == ":"
    pure = PureWindowsPath(text) if windows else PurePosixPath(text)
    parts: list[str] = []
    for part in pure.parts:
        if part == ".." and parts:
            parts.pop()
        elif part not in (pure.anchor, "..", "~"):
            parts.append(part)
    return tuple(parts)


def expanded(name: str) -> Path:
    """Return a path with a leading ``~`` replaced, if the user it names exists."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # no such user
        return Path(name)


def is_file(path: Path) -> bool:
    """Return whether a file exists; False for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return False


def _last(parts: Parts, stem: bool) -> str:
    return (PurePosixPath(parts[-1]).stem if stem else parts[-1]).casefold()


def _ending(parts: Parts, count: int) -> Parts:
    """Return the last `count` components without case and without the last suffix."""
    *folders, _ = parts[-count:]
    return (*(folder.casefold() for folder in folders), _last(parts, True))


def _common(one: Parts, other: Parts) -> int:
    """Return the number of trailing components that two paths have in common, at least 1."""
    count = 1
    for mine, theirs in zip(one[-2::-1], other[-2::-1], strict=False):
        if mine.casefold() != theirs.casefold():
            break
        count += 1
    return count


def _preference(parts: Parts) -> tuple[int, str]:
    suffix = PurePosixPath(parts[-1]).suffix.lower()
    return (_FORMATS.index(suffix) if suffix in _FORMATS else len(_FORMATS)), parts[-1]
