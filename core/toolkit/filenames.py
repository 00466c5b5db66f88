"""Search for recordings in folders, and corpora described by their file names."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..contracts.data import Clip, Corpus, Recording
from ..contracts.errors import CorpusError
from .audio_formats import AUDIO as AUDIO  # in order of preference if a corpus has several formats

_ENTRIES_PER_FOLDER = 200
_ENTRIES = 5_000
_LARGE_SHARE = 0.8
# Names that browsers and file managers give to a second copy: "x (1)", "x - Copy (2)", "x copy 2".
_COPY = re.compile(
    r"(?: ?\(\d{1,2}\)| - (?:copy|kopie|copie|copia|副本)(?: ?\(\d+\))?| copy(?: \d+)?)$",
    re.IGNORECASE,
)
_SAMPLES: ContextVar[dict[Path, list[Path]] | None] = ContextVar("_SAMPLES", default=None)
PassOver = Callable[[str, str], None]
"""Function that receives a path below the root and the reason why it is not read."""
NO_RECORDING = "not a recording"  # the start of the reason, before the suffix
COPY = "copy of a recording that is read"
ANOTHER_FORMAT = "another format of the same recording"


def is_audio(name: str) -> bool:
    """Return True if the name is that of a recording; hidden files are not recordings.

    macOS adds ``._name.wav`` beside each file of an archive; these files hold no sound.
    """
    return name.lower().endswith(AUDIO) and not name.startswith(".")


def readable(text: str) -> str:
    """Return `text` with every byte that is not UTF-8 as ``%`` and two hexadecimal digits.

    Linux allows file names of any bytes. Python represents such bytes by characters that can't be
    printed or stored.
    """
    return re.sub("[\ud800-\udfff]", lambda match: f"%{ord(match[0]) & 0xFF:02X}", text)


def original_name(stem: str) -> str:
    """Return the name without the addition of a copy: ``"x"`` for ``"x (1)"``; "" for no copy."""
    original = _COPY.sub("", stem)
    return "" if original == stem else original


def format_rank(name: str) -> int:
    """Return the position of a recording's format in `AUDIO`: preferred formats first."""
    return AUDIO.index(split_suffix(name)[1].lower())


def split_suffix(path: str) -> tuple[str, str]:
    """Return a path with slashes without its suffix, and the suffix with its dot, or ""."""
    stem, _, suffix = path.rpartition(".")
    if not stem or stem.endswith("/") or "/" in suffix:
        return path, ""
    return stem, f".{suffix}"


def audio_files(root: Path, pass_over: PassOver | None = None) -> list[Path]:
    """Return all recordings below `root`, sorted by path, without hidden files and folders.

    Links to folders are followed, and each folder is searched once.

    Parameters
    ----------
    root : Path
        The folder to search.
    pass_over : callable, optional
        Receives every other file below `root`, with the reason.

    Raises
    ------
    CorpusError
        If `root` is not a folder, or a folder in it can't be read.
    """
    return [root / name for name in audio_names(root, pass_over)]


def audio_names(root: Path, pass_over: PassOver | None = None) -> list[str]:
    """Return the paths of :func:`audio_files` relative to `root`, with slashes."""
    if not root.is_dir():
        raise CorpusError(f"{root} is not a folder.")
    walk = _Walk(root, pass_over)
    walk.run()
    # A null character sorts before all others, as the end of a folder's name does.
    return sorted(walk.names, key=lambda name: name.replace("/", "\0"))


