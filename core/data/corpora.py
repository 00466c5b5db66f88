"""From sources as a user names them to labelled clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contracts.data import Clip, Corpus
from ..contracts.errors import CorpusError, FusionError, PluginError, UnknownNameError
from ..registry.parameters import make
from ..registry.provenance import message_of, name_of
from ..toolkit.emotions import SHARED, to_shared


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
        Labels are among `classes`; corpus and name are unique together; sorted by them.
    classes : tuple of str
        At least two; each has a clip.
    dropped : dict
        Corpus -> native label -> number of clips that belong to no class.
    corpora : tuple of str
        In the order given.
    """

    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    dropped: dict[str, dict[str, int]]
    corpora: tuple[str, ...]

    def speakers(self) -> tuple[str, ...]:
        """``corpus/speaker`` of everybody, sorted."""
        return tuple(sorted({f"{clip.corpus}/{clip.speaker}" for clip in self.clips}))

    def targets(self) -> npt.NDArray[np.int64]:
        """(n,) index of each clip's class."""
        number = {name: index for index, name in enumerate(self.classes)}
        return np.array([number[clip.label] for clip in self.clips], dtype=np.int64)


def parse_source(text: str, corpora: Mapping[str, type[Corpus]]) -> Source:
    """Read one ``--data``.

    Parameters
    ----------
    text : str
        ``PATH``, ``CORPUS=PATH``, or the bare name of a corpus that makes itself. A path that
        exists is a path, even one with an equals sign or called like a corpus.
    corpora : mapping
        Name -> corpus class.

    Raises
    ------
    UnknownNameError
        If the corpus named does not exist.
    CorpusError
        If the corpus named lacks its path, or has one and makes itself.
    """
    if text and Path(text).expanduser().exists():
        return Source(None, Path(text).expanduser())
    name, equals, path = text.partition("=")
    if name in corpora and corpora[name].needs_path != bool(path):
        given = f"no path was given with {text!r}" if not path else f"{path!r} was given"
        takes = f"needs a path, and {given}." if not path else f"takes no path, and {given}."
        raise CorpusError(
            f"The corpus {name!r} {takes}", hint=f"--data {name}" + ("" if path else "=PATH")
        )
    if name in corpora:
        return Source(name, Path(path).expanduser() if path else None)
    if equals and "/" not in name and "\\" not in name:
        raise UnknownNameError("corpus", name, corpora)
    if not text:
        raise CorpusError("--data is empty.", hint=_takes(corpora))
    return Source(None, Path(text).expanduser())


def absolute_source(text: str, corpora: Mapping[str, type[Corpus]]) -> str:
    """The same ``--data``, read from any folder."""
    source = parse_source(text, corpora)
    if source.path is None:
        return text
    path = str(source.path.absolute())
    return path if source.corpus is None else f"{source.corpus}={path}"


def _takes(corpora: Mapping[str, type[Corpus]]) -> str:
    made = "".join(f", or {name}" for name, cls in corpora.items() if not cls.needs_path)
    return f"--data takes a folder, a table, CORPUS=PATH{made}."


