"""Detection of the corpus, or of the several corpora, that a path holds."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..contracts.data import Corpus
from ..contracts.errors import CorpusError, PluginError
from ..registry.provenance import message_of
from ..toolkit.filenames import is_folder, readable, samples_kept, some_audio_files
from ..toolkit.parts import PARTS, part_in
from .sources import Source, accepted_sources

_MOST_PARTS = 40  # a folder with more sub-folders is not a collection of corpora
_MOST_FILES = 1_000  # files of a folder that are searched for the parts of a split
_UNKNOWN = "folder of no known corpus"


@dataclass(frozen=True)
class Detected:
    """Corpora that a path holds.

    Attributes
    ----------
    parts : tuple of Source
        Corpus, path and split of each part: one for the path itself, one per sub-folder, or one per
        file of a published split.
    passed_over : dict of str to list of str
        Entries of the folder that belong to no corpus, by reason.
    """

    parts: tuple[Source, ...]
    passed_over: dict[str, list[str]] = field(default_factory=dict)


def detect(path: Path | None, corpora: Mapping[str, type[Corpus]]) -> Detected:
    """Return the corpora that recognise `path`.

    The corpus of the highest priority that recognises the path reads it. If no corpus recognises
    the path, or only a reader of any folder (priority below 0), the sub-folders are examined: a
    folder most of whose sub-folders each hold a named corpus (priority above 0) is a collection of
    corpora. So is the folder of a named corpus whose sub-folders also hold another named corpus,
    because a large corpus may hide a small one.

    Raises
    ------
    CorpusError
        If the path does not exist, is an empty folder, or is recognised by no corpus or by several
        of equal priority.
    PluginError
        If a corpus fails to examine the path.
    """
    if path is None:
        raise CorpusError("A source needs a corpus, a path, or both.")
    if not path.exists():
        raise CorpusError(f"The path {path} does not exist.", hint=accepted_sources(corpora))
    try:
        if path.is_dir() and not any(path.iterdir()):
            raise CorpusError(f"The folder {path} is empty.")
    except OSError as error:
        raise CorpusError(f"The folder {path} can't be read: {error.strerror}.") from error
    with samples_kept():
        best = _best(path, corpora)
        if path.is_dir():
            collection = _collection(path, best, corpora)
            if collection is not None:
                return collection
            is_named = bool(best) and corpora[best[0]].priority > 0
            if not is_named and (files := part_files(path, corpora)):
                return Detected(tuple(files.values()))
    if len(best) == 1:
        return Detected((Source(best[0], path),))
    raise _undecided(path, best, corpora)


def _best(path: Path, corpora: Mapping[str, type[Corpus]]) -> list[str]:
    """Return the corpora of the highest priority among those that recognise `path`."""
    names = [
        name
        for name, cls in corpora.items()
        if cls.needs_path and _recognises(name, cls, path)
    ]  # fmt: skip
    top = max((corpora[name].priority for name in names), default=0)
    return [name for name in names if corpora[name].priority == top]


def part_files(folder: Path, corpora: Mapping[str, type[Corpus]]) -> dict[str, Source]:
    """Return the files of a published split in a folder, by part; empty if there is no split.

    The files are ``train.csv``, ``dev.csv`` and ``test.csv``, or have such a word at the start or
    the end of their names (``polish_train.csv``). A split needs a file for training and a file for
    test, each recognised by a corpus.

    Raises
    ------
    CorpusError
        If the folder holds the files of several splits, or several corpora of equal priority
        recognise a file of the split.
    PluginError
        If a corpus fails to examine a file.
    """
    groups: defaultdict[tuple[str, str], dict[str, tuple[Path, list[str]]]] = defaultdict(dict)
    for file in sorted(folder.iterdir())[:_MOST_FILES]:
        words = part_in(file.stem)
        if words and file.is_file() and (readers := _best(file, corpora)):
            part, rest = words
            groups[rest, file.suffix.lower()].setdefault(part, (file, readers))
    splits = [files for files in groups.values() if {"train", "test"} <= set(files)]
    if len(splits) > 1:
        listed = "; ".join(", ".join(f.name for f, _ in files.values()) for files in splits)
        raise CorpusError(
            f"{folder} holds the files of {len(splits)} splits: {listed}.",
            hint="Name the files of one split: --data train=FILE,val=FILE,test=FILE",
        )
    sources: dict[str, Source] = {}
    for part in PARTS if splits else ():
        file, readers = splits[0].get(part, (folder, []))
        if len(readers) > 1:
            raise _undecided(file, readers, corpora)
        if readers:
            sources[part] = Source(readers[0], file, part)
    return sources


def _collection(
    path: Path, best: Sequence[str], corpora: Mapping[str, type[Corpus]]
) -> Detected | None:
    """Return the corpora in the sub-folders of `path`; None if the folder is no collection.

    `best` names the corpora that recognise `path` itself.
    """
    own = corpora[best[0]] if best else None
    if own is not None and own.priority == 0:
        return None  # a table or manifest describes the folder
    with os.scandir(path) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    visible = [entry for entry in entries if not entry.name.startswith(".")]
    folders = [Path(entry.path) for entry in visible if is_folder(entry)]
    if not folders or len(folders) > _MOST_PARTS:
        return None
    is_named = own is not None and own.priority > 0
    if is_named and all(_only_of(best[0], folder, corpora) for folder in folders):
        return None
    detected = _in_folders(folders, corpora)
    corpora_inside = {part.corpus for part in detected.parts}
    if is_named and (best[0] not in corpora_inside or len(corpora_inside) == 1):
        return None
    if len(detected.parts) <= len(detected.passed_over.get(_UNKNOWN, ())):
        return None
    rest = {
        "outside the folders of the corpora": [e.name for e in visible if not is_folder(e)],
        "hidden": [e.name for e in entries if e.name.startswith(".")],
    }
    passed_over = {reason: [*map(readable, names)] for reason, names in rest.items() if names}
    return replace(detected, passed_over={**detected.passed_over, **passed_over})


def _only_of(name: str, folder: Path, corpora: Mapping[str, type[Corpus]]) -> bool:
    """Return True if a folder holds the named corpus or no recordings."""
    return _recognises(name, corpora[name], folder) or not some_audio_files(folder)


def _in_folders(folders: Sequence[Path], corpora: Mapping[str, type[Corpus]]) -> Detected:
    """Return the named corpora of folders; stop when most folders hold none."""
    named = {name: cls for name, cls in corpora.items() if cls.priority > 0}
    parts: list[Source] = []
    passed_over: dict[str, list[str]] = {}
    for folder in folders:
        best = _best(folder, named)
        if len(best) == 1:
            parts.append(Source(best[0], folder))
            continue
        reason = _UNKNOWN if some_audio_files(folder) else "folder without recordings"
        passed_over.setdefault(reason, []).append(readable(folder.name))
        if 2 * len(passed_over.get(_UNKNOWN, ())) > len(folders):
            break
    return Detected(tuple(parts), passed_over)


def _undecided(path: Path, best: list[str], corpora: Mapping[str, type[Corpus]]) -> CorpusError:
    if best:
        description = f"looks like {' and like '.join(best)}"
        hint = f"Name the corpus: --data {best[0]}={path}"
    else:
        names = [name for name, cls in corpora.items() if cls.needs_path]
        description = f"looks like none of the corpora known here: {', '.join(names)}"
        hint = (
            f"If it is one of them, name it: --data CORPUS={path}. Other data can be described "
            "by a table (CSV with path, label, speaker) or sorted into CLASS/SPEAKER/ folders; "
            "fusion plugins show CORPUS describes the files that a corpus reads."
        )
    return CorpusError(f"{path} {description}.", hint=hint)


def _recognises(name: str, cls: type[Corpus], path: Path) -> bool:
    try:
        return cls.detect(path)
    except Exception as error:
        raise PluginError(
            f"The corpus {name!r} failed to examine {path}: {message_of(error)}",
            hint=f"Name the corpus (--data CORPUS={path}), or leave this one out: -p no:{name}",
        ) from error