class _Walk:
    """Search of a folder tree; `names` holds the recordings found so far, relative to the root."""

    def __init__(self, root: Path, pass_over: PassOver | None) -> None:
        self.names: list[str] = []
        self._root = root
        self._pass_over = pass_over
        self._visited = {os.path.realpath(root)}
        self._hidden: list[str] = []

    def run(self) -> None:
        """Search the tree; then count the files in hidden folders, if anyone counts them.

        Hidden folders come last because a folder in them may also be reached by a visible link.
        """
        self._search([""], hidden=False)
        if self._pass_over is not None:
            self._search(self._hidden, hidden=True)

    def _search(self, pending: list[str], *, hidden: bool) -> None:
        """Search folders, given relative to the root, and the folders in them."""
        while pending:
            folder = pending.pop()
            path = self._root / folder
            try:
                with os.scandir(path) as scan:
                    entries = sorted(scan, key=lambda entry: entry.name)
            except OSError as error:
                if not hidden:
                    raise CorpusError(
                        f"The folder {path} can't be read: {error.strerror}."
                    ) from error
                self._reject(folder, "hidden")
                continue
            prefix = f"{folder}/" if folder else ""
            inner = [e for e in entries if self._is_inner(prefix + e.name, e, hidden)]
            pending += [prefix + entry.name for entry in reversed(inner)]

    def _is_inner(self, name: str, entry: os.DirEntry[str], hidden: bool) -> bool:
        """Return True for a folder to search now; add or reject any other entry."""
        visible = not (hidden or entry.name.startswith("."))
        if is_folder(entry):
            if not visible and not hidden:
                self._hidden.append(name)
            elif _new(entry.path, self._visited):
                return True
            else:
                self._reject(name, "second path to a folder, through a link")
        elif not visible:
            self._reject(name, "hidden")
        elif not is_audio(entry.name):
            self._reject(name, _no_recording(entry.name))
        elif not _is_file(entry):
            self._reject(name, "broken link" if entry.is_symlink() else "not a regular file")
        else:
            self.names.append(name)
        return False

    def _reject(self, name: str, reason: str) -> None:
        if self._pass_over is not None:
            self._pass_over(readable(name), reason)


def _no_recording(name: str) -> str:
    suffix = split_suffix(name)[1].lower()
    is_plain = suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 10
    return f"{NO_RECORDING} ({suffix if is_plain else 'no suffix'})"


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return True for a folder or a link to a folder, and False for a link to itself."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _new(path: str, visited: set[str]) -> bool:
    """Return True if a folder was not visited before, by any path, and mark it as visited."""
    real = os.path.realpath(path)
    new = real not in visited
    visited.add(real)
    return new


def some_audio_files(root: Path) -> list[Path]:
    """Return some recordings below `root`, quickly for a tree of any size.

    The search is breadth first and reads a bounded number of entries per folder and in total, so
    that two corpora side by side are both found. Unreadable folders are skipped without an error.
    """
    samples = _SAMPLES.get()
    if samples is None:
        return _sample(root)
    if root not in samples:
        samples[root] = _sample(root)
    return list(samples[root])


@contextlib.contextmanager
def samples_kept() -> Iterator[None]:
    """Sample each folder once within the context, for any number of corpora that examine it."""
    token = _SAMPLES.set({})
    try:
        yield
    finally:
        _SAMPLES.reset(token)


def _sample(root: Path) -> list[Path]:
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
            elif is_folder(entry) and _new(entry.path, visited):
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


@dataclass(frozen=True)
class _Candidate:
    """File whose name matches the pattern of a corpus."""

    name: str
    groups: dict[str, str]
    copy: bool


