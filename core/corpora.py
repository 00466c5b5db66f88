"""From sources as a user names them to labelled clips."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .contracts.data import Clip, Corpus, Recording
from .emotions import SHARED, to_shared
from .errors import CorpusError, ParameterError, UnknownNameError
from .parameters import bind

AUDIO = (".wav", ".flac", ".mp3", ".ogg")


@dataclass(frozen=True, slots=True)
class Source:
    """One ``--data``: a path, the name of a corpus, or both."""

    corpus: str | None
    path: Path | None


@dataclass(frozen=True)
class Dataset:
    """Labelled clips of one or several corpora.

    Attributes
    ----------
    clips : tuple of Clip
        Labels are mapped to `classes`; names are unique; sorted by corpus and name.
    classes : tuple of str
        At least two.
    dropped : dict
        Corpus -> native label -> number of clips that belong to no class.
    corpora : tuple of str
        In the order given.
    """

    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    dropped: dict[str, dict[str, int]]
    corpora: tuple[str, ...]

    def targets(self) -> npt.NDArray[np.int64]:
        """(n,) index of each clip's class."""
        number = {name: index for index, name in enumerate(self.classes)}
        return np.array([number[clip.label] for clip in self.clips], dtype=np.int64)


def parse_source(text: str, corpora: Mapping[str, type[Corpus]]) -> Source:
    """Read one ``--data``.

    ``PATH``, ``corpus=PATH``, or the bare name of a corpus that makes itself. A path that
    exists is a path, even with an equals sign in its name.

    Raises
    ------
    UnknownNameError
        If the corpus named does not exist.
    """
    if Path(text).expanduser().exists():
        return Source(None, Path(text).expanduser())
    name, equals, path = text.partition("=")
    if equals:
        if name not in corpora:
            raise UnknownNameError("corpus", name, corpora)
        return Source(name, Path(path).expanduser())
    if text in corpora and not corpora[text].needs_path:
        return Source(text, None)
    if text in corpora:
        raise CorpusError(
            f"The corpus {text!r} needs a path, and there is none called {text!r} here.",
            hint=f"--data {text}=PATH",
        )
    return Source(None, Path(text).expanduser())


