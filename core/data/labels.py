"""Mapping of native labels to classes, and spellings of one label."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..contracts.data import Clip, Corpus
from ..contracts.errors import CorpusError, UnknownNameError
from ..toolkit.emotions import SHARED, to_shared

Spellings = Mapping[str, tuple[str, ...]]


def folded(text: str) -> str:
    """Return a text that is equal for texts that differ in case or Unicode form (NFC) only."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def spelling_key(label: str) -> str:
    """Return the form of a label that all its spellings share.

    Case, surrounding blanks, the Unicode form (NFC), and the choice of a blank, ``_`` or ``-``
    between words do not matter: ``"Hot Anger"`` and ``" hot_anger"`` have one form.
    """
    return re.sub(r"[\s_-]+", " ", folded(label)).strip() or label


def join_spellings(labels: Iterable[str]) -> dict[str, str]:
    """Return the spelling to use for each label: the most frequent one, then the first by sorting.

    Parameters
    ----------
    labels : iterable of str
        The label of each clip.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for label in labels:
        counts[spelling_key(label)][label] += 1
    chosen: dict[str, str] = {}
    for spellings in counts.values():
        best = min(spellings, key=lambda label: (-spellings[label], label))
        chosen |= dict.fromkeys(spellings, best)
    return chosen


def joined_spellings(chosen: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the other spellings of each label that has several, by the spelling in use."""
    other_spellings: dict[str, list[str]] = defaultdict(list)
    for label, best in sorted(chosen.items()):
        if label != best:
            other_spellings[best].append(label)
    return {best: tuple(labels) for best, labels in sorted(other_spellings.items())}


def spellings_text(spellings: Spellings) -> str:
    """Return a line that names the spellings of each class: ``labels joined: angry = 'Angry'``."""
    listed = "; ".join(
        f"{best} = {', '.join(map(repr, labels))}" for best, labels in spellings.items()
    )
    return f"labels joined by spelling: {listed}"


def map_labels(
    clips: Sequence[Clip],
    labels: str,
    corpora: Mapping[str, type[Corpus]],
    spellings: Mapping[str, str],
) -> tuple[list[Clip], tuple[str, ...], dict[str, dict[str, int]]]:
    """Return relabelled clips, the classes, and the number of dropped clips by corpus and label.

    Parameters
    ----------
    clips : sequence of Clip
        Clips with the labels of their corpora.
    labels : str
        ``"shared"``, ``"native"`` or names of classes, as in
        :func:`~fusion.core.data.corpora.load_dataset`.
    corpora : mapping
        Corpus class by name.
    spellings : mapping of str to str
        Spelling to use for native labels; other labels keep their spelling.

    Raises
    ------
    UnknownNameError
        If no clip has one of the named classes.
    """
    if labels == "shared":
        classes: tuple[str, ...] = SHARED
    elif labels == "native":
        classes = tuple(sorted({spellings[clip.label] for clip in clips}))
    else:
        classes = _chosen_classes(labels, clips, corpora, spellings)
    mapped: list[Clip] = []
    dropped: dict[str, Counter[str]] = {}
    for clip in clips:
        own, label = spellings.get(clip.label, clip.label), _shared_label(clip, corpora)
        if labels != "shared" and own in classes:
            label = own
        if label in classes:
            mapped.append(clip if clip.label == label else replace(clip, label=str(label)))
        else:
            dropped.setdefault(clip.corpus, Counter())[own] += 1
    counts = {
        corpus: dict(sorted(labels_of_corpus.items()))
        for corpus, labels_of_corpus in sorted(dropped.items())
    }
    return mapped, classes, counts


def _shared_label(clip: Clip, corpora: Mapping[str, type[Corpus]]) -> str | None:
    table = corpora[clip.corpus].labels
    if not table:
        return to_shared(clip.label)
    # A label that the user renamed is a shared one, not one of the corpus.
    return table.get(clip.label) or (clip.label if clip.label in SHARED else None)


def _chosen_classes(
    labels: str,
    clips: Sequence[Clip],
    corpora: Mapping[str, type[Corpus]],
    spellings: Mapping[str, str],
) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(part.strip() for part in labels.split(",") if part.strip()))
    native = {spellings[clip.label] for clip in clips}
    shared = {label for clip in clips if (label := _shared_label(clip, corpora)) is not None}
    labels_of_clips = native | shared
    # A shared label comprises the clips of all native labels of its spelling.
    by_key = {spelling_key(name): name for name in (*sorted(native), *sorted(shared))}
    classes: dict[str, None] = {}
    for name in wanted:
        label = name if name in labels_of_clips else by_key.get(spelling_key(name))
        if label is None:
            raise UnknownNameError("label", name, labels_of_clips)
        classes[label] = None
    return tuple(classes)


def present_classes(
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
