"""Reading of corpora: sources as a user names them, and their labelled clips."""

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
    """Value of one ``--data``: a path, the name of a corpus, or both."""

    corpus: str | None
    path: Path | None


@dataclass(frozen=True)
class Dataset:
    """Labelled clips of one or several corpora.

    Attributes
    ----------
    clips : tuple of Clip
        The clips, sorted by corpus and name; each pair of corpus and name is unique. Every label is
        in `classes`.
    classes : tuple of str
        Names of at least two classes; each has a clip.
    dropped : dict
        Number of clips that belong to no class, by corpus and native label.
    corpora : tuple of str
        Names of the corpora in the order given.
    """

    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    dropped: dict[str, dict[str, int]]
    corpora: tuple[str, ...]

    def speakers(self) -> tuple[str, ...]:
        """Return ``corpus/speaker`` of all speakers, sorted."""
        return tuple(sorted({f"{clip.corpus}/{clip.speaker}" for clip in self.clips}))

    def targets(self) -> npt.NDArray[np.int64]:
        """Return the index of each clip's class, (n,) int64."""
        number = {name: index for index, name in enumerate(self.classes)}
        return np.array([number[clip.label] for clip in self.clips], dtype=np.int64)


def parse_source(text: str, corpora: Mapping[str, type[Corpus]]) -> Source:
    """Parse the value of one ``--data``.

    Parameters
    ----------
    text : str
        ``PATH``, ``CORPUS=PATH``, or the bare name of a corpus that generates its clips. A `text`
        that is an existing path is read as a path, even if `text` has an equals sign or is the name
        of a corpus.
    corpora : mapping
        Corpus class by name.

    Raises
    ------
    UnknownNameError
        If the named corpus does not exist.
    CorpusError
        If a corpus that needs a path has none, or a corpus that takes no path has one.
    """
    if text and Path(text).expanduser().exists():
        return Source(None, Path(text).expanduser())
    name, equals, path = text.partition("=")
    if name in corpora and corpora[name].needs_path != bool(path):
        takes = f"takes no path, and {path!r} was given."
        if not path:
            takes = f"needs a path, and no path was given with {text!r}."
        raise CorpusError(
            f"The corpus {name!r} {takes}", hint=f"--data {name}" + ("" if path else "=PATH")
        )
    if name in corpora:
        return Source(name, Path(path).expanduser() if path else None)
    if equals and "/" not in name and "\\" not in name:
        raise UnknownNameError("corpus", name, corpora)
    if not text:
        raise CorpusError("--data is empty.", hint=_accepted_sources(corpora))
    return Source(None, Path(text).expanduser())


def absolute_source(text: str, corpora: Mapping[str, type[Corpus]]) -> str:
    """Return the value of one ``--data`` with an absolute path, valid in any working folder."""
    source = parse_source(text, corpora)
    if source.path is None:
        return text
    path = str(source.path.absolute())
    return path if source.corpus is None else f"{source.corpus}={path}"


def _accepted_sources(corpora: Mapping[str, type[Corpus]]) -> str:
    generated = "".join(f", or {name}" for name, cls in corpora.items() if not cls.needs_path)
    return f"--data takes a folder, a table, CORPUS=PATH{generated}."


