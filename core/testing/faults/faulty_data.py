"""Extractors and corpora with a fault on purpose, derived from the healthy ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contracts.data import Clip, Corpus, Extractor, Recording
from ...contracts.errors import RecordingError
from ...toolkit.filenames import audio_files
from .faulty_class import Label, make_class

Array = npt.NDArray[Any]


def faulty_extractor(
    cls: type[Extractor],
    label: Label,
    *,
    of: Callable[[Recording], Recording] = lambda recording: recording,
    alter: Callable[[Array, Recording], Array] = lambda array, recording: array,
) -> type[Extractor]:
    """`cls`, reading another recording, or with another array of it."""

    def extract(self: Extractor, recording: Recording) -> Array:
        return alter(cls.extract(self, of(recording)), recording)

    return make_class(cls, cls, label, {"extract": extract})


def faulty_corpus(
    cls: type[Corpus], label: Label, alter: Callable[[list[Clip], Mapping[str, str]], list[Clip]]
) -> type[Corpus]:
    """`cls` with other clips; no path is recognised as it, so it is asked for by name."""

    def clips(self: Corpus) -> Iterable[Clip]:
        found = alter(list(cls.clips(self)), cls.labels)
        return [replace(clip, corpus=self.name) for clip in found]

    def detect(own: type[Corpus], path: Path) -> bool:
        return False

    members = {"clips": clips, "detect": classmethod(detect), "version": cls.version}
    return make_class(cls, cls, label, members)


# -- extractors ------------------------------------------------------------------------


def is_hit(recording: Recording, share: float) -> bool:
    """Whether a recording is among that share: by its file's name and folder, on any machine."""
    text = f"{recording.path.parent.name}/{recording.path.name} {recording.start} {recording.end}"
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def partner(recording: Recording, *, share: float, seed: int, levels: int) -> Recording:
    """The recording whose array `recording` has: itself, or another one below the same root.

    Raises
    ------
    RecordingError
        If it is a part of a file, or not below its root by the path that leads to it.
    """
    if recording.start or recording.end is not None:
        raise RecordingError(
            f"{recording}: faults.shuffled exchanges whole files, and this is a part of one."
        )
    root = recording.path.parents[levels]
    return Recording(permutation(root, share, seed).get(recording.path, recording.path))


@lru_cache(maxsize=8)
def permutation(root: Path, share: float, seed: int) -> dict[Path, Path]:
    """File -> the file that takes its place, for ``round(share * n)`` of the n files below `root`.

    A single cycle through them (Sattolo 1986), so none keeps its own place.
    """
    files = audio_files(root)
    rng = np.random.default_rng(seed)
    count = round(share * len(files))
    picked = [files[i] for i in rng.permutation(len(files))[:count]]  # in a random order
    return dict(zip(picked, [*picked[1:], *picked[:1]], strict=True))


# -- corpora ---------------------------------------------------------------------------


def mislabel(
    clips: list[Clip], labels: Mapping[str, str], *, share: float, seed: int
) -> list[Clip]:
    """Another label, at random, for ``round(share * n)`` of the n clips that have one to use."""
    known = sorted({clip.label for clip in clips if not labels or clip.label in labels})
    usable = [i for i, clip in enumerate(clips) if clip.label in known]
    rng = np.random.default_rng(seed)
    if len(known) < 2:
        return clips
    for index in rng.permutation(usable)[: round(share * len(usable))]:
        others = [label for label in known if label != clips[index].label]
        clips[index] = replace(clips[index], label=others[rng.integers(len(others))])
    return clips


def duplicate(
    clips: list[Clip], labels: Mapping[str, str], *, share: float, seed: int
) -> list[Clip]:
    """``round(share * n)`` of the n clips once more, under another name and another speaker."""
    speakers = sorted({clip.speaker for clip in clips})
    rng = np.random.default_rng(seed)
    copies: list[Clip] = []
    for index in sorted(rng.permutation(len(clips))[: round(share * len(clips))]):
        clip = clips[index]
        others = [speaker for speaker in speakers if speaker != clip.speaker] or [clip.speaker]
        speaker = others[rng.integers(len(others))]
        copies.append(replace(clip, name=f"{clip.name}#copy", speaker=speaker))
    return [*clips, *copies]