def load_dataset(
    sources: Sequence[Source],
    corpora: Mapping[str, type[Corpus]],
    *,
    labels: str = "shared",
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> Dataset:
    """Read all sources and map their labels to common classes.

    Clips and speakers are told apart by corpus and name, so two corpora may both have a
    speaker "1". One corpus read from two paths is one corpus: speakers of equal name are one
    speaker, who then lies in one part of a split only, and clips of equal name are numbered
    in the order of the sources (``name``, ``name#2``).

    Parameters
    ----------
    sources : sequence of Source
        What to read. A source without corpus is read by the corpus that recognises its path:
        of several, the one of the highest priority.
    corpora : mapping
        Name -> corpus class.
    labels : str
        ``"shared"``: the six shared emotions, in their order. ``"native"``: each corpus's own
        words, sorted. ``"a,b,c"``: a choice in the order given; each is looked for among the
        native labels first, then among the shared ones.
    parameters : mapping
        Corpus -> parameter -> value or text.

    Returns
    -------
    Dataset
        With at least two classes; those that no clip has are left out.

    Raises
    ------
    CorpusError
        If a path is missing, stands twice, is recognised by no corpus or by several, or holds
        no clips; or if fewer than two classes are left.
    UnknownNameError
        For a label that no clip has, or an unknown parameter.
    """
    clips: list[Clip] = []
    names: list[str] = []
    seen: set[tuple[str, Path | None]] = set()
    for source in sources:
        name = source.corpus or _detect(source.path, corpora)
        key = (name, source.path and source.path.resolve())
        if key in seen:
            raise CorpusError(f"The corpus {name!r} is given twice: {source.path or name}.")
        seen.add(key)
        clips += _read(name, corpora[name], source.path, (parameters or {}).get(name, {}))
        names.append(name)
    mapped, classes, dropped = _map_labels(_numbered(clips), labels, corpora)
    present = _present(mapped, classes, dropped, labels)
    mapped.sort(key=lambda clip: (clip.corpus, clip.name))
    return Dataset(tuple(mapped), present, dropped, tuple(dict.fromkeys(names)))


# -- reading -------------------------------------------------------------------------


def _detect(path: Path | None, corpora: Mapping[str, type[Corpus]]) -> str:
    """The name of the corpus that recognises `path`."""
    if path is None:
        raise CorpusError("A source needs a corpus, a path, or both.")
    if not path.exists():
        raise CorpusError(f"There is no such path: {path}.", hint=_takes(corpora))
    try:
        if path.is_dir() and not any(path.iterdir()):
            raise CorpusError(f"The folder {path} is empty.")
    except OSError as error:
        raise CorpusError(f"The folder {path} can't be read: {error.strerror}.") from error
    readers = {name: cls for name, cls in corpora.items() if cls.needs_path}
    found = [name for name, cls in readers.items() if _recognises(name, cls, path)]
    top = max((corpora[name].priority for name in found), default=0)
    best = [name for name in found if corpora[name].priority == top]
    if len(best) == 1:
        return best[0]
    if best:
        what = f"looks like {' and like '.join(best)}"
        hint = f"Say which it is: --data {best[0]}={path}"
    else:
        what = f"looks like none of the corpora known here: {', '.join(readers)}"
        hint = (
            f"If it is one of them, name it: --data CORPUS={path}. Anything else can be described "
            "by a table (CSV with path, label, speaker) or sorted into CLASS/SPEAKER/ folders; "
            "fusion plugins show CORPUS says what each looks for."
        )
    raise CorpusError(f"{path} {what}.", hint=hint)


def _recognises(name: str, cls: type[Corpus], path: Path) -> bool:
    try:
        return cls.detect(path)
    except Exception as error:
        raise PluginError(
            f"The corpus {name!r} failed to look at {path}: {message_of(error)}",
            hint=f"Name the corpus (--data CORPUS={path}), or leave this one out: -p no:{name}",
        ) from error


def _read(name: str, cls: type[Corpus], path: Path | None, given: Mapping[str, Any]) -> list[Clip]:
    if path is not None and not path.exists():
        raise CorpusError(f"There is no such path: {path}.")
    reader = make(cls, path, settings=given, owner=name)
    try:
        found = reader.clips()
        clips = None if found is None else list(found)
    except FusionError:
        raise
    except Exception as error:
        raise PluginError(
            f"The corpus {name!r} failed to read {path or 'its clips'}: {message_of(error)}",
            hint="Is this its data? If so, its author should know of this.",
        ) from error
    clips = _checked(reader, clips)
    if not clips:
        raise CorpusError(
            f"{path or name} holds no recordings of the corpus {name!r}.",
            hint=f"fusion plugins show {name} says what it looks for, and its parameters.",
        )
    return clips


def _checked(reader: Corpus, clips: Any) -> list[Clip]:
    """The clips, if that is what they are, and the reader's own."""
    where = f"{type(reader).__name__}.clips"
    who = name_of(reader, capital=True)
    if clips is None:
        hint = f"Is there a `yield` in {where}?"
        raise PluginError(f"{who} returned None from clips.", hint=hint)
    for clip in clips:
        if not isinstance(clip, Clip):
            raise PluginError(
                f"{who} yielded a {type(clip).__name__} from clips, where a Clip is expected.",
                hint=f"Look at {where}.",
            )
        if clip.corpus != reader.name:
            raise PluginError(
                f"{who} yielded a clip of the corpus {clip.corpus!r}.",
                hint=f"Write in {where}: Clip(..., corpus=self.name)",
            )
    checked: list[Clip] = clips
    return checked


def _numbered(clips: Iterable[Clip]) -> list[Clip]:
    """Number clips that share corpus and name: one corpus read from two paths."""
    counts: Counter[tuple[str, str]] = Counter()
    numbered: list[Clip] = []
    for clip in clips:
        counts[clip.corpus, clip.name] += 1
        count = counts[clip.corpus, clip.name]
        numbered.append(clip if count == 1 else replace(clip, name=f"{clip.name}#{count}"))
    return numbered


# -- labels --------------------------------------------------------------------------


def _map_labels(
    clips: Sequence[Clip], labels: str, corpora: Mapping[str, type[Corpus]]
) -> tuple[list[Clip], tuple[str, ...], dict[str, dict[str, int]]]:
    """Clips with the label of their class, the classes, and what belongs to none."""
    if labels == "shared":
        classes: tuple[str, ...] = SHARED
    elif labels == "native":
        classes = tuple(sorted({clip.label for clip in clips}))
    else:
        classes = _chosen(labels, clips, corpora)
    mapped: list[Clip] = []
    dropped: dict[str, Counter[str]] = {}
    for clip in clips:
        label = _shared(clip, corpora)
        if labels != "shared" and clip.label in classes:
            label = clip.label
        if label in classes:
            mapped.append(replace(clip, label=str(label)))
        else:
            dropped.setdefault(clip.corpus, Counter())[clip.label] += 1
    counts = {corpus: dict(sorted(found.items())) for corpus, found in sorted(dropped.items())}
    return mapped, classes, counts


def _shared(clip: Clip, corpora: Mapping[str, type[Corpus]]) -> str | None:
    table = corpora[clip.corpus].labels
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


def _present(
    mapped: Sequence[Clip],
    classes: Sequence[str],
    dropped: Mapping[str, Mapping[str, int]],
    labels: str,
) -> tuple[str, ...]:
    """The classes that some clip has, at least two."""
    counts = Counter(clip.label for clip in mapped)
    present = tuple(name for name in classes if counts[name])
    if len(present) > 1:
        return present
    left_out = "; ".join(
        f"{corpus}: " + ", ".join(f"{label} {n}" for label, n in found.items())
        for corpus, found in dropped.items()
    )
    what = (
        f"All {len(mapped)} clips are of one class, {present[0]!r}: there is nothing to tell apart."
        if present
        else "No clip belongs to any class."
    )
    raise CorpusError(
        f"{what} --labels {labels} left out {left_out or 'nothing'}.",
        hint="--labels native keeps a corpus's own classes; --labels a,b,c picks some.",
    )