class FilenameCorpus(Corpus):
    """Corpus whose published file names encode the speaker, the emotion and other attributes.

    Files may be in any folder; files with other names are passed over. If the matched groups of
    several files are equal, one of the files is used, preferably a lossless file. Such duplicates
    occur because some archives contain their whole content twice, and some corpora have mp3 beside
    wav. A name that ends like a second download (``name (1).wav``) is read if ``name`` does not
    exist.

    Attributes
    ----------
    pattern : str
        Regular expression for the last components of a file's path without suffix, ignoring case,
        with groups ``speaker`` and ``emotion``. Other named groups become attributes.
    emotions : mapping of str to str
        Label by the match of the group ``emotion`` in lower case.
    variant : str
        Name of a group in which two files of one recording may differ, such as audio and video;
        empty for none. The file with the last match in sorted order is read. This group does not
        become an attribute.
    """

    pattern: ClassVar[str]
    emotions: ClassVar[Mapping[str, str]]
    variant: ClassVar[str] = ""

    def wanted(self, groups: Mapping[str, str]) -> bool:
        """Return True if the corpus contains the recording with these groups."""
        return True

    def unwanted(self, groups: Mapping[str, str]) -> str:
        """Return why a recording is not wanted, in a few words; empty for a wanted recording."""
        return "" if self.wanted(groups) else "outside the selection"

    def speaker(self, groups: Mapping[str, str]) -> str:
        """Return the name of the speaker."""
        return groups["speaker"].upper()

    def label(self, groups: Mapping[str, str]) -> str:
        """Return the corpus's own label."""
        return self.emotions[groups["emotion"].lower()]

    def attributes(self, groups: Mapping[str, str]) -> dict[str, str]:
        """Return the attributes of a clip."""
        return {k: v for k, v in groups.items() if k not in ("speaker", "emotion", self.variant)}

    def key(self, groups: Mapping[str, str]) -> tuple[str, ...]:
        """Return the groups that identify a recording."""
        return tuple(value.lower() for name, value in groups.items() if name != self.variant)

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Return True if most recordings in the folder match the pattern."""
        if not path.is_dir():
            return False
        top, prefix = path.resolve().name, len(str(path).rstrip("/\\")) + 1 if path.parts else 0
        return most_match(path, lambda file: cls._match(top, file.as_posix()[prefix:]))

    def clips(self) -> Iterable[Clip]:
        """Yield one clip per recording, sorted by path."""
        assert self.path is not None
        self.passed_over = {}
        chosen: dict[tuple[str, ...], _Candidate] = {}
        for candidate in sorted(self._candidates(self.path), key=self._preference):
            first = chosen.setdefault(self.key(candidate.groups), candidate)
            if first is not candidate:
                self.pass_over(
                    readable(candidate.name), _second_file(candidate, first, self.variant)
                )
        for candidate in sorted(chosen.values(), key=lambda c: c.name.split("/")):
            yield self._clip(candidate.name, candidate.groups)

    def _candidates(self, root: Path) -> Iterator[_Candidate]:
        """Yield the files whose names match and that are wanted; pass all other files over."""
        top = root.resolve().name
        for name in audio_names(root, self.pass_over):
            candidate = self._match(top, name)
            if candidate is None:
                self.pass_over(readable(name), f"not a file name of {self.name}")
            elif reason := self.unwanted(candidate.groups):
                self.pass_over(readable(name), f"not wanted: {reason}")
            else:
                yield candidate

    def _preference(self, candidate: _Candidate) -> tuple[object, ...]:
        """Return the sort key of the files of one recording: the file to read comes first."""
        variant = candidate.groups.get(self.variant, "")
        return (
            candidate.copy,
            [-ord(character) for character in variant],
            format_rank(candidate.name),
            candidate.name.split("/"),
        )

    def _clip(self, name: str, groups: dict[str, str]) -> Clip:
        assert self.path is not None
        return Clip(
            Recording(self.path / name),
            name,
            self.label(groups),
            self.speaker(groups),
            self.name,
            attributes=self.attributes(groups),
        )

    @classmethod
    def parse(cls, path: str) -> dict[str, str]:
        """Return the groups of a path; empty if the path is not of this corpus.

        Parameters
        ----------
        path : str
            Path with slashes and without suffix. Its first component is the name of the root, which
            may be the folder that names the speaker.
        """
        match = re.fullmatch(rf"(?:.*/)?{cls.pattern}", path, re.IGNORECASE)
        return {} if match is None else {k: v or "" for k, v in match.groupdict().items()}

    @classmethod
    def _match(cls, top: str, name: str) -> _Candidate | None:
        """Match a path below a root called `top`, or else the path of its original."""
        path = split_suffix(f"{top}/{name}")[0]
        if groups := cls.parse(path):
            return _Candidate(name, groups, copy=False)
        original = original_name(path)
        groups = cls.parse(original) if original else {}
        return _Candidate(name, groups, copy=True) if groups else None


def _second_file(candidate: _Candidate, chosen: _Candidate, variant: str) -> str:
    """Return the reason for which a second file of a recording is passed over."""
    if candidate.copy:
        return COPY
    same_format = format_rank(candidate.name) == format_rank(chosen.name)
    same_variant = candidate.groups.get(variant) == chosen.groups.get(variant)
    return "second file of the same recording" if same_format and same_variant else ANOTHER_FORMAT