def load_dataset(
    sources: Sequence[Source],
    corpora: Mapping[str, type[Corpus]],
    *,
    labels: str = "shared",
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> Dataset:
    """Read all sources and map their labels to common classes.

    Speakers are told apart by corpus and name, so two corpora may both have a speaker "1".
    One corpus given under two paths is one corpus: equal speaker names are one speaker, and
    clips of equal name are told apart by a number.

    Parameters
    ----------
    labels : str
        ``"shared"``: the six shared emotions; ``"native"``: each corpus's own words;
        ``"a,b,c"``: a choice of either, native words first.
    parameters : mapping
        Corpus -> parameter -> value or text.

    Raises
    ------
    CorpusError
        If a path is missing, holds no known corpus or no clips, or fewer than two classes
        are left.
    """
    clips: list[Clip] = []
    names: list[str] = []
    for source in sources:
        name = source.corpus or _detect(source, corpora)
        given = (parameters or {}).get(name, {})
        clips += _read(name, corpora[name], source.path, given)
        names.append(name)
    mapped, classes, dropped = _map_labels(clips, labels, corpora)
    if not mapped:
        raise CorpusError(
            f"None of the labels is one of the classes asked for: {_counted(dropped)}.",
            hint="--labels native keeps a corpus's own classes; --labels a,b,c picks some.",
        )
    present = tuple(c for c in classes if any(clip.label == c for clip in mapped))
    if len(present) < 2:
        raise CorpusError(
            f"There is only one class, {present[0]!r}: nothing to tell apart.",
            hint="--labels native keeps a corpus's own classes; --labels a,b,c picks some.",
        )
    mapped.sort(key=lambda clip: (clip.corpus, clip.name))
    return Dataset(tuple(mapped), present, dropped, tuple(dict.fromkeys(names)))


# -- reading -------------------------------------------------------------------------


def _detect(source: Source, corpora: Mapping[str, type[Corpus]]) -> str:
    path = source.path
    assert path is not None
    if not path.exists():
        raise CorpusError(
            f"There is no such path: {path}.",
            hint=f"--data takes a folder, a table, CORPUS=PATH, or one of: {_made(corpora)}.",
        )
    if path.is_dir() and not any(path.iterdir()):
        raise CorpusError(f"The folder {path} is empty.")
    found = [name for name, cls in corpora.items() if cls.needs_path and cls.detect(path)]
    top = max((corpora[name].priority for name in found), default=0)
    best = [name for name in found if corpora[name].priority == top]
    if len(best) == 1:
        return best[0]
    known = ", ".join(name for name, cls in corpora.items() if cls.needs_path)
    what = f"looks like {' and '.join(best)}" if best else "looks like no corpus known here"
    raise CorpusError(
        f"{path} {what}. Known: {known}.",
        hint=f"Name it: --data CORPUS={path}; any other data can be described by a table "
        "(CSV with path, label, speaker).",
    )


def _made(corpora: Mapping[str, type[Corpus]]) -> str:
    return ", ".join(name for name, cls in corpora.items() if not cls.needs_path) or "none"


def _read(name: str, cls: type[Corpus], path: Path | None, given: Mapping[str, Any]) -> list[Clip]:
    if path is not None and not path.exists():
        raise CorpusError(f"There is no such path: {path}.")
    clips = list(cls(path, **bind(cls, given, owner=name)).clips())
    if not clips:
        raise CorpusError(
            f"{path} holds no recordings of the corpus {name!r}.",
            hint="fusion plugins show " + name + " says what it looks for.",
        )
    return clips


def audio_files(root: Path) -> list[Path]:
    """Every recording below `root`, sorted; hidden files and folders are passed over."""
    found = [
        path
        for path in root.rglob("*")
        if path.suffix.lower() in AUDIO
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    return sorted(found)


def first_audio_files(root: Path, count: int = 50, entries: int = 20_000) -> list[Path]:
    """Some recordings below `root`, after looking at no more than `entries` files and folders."""
    found: list[Path] = []
    for seen, path in enumerate(root.rglob("*")):
        if path.suffix.lower() in AUDIO and not path.name.startswith("."):
            found.append(path)
        if len(found) >= count or seen >= entries:
            break
    return found


def speaker_pattern(text: str, owner: str) -> re.Pattern[str] | None:
    """A regular expression whose first group is the speaker; None for an empty text.

    Raises
    ------
    ParameterError
        If it is no regular expression or has no group; `owner` is the parameter's name.
    """
    if not text:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ParameterError(f"{owner} is no regular expression: {text!r}: {error}.") from error
    if pattern.groups < 1:
        raise ParameterError(
            f"{owner} needs a group for the speaker, and {text!r} has none.",
            hint="Put parentheses around the speaker: /(s\\d+)_",
        )
    return pattern


class NamedFiles(Corpus):
    """A corpus whose file names say everything: a pattern, and what its groups mean.

    Attributes
    ----------
    pattern : Pattern
        Matches a recording's path relative to the corpus, without its extension, to the end.
        Files that it does not match are passed over.
    """

    pattern: ClassVar[re.Pattern[str]]

    @classmethod
    def detect(cls, path: Path) -> bool:
        files = first_audio_files(path) if path.is_dir() else []
        matching = [file for file in files if cls.match(file, path)]
        return len(matching) * 2 > len(files)

    @classmethod
    def match(cls, file: Path, root: Path) -> re.Match[str] | None:
        """The pattern on the file's name; folders that it names must be there as well."""
        name = file.relative_to(root.parent).with_suffix("").as_posix()
        return next((m for m in cls.pattern.finditer(name) if m.end() == len(name)), None)

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        for file in audio_files(self.path):
            match = self.match(file, self.path)
            described = self.describe(match) if match else None
            if described is not None:
                label, speaker, attributes = described
                name = file.relative_to(self.path).as_posix()
                yield Clip(Recording(file), name, label, speaker, self.name, attributes=attributes)

    def describe(self, match: re.Match[str]) -> tuple[str, str, dict[str, str]] | None:
        """Label, speaker and attributes of a file, or None to leave it out."""
        raise NotImplementedError


# -- labels --------------------------------------------------------------------------


def _map_labels(
    clips: Iterable[Clip], labels: str, corpora: Mapping[str, type[Corpus]]
) -> tuple[list[Clip], tuple[str, ...], dict[str, dict[str, int]]]:
    clips = list(_distinct(clips))
    if labels == "shared":
        classes: tuple[str, ...] = SHARED
    elif labels == "native":
        classes = tuple(sorted({clip.label for clip in clips}))
    else:
        classes = _chosen(labels, clips, corpora)
    mapped: list[Clip] = []
    dropped: dict[str, Counter[str]] = {}
    for clip in clips:
        shared = _shared(clip, corpora)
        # A native word that was asked for goes before the shared one it maps to.
        label = clip.label if clip.label in classes and labels != "shared" else shared
        if label in classes:
            assert label is not None
            mapped.append(replace(clip, label=label))
        else:
            dropped.setdefault(clip.corpus, Counter())[clip.label] += 1
    return mapped, classes, {corpus: dict(counts) for corpus, counts in dropped.items()}


def _shared(clip: Clip, corpora: Mapping[str, type[Corpus]]) -> str | None:
    table = corpora[clip.corpus].labels if clip.corpus in corpora else {}
    return table.get(clip.label) if table else to_shared(clip.label)


def _chosen(
    labels: str, clips: Sequence[Clip], corpora: Mapping[str, type[Corpus]]
) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(part.strip() for part in labels.split(",") if part.strip()))
    known = {clip.label for clip in clips}
    known |= {shared for clip in clips if (shared := _shared(clip, corpora)) is not None}
    for name in wanted:
        if name not in known:
            raise UnknownNameError("label", name, known)
    return wanted


def _distinct(clips: Iterable[Clip]) -> Iterable[Clip]:
    """Number clips that share corpus and name: the same corpus given twice."""
    seen: Counter[tuple[str, str]] = Counter()
    for clip in clips:
        key = (clip.corpus, clip.name)
        seen[key] += 1
        yield clip if seen[key] == 1 else replace(clip, name=f"{clip.name}#{seen[key]}")


def _counted(dropped: Mapping[str, Mapping[str, int]]) -> str:
    return "; ".join(
        f"{corpus}: " + ", ".join(f"{label} ({n})" for label, n in counts.items())
        for corpus, counts in dropped.items()
    )
