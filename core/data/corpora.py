"""Reading of corpora: sources as a user names them, and their labelled clips."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contracts.data import Clip, ColumnChoice, Corpus
from ..contracts.errors import CorpusError, FusionError, PluginError, UnknownNameError
from ..registry.parameters import make
from ..registry.provenance import message_of, name_of
from ..toolkit.filenames import readable
from .detection import detect
from .labels import Spellings, join_spellings, joined_spellings, map_labels, present_classes
from .shared_recordings import shared_recordings
from .sources import Source
from .speakers import Merged, check_corpora_apart, merge_speakers, with_unknown_speakers

_REASONS_SHOWN = 3


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
    passed_over : dict
        Files and rows that did not become clips, by corpus and reason.
    columns : dict
        Columns of tables that were used, by corpus and role.
    merged_speakers : mapping
        By corpus, the names of each person that had several names. The clips have the first name.
    shared_recordings : tuple of tuple of int, or None
        Indices of the clips of each group that shares a recording; None if not determined
        (:func:`~fusion.core.data.shared_recordings.shared_recordings`).
    spellings : mapping of str to tuple of str
        Other spellings of a label that were joined with it, by the spelling in use.
    """

    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    dropped: dict[str, dict[str, int]]
    corpora: tuple[str, ...]
    passed_over: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    merged_speakers: Merged = field(default_factory=dict)
    shared_recordings: tuple[tuple[int, ...], ...] | None = None
    spellings: Spellings = field(default_factory=dict)

    def speakers(self) -> tuple[str, ...]:
        """Return ``corpus/speaker`` of all speakers, sorted."""
        return tuple(sorted({f"{clip.corpus}/{clip.speaker}" for clip in self.clips}))

    def targets(self) -> npt.NDArray[np.int64]:
        """Return the index of each clip's class, (n,) int64."""
        number = {name: index for index, name in enumerate(self.classes)}
        return np.array([number[clip.label] for clip in self.clips], dtype=np.int64)


def load_dataset(
    sources: Sequence[Source],
    corpora: Mapping[str, type[Corpus]],
    *,
    labels: str = "shared",
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    columns: ColumnChoice = ColumnChoice(),  # noqa: B008  (immutable)
    label_map: Mapping[str, str] | None = None,
) -> Dataset:
    """Read all sources and map their labels to common classes.

    Clips and speakers are identified by corpus and name, so two corpora may both have a speaker
    "1". A corpus may be read from two paths. Speakers with the same name in both paths are then the
    same speaker, who is in one part of a split only. Clips with the same name are numbered in the
    order of the sources (``name``, ``name#2``). Speakers of one corpus whose names are spellings of
    one name, or who share a recording, become one speaker
    (:func:`~fusion.core.data.speakers.merge_speakers`).

    Parameters
    ----------
    sources : sequence of Source
        Sources to read. A source without a corpus is read by the corpus that recognises the
        source's path. If several corpora recognise the path, the corpus with the highest priority
        reads it. A folder whose sub-folders each hold a corpus is read as these corpora.
    corpora : mapping
        Corpus class by name.
    labels : str
        ``"shared"``: the six shared emotions, in their order. ``"native"``: each corpus's own
        labels, sorted. ``"a,b,c"``: the classes a, b and c in this order; each clip is matched by
        its native label first, then by its shared label. Native labels that differ only in case or
        blanks are one label.
    parameters : mapping
        Value or text by corpus and parameter.
    columns : ColumnChoice
        The user's choice of columns, for corpora that are read from tables.
    label_map : mapping of str to str, optional
        New name of labels, by the corpus's own label; other labels keep their names.

    Returns
    -------
    Dataset
        Labelled clips of at least two classes; classes without a clip are left out.

    Raises
    ------
    CorpusError
        If a path is missing, is given twice, is recognised by no corpus or by several of equal
        priority, or holds no clips; if fewer than two classes are left; or if two corpora share a
        recording.
    UnknownNameError
        If no clip has a label in `labels` or `label_map`, or a parameter does not exist.
    """
    clips: list[Clip] = []
    names: list[str] = []
    keys: set[tuple[str, Path | None]] = set()
    passed_over: dict[str, dict[str, list[str]]] = {}
    columns_used: dict[str, dict[str, str]] = {}
    for source in _parts(sources, corpora, passed_over):
        name, path = str(source.corpus), source.path
        key = (name, path and path.resolve())
        if key in keys:
            raise CorpusError(f"The corpus {name!r} is named twice: {path or name}.")
        keys.add(key)
        if path is not None and not path.exists():
            raise CorpusError(f"The path {path} does not exist.")
        reader = make(corpora[name], path, settings=(parameters or {}).get(name, {}), owner=name)
        reader.columns = columns
        read = _read(name, reader, path)
        clips += [replace(c, split=source.split) for c in read] if source.split else read
        _merge_passed_over(passed_over.setdefault(name, {}), reader.passed_over)
        columns_used.setdefault(name, {}).update(reader.columns_used)
        names.append(name)
    _check_choices(columns, label_map or {}, clips, columns_used)
    clips = [_renamed(clip, label_map or {}) for clip in clips]
    own = {} if labels == "shared" else join_spellings(clip.label for clip in clips)
    mapped, classes, dropped = map_labels(_numbered(clips), labels, corpora, own)
    present = present_classes(mapped, classes, dropped, labels)
    mapped.sort(key=lambda clip: (clip.corpus, clip.name))
    shared = shared_recordings(mapped)
    check_corpora_apart(mapped, shared)
    mapped, merged = merge_speakers(with_unknown_speakers(mapped), shared)
    return Dataset(
        tuple(mapped),
        present,
        dropped,
        tuple(dict.fromkeys(names)),
        {name: reasons for name, reasons in passed_over.items() if reasons},
        {name: roles for name, roles in columns_used.items() if roles},
        merged,
        shared,
        joined_spellings(own),
    )