def load_dataset(
    sources: Sequence[Source],
    corpora: Mapping[str, type[Corpus]],
    *,
    labels: str = "shared",
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> Dataset:
    """Read all sources and map their labels to common classes.

    Clips and speakers are identified by corpus and name, so two corpora may both have a speaker
    "1". A corpus may be read from two paths. Speakers with the same name in both paths are then the
    same speaker, who is in one part of a split only. Clips with the same name are numbered in the
    order of the sources (``name``, ``name#2``).

    Parameters
    ----------
    sources : sequence of Source
        Sources to read. A source without a corpus is read by the corpus that recognises the
        source's path. If several corpora recognise the path, the corpus with the highest priority
        reads it.
    corpora : mapping
        Corpus class by name.
    labels : str
        ``"shared"``: the six shared emotions, in their order. ``"native"``: each corpus's own
        labels, sorted. ``"a,b,c"``: the classes a, b and c in this order; each clip is matched by
        its native label first, then by its shared label.
    parameters : mapping
        Value or text by corpus and parameter.

    Returns
    -------
    Dataset
        Labelled clips of at least two classes; classes without a clip are left out.

    Raises
    ------
    CorpusError
        If a path is missing, is given twice, is recognised by no corpus or by several of equal
        priority, or holds no clips; or if fewer than two classes are left.
    UnknownNameError
        If no clip has a label in `labels`, or a parameter does not exist.
    """
    clips: list[Clip] = []
    names: list[str] = []
    keys: set[tuple[str, Path | None]] = set()
    for source in sources:
        name = source.corpus or _detect(source.path, corpora)
        key = (name, source.path and source.path.resolve())
        if key in keys:
            raise CorpusError(f"The corpus {name!r} is named twice: {source.path or name}.")
        keys.add(key)
        clips += _read(name, corpora[name], source.path, (parameters or {}).get(name, {}))
        names.append(name)
    mapped, classes, dropped = _map_labels(_numbered(clips), labels, corpora)
    present = _present_classes(mapped, classes, dropped, labels)
    mapped.sort(key=lambda clip: (clip.corpus, clip.name))
    return Dataset(tuple(mapped), present, dropped, tuple(dict.fromkeys(names)))


# -- reading -------------------------------------------------------------------------


def _detect(path: Path | None, corpora: Mapping[str, type[Corpus]]) -> str:
    """Return the name of the corpus that recognises `path`."""
    if path is None:
        raise CorpusError("A source needs a corpus, a path, or both.")
    if not path.exists():
        raise CorpusError(f"The path {path} does not exist.", hint=_accepted_sources(corpora))
    try:
        if path.is_dir() and not any(path.iterdir()):
            raise CorpusError(f"The folder {path} is empty.")
    except OSError as error:
        raise CorpusError(f"The folder {path} can't be read: {error.strerror}.") from error
    readers = {name: cls for name, cls in corpora.items() if cls.needs_path}
    names = [name for name, cls in readers.items() if _recognises(name, cls, path)]
    top = max((corpora[name].priority for name in names), default=0)
    best = [name for name in names if corpora[name].priority == top]
    if len(best) == 1:
        return best[0]
    if best:
        description = f"looks like {' and like '.join(best)}"
        hint = f"Name the corpus: --data {best[0]}={path}"
    else:
        description = f"looks like none of the corpora known here: {', '.join(readers)}"
        hint = (
            f"If it is one of them, name it: --data CORPUS={path}. Other data can be described "
            "by a table (CSV with path, label, speaker) or sorted into CLASS/SPEAKER/ folders; "
            "fusion plugins show CORPUS describes the files that a corpus reads."
        )
    raise CorpusError(f"{path} {description}.", hint=hint)


def _recognises(name: str, cls: type[Corpus], path: Path) -> bool:
    try:
        return cls.detect(path)
    except Exception as error:
        raise PluginError(
            f"The corpus {name!r} failed to examine {path}: {message_of(error)}",
            hint=f"Name the corpus (--data CORPUS={path}), or leave this one out: -p no:{name}",
        ) from error


def _read(
    name: str, cls: type[Corpus], path: Path | None, parameters: Mapping[str, Any]
) -> list[Clip]:
    if path is not None and not path.exists():
        raise CorpusError(f"The path {path} does not exist.")
    reader = make(cls, path, settings=parameters, owner=name)
    try:
        result = reader.clips()
        clips = None if result is None else list(result)
    except FusionError:
        raise
    except Exception as error:
        raise PluginError(
            f"The corpus {name!r} failed to read {path or 'its clips'}: {message_of(error)}",
            hint="If this is data of that corpus, report the error to the author of the plugin.",
        ) from error
    clips = _checked(reader, clips)
    if not clips:
        raise CorpusError(
            f"{path or name} holds no recordings of the corpus {name!r}.",
            hint=f"fusion plugins show {name} describes its files and parameters.",
        )
    return clips


def _checked(reader: Corpus, clips: Any) -> list[Clip]:
    """Return the clips after checking their type and corpus.

    Raises
    ------
    PluginError
        If `clips` is None, or an item is not a Clip or belongs to another corpus.
    """
    method = f"{type(reader).__name__}.clips"
    plugin = name_of(reader, capital=True)
    if clips is None:
        hint = f"Does {method} contain a `yield`?"
        raise PluginError(f"{plugin} returned None from clips.", hint=hint)
    for clip in clips:
        if not isinstance(clip, Clip):
            raise PluginError(
                f"{plugin} yielded a {type(clip).__name__} from clips, where a Clip is expected.",
                hint=f"Look at {method}.",
            )
        if clip.corpus != reader.name:
            raise PluginError(
                f"{plugin} yielded a clip of the corpus {clip.corpus!r}.",
                hint=f"Write in {method}: Clip(..., corpus=self.name)",
            )
    checked: list[Clip] = clips
    return checked


def _numbered(clips: Iterable[Clip]) -> list[Clip]:
    """Return clips with unique names: add ``#2``, ``#3`` to clips of equal corpus and name."""
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
    """Return relabelled clips, the classes, and the number of dropped clips by corpus and label."""
    if labels == "shared":
        classes: tuple[str, ...] = SHARED
    elif labels == "native":
        classes = tuple(sorted({clip.label for clip in clips}))
    else:
        classes = _chosen_classes(labels, clips, corpora)
    mapped: list[Clip] = []
    dropped: dict[str, Counter[str]] = {}
    for clip in clips:
        label = _shared_label(clip, corpora)
        if labels != "shared" and clip.label in classes:
            label = clip.label
        if label in classes:
            mapped.append(replace(clip, label=str(label)))
        else:
            dropped.setdefault(clip.corpus, Counter())[clip.label] += 1
    counts = {
        corpus: dict(sorted(labels_of_corpus.items()))
        for corpus, labels_of_corpus in sorted(dropped.items())
    }
    return mapped, classes, counts


def _shared_label(clip: Clip, corpora: Mapping[str, type[Corpus]]) -> str | None:
    table = corpora[clip.corpus].labels
    return table.get(clip.label) if table else to_shared(clip.label)


def _chosen_classes(
    labels: str, clips: Sequence[Clip], corpora: Mapping[str, type[Corpus]]
) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(part.strip() for part in labels.split(",") if part.strip()))
    labels_of_clips = {clip.label for clip in clips}
    labels_of_clips |= {
        shared for clip in clips if (shared := _shared_label(clip, corpora)) is not None
    }
    for name in wanted:
        if name not in labels_of_clips:
            raise UnknownNameError("label", name, labels_of_clips)
    return wanted


def _present_classes(
    mapped: Sequence[Clip],
    classes: Sequence[str],
    dropped: Mapping[str, Mapping[str, int]],
    labels: str,
) -> tuple[str, ...]:
    """Return the classes that have clips.

    Raises
    ------
    CorpusError
        If fewer than two classes have clips.
    """
    counts = Counter(clip.label for clip in mapped)
    present = tuple(name for name in classes if counts[name])
    if len(present) > 1:
        return present
    left_out = "; ".join(
        f"{corpus}: " + ", ".join(f"{label} {n}" for label, n in label_counts.items())
        for corpus, label_counts in dropped.items()
    )
    problem = (
        f"All {len(mapped)} clips are of one class, {present[0]!r}: at least two are needed."
        if present
        else "No clip belongs to any class."
    )
    raise CorpusError(
        f"{problem} --labels {labels} left out {left_out or 'nothing'}.",
        hint="--labels native keeps a corpus's own classes; --labels a,b,c chooses classes.",
    )
