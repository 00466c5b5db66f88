"""Corpus of any recordings that are sorted into one folder per class."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ...core.contracts.data import Clip, Corpus, Recording
from ...core.contracts.errors import CorpusError, ParameterError
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.filenames import (
    ANOTHER_FORMAT,
    COPY,
    audio_names,
    format_rank,
    original_name,
    readable,
    some_audio_files,
    split_suffix,
)
from ...core.toolkit.parts import part_of
from ...core.toolkit.patterns import SpeakerPattern
from ._levels import Levels, find_levels

_HINT = (
    "Each clip needs a speaker, because scores are only valid on held-out speakers. Create one "
    "folder per speaker in each class's folder, or give a regular expression that finds the "
    r"speaker in the file name (--set folder.speaker='spk(\d+)'), or write a table (CSV with "
    "path, label, speaker)."
)


class Folder(Corpus):
    """Recordings in folders by class and speaker: ``CLASS/SPEAKER/file``, ``SPEAKER/CLASS/file``.

    The level of folders whose names are emotions is the class; if no level has such names, the
    first level is the class. The speaker is the level above the class, or the level below if there
    is none above; without either, speakers are unknown. A first level of ``train``, ``val`` (or
    ``dev``) and ``test`` is the split.
    Common spellings are mapped to the shared emotions; ``--labels native`` keeps the names. Pooled
    folders are one corpus: speakers with the same name count as one person, so give different
    people different names. A recording that is present in several formats is read once.

    Parameters
    ----------
    path : Path
        The root folder.
    speaker : str
        Regular expression that is searched in each file's path below the root. The match of its
        group (of the group called ``speaker``, if there are several) is the speaker. If empty, a
        folder is the speaker.
    label_level : int
        Level of the class: 1 is the folder below the root. 0 finds the level by its names.
    speaker_level : int
        Level of the speaker: 1 is the folder below the root. 0 finds the level.
    """

    name = "folder"
    priority = -1

    def __init__(
        self,
        path: Path | None,
        *,
        speaker: str = "",
        label_level: int = 0,
        speaker_level: int = 0,
    ) -> None:
        super().__init__(path)
        self._speaker = SpeakerPattern(speaker, "folder.speaker") if speaker else None
        for name, level in (("label_level", label_level), ("speaker_level", speaker_level)):
            if level < 0:
                raise ParameterError(f"folder.{name}={level}, but levels are counted from 1.")
        if label_level and label_level == speaker_level:
            raise ParameterError(
                f"folder.label_level and folder.speaker_level are both {label_level}."
            )
        self._chosen = label_level, speaker_level

    @classmethod
    def detect(cls, path: Path) -> bool:
        if not path.is_dir():
            return False
        parts = [file.relative_to(path).parts for file in some_audio_files(path)]
        return len({part[0] for part in parts}) > 1 and all(len(part) > 1 for part in parts)

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        self.passed_over = {}
        names = self._unique(audio_names(self.path, self.pass_over))
        parts_of: dict[str, tuple[str, ...]] = {"": ()}  # files of one folder share its parts
        folders = [_parts_of(name.rpartition("/")[0], parts_of) for name in names]
        levels = find_levels(self.path, folders, *self._chosen, find_speaker=self._speaker is None)
        for name, parts in zip(names, folders, strict=True):
            if not parts:
                file = self.path / name
                raise CorpusError(
                    f"{file} is not in the folder of a class.",
                    hint=f"Move the recording to {self.path}/CLASS/{name}; the folder's name is "
                    "the class.",
                )
            if len(parts) <= levels.label:
                self.pass_over(readable(name), "not in the folder of a class")
                continue
            split = None if levels.split is None else part_of(parts[levels.split])
            yield Clip(
                Recording(self.path / name),
                name,
                parts[levels.label],
                self._speaker_of(name, parts, levels),
                self.name,
                split=split,
            )

    def _unique(self, names: Sequence[str]) -> list[str]:
        """Return names without other formats and copies of the same recording."""
        folders: dict[str, list[str]] = defaultdict(list)
        for name in names:
            folders[name.rpartition("/")[0]].append(name)
        # By folder: the stems of 100,000 names at once would need as much memory as the clips.
        passed_over: dict[str, str] = {}
        for siblings in folders.values():
            passed_over.update(self._repeated(siblings))
        for name in names:
            if name in passed_over:
                self.pass_over(readable(name), passed_over[name])
        return [name for name in names if name not in passed_over]

    def _repeated(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield the names in one folder that are other formats and copies, with the reason."""
        assert self.path is not None
        best: dict[str, str] = {}
        for name in sorted(names, key=format_rank):
            best.setdefault(split_suffix(name)[0], name)
        for name in names:
            stem = split_suffix(name)[0]
            original = best.get(original_name(stem))
            if best[stem] != name:
                yield name, ANOTHER_FORMAT
            elif original is not None and _equal(self.path / name, self.path / original):
                yield name, COPY

    def _speaker_of(self, name: str, parts: Sequence[str], levels: Levels) -> str:
        if self._speaker is not None:
            return self._speaker.find(name)
        if levels.speaker is None:
            return ""  # unknown
        if len(parts) > levels.speaker:
            return parts[levels.speaker]
        raise CorpusError(f"The speaker of {readable(name)} is unknown.", hint=_HINT)


def _parts_of(folder: str, cache: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the names in a path with slashes, from or for a cache."""
    if folder not in cache:
        cache[folder] = tuple(folder.split("/"))
    return cache[folder]


def _equal(file: Path, other: Path) -> bool:
    """Return True if two files have the same content; False if one can't be read."""
    try:
        return filecmp.cmp(file, other, shallow=False)
    except OSError:
        return False


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Folder]