def _parts(
    sources: Iterable[Source],
    corpora: Mapping[str, type[Corpus]],
    passed_over: dict[str, dict[str, list[str]]],
) -> Iterator[Source]:
    """Yield the source of each corpus; add what belongs to none to `passed_over`.

    Entries of a collection that belong to none of its corpora are counted with the first corpus.
    """
    for source in sources:
        if source.corpus is not None:
            yield source
            continue
        detected = detect(source.path, corpora)
        first = passed_over.setdefault(str(detected.parts[0].corpus), {})
        _merge_passed_over(first, detected.passed_over)
        yield from (replace(part, split=part.split or source.split) for part in detected.parts)


def _merge_passed_over(into: dict[str, list[str]], more: Mapping[str, list[str]]) -> None:
    for reason, items in more.items():
        into.setdefault(reason, []).extend(items)


def _check_choices(
    columns: ColumnChoice,
    label_map: Mapping[str, str],
    clips: Sequence[Clip],
    columns_used: Mapping[str, Mapping[str, str]],
) -> None:
    """Raise if the user renames a label that no clip has, or chooses columns without a table."""
    labels_of_clips = {clip.label for clip in clips}
    for label in label_map:
        if label not in labels_of_clips:
            raise UnknownNameError("label to rename", label, labels_of_clips)
    if (columns.names or columns.ignored) and not any(columns_used.values()):
        raise CorpusError(
            f"Columns were chosen ({', '.join([*columns.names, *columns.ignored])}), but none of "
            f"these corpora is read from a table with columns: {', '.join(columns_used)}.",
            hint="Leave out --column and --ignore-column, or name the table: --data table=FILE",
        )


def _renamed(clip: Clip, label_map: Mapping[str, str]) -> Clip:
    return replace(clip, label=label_map[clip.label]) if clip.label in label_map else clip


# -- reading -------------------------------------------------------------------------


def _read(name: str, reader: Corpus, path: Path | None) -> list[Clip]:
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
            f"{path or name} holds no recordings of the corpus {name!r}."
            + _passed_over_text(reader.passed_over),
            hint=f"fusion plugins show {name} describes its files and parameters.",
        )
    return clips


def _passed_over_text(reasons: Mapping[str, Sequence[str]]) -> str:
    """Return the most frequent reasons for which files were passed over; empty for no reason."""
    counts = Counter({reason: len(items) for reason, items in reasons.items()})
    listed = ", ".join(f"{reason} {count}" for reason, count in counts.most_common(_REASONS_SHOWN))
    return f" Passed over: {listed}." if listed else ""


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
    return [_readable(clip) for clip in clips]


def _readable(clip: Clip) -> Clip:
    """Return the clip with texts that can be printed and stored; the path stays the same.

    Texts that come from file names may hold bytes that are no UTF-8.
    """
    try:
        "".join((clip.name, clip.label, clip.speaker, *clip.attributes.values())).encode()
    except UnicodeEncodeError:
        return replace(
            clip,
            name=readable(clip.name),
            label=readable(clip.label),
            speaker=readable(clip.speaker),
            attributes={name: readable(value) for name, value in clip.attributes.items()},
        )
    return clip


def _numbered(clips: Iterable[Clip]) -> list[Clip]:
    """Return clips with unique names: add ``#2``, ``#3`` to clips of equal corpus and name."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)  # by corpus
    numbered: list[Clip] = []
    for clip in clips:
        counts[clip.corpus][clip.name] += 1
        count = counts[clip.corpus][clip.name]
        numbered.append(clip if count == 1 else replace(clip, name=f"{clip.name}#{count}"))
    return numbered
