"""Extractors and corpora with a deliberate fault, derived from the healthy classes."""

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
    """Return an extractor that reads the recording ``of(recording)`` and alters the array."""

    def extract(self: Extractor, recording: Recording) -> Array:
        return alter(cls.extract(self, of(recording)), recording)

    return make_class(cls, cls, label, {"extract": extract})


def faulty_corpus(
    cls: type[Corpus], label: Label, alter: Callable[[list[Clip], Mapping[str, str]], list[Clip]]
) -> type[Corpus]:
    """Return a corpus with altered clips, which a user selects by name: `detect` returns False."""

    def clips(self: Corpus) -> Iterable[Clip]:
        altered = alter(list(cls.clips(self)), cls.labels)
        return [replace(clip, corpus=self.name) for clip in altered]

    def detect(own: type[Corpus], path: Path) -> bool:
        return False

    members = {"clips": clips, "detect": classmethod(detect), "version": cls.version}
    return make_class(cls, cls, label, members)


# -- extractors ------------------------------------------------------------------------


def is_hit(recording: Recording, share: float) -> bool:
    """Return True for about `share` of all recordings, by a hash of folder, file, start and end."""
    text = f"{recording.path.parent.name}/{recording.path.name} {recording.start} {recording.end}"
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def partner(recording: Recording, *, share: float, seed: int, levels: int) -> Recording:
    """Return the recording whose array replaces the array of `recording`; possibly `recording`.

    Raises
    ------
    RecordingError
        If `recording` is a part of a file.
    """
    if recording.start or recording.end is not None:
        raise RecordingError(
            f"{recording}: a part of a file; faults.shuffled exchanges only whole files."
        )
    root = recording.path.parents[levels]
    return Recording(permutation(root, share, seed).get(recording.path, recording.path))


@lru_cache(maxsize=8)
def permutation(root: Path, share: float, seed: int) -> dict[Path, Path]:
    """Return a replacement for ``round(share * n)`` of the n audio files below `root`, by file.

    The files form a single cycle (Sattolo 1986), so no file replaces itself.
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
    """Give another, random label to ``round(share * n)`` of the n clips with a usable label.

    A label is usable if it is in the corpus's table `labels`, or if the table is empty.
    """
    names = sorted({clip.label for clip in clips if not labels or clip.label in labels})
    usable = [i for i, clip in enumerate(clips) if clip.label in names]
    rng = np.random.default_rng(seed)
    if len(names) < 2:
        return clips
    for index in rng.permutation(usable)[: round(share * len(usable))]:
        wrong = [label for label in names if label != clips[index].label]
        clips[index] = replace(clips[index], label=wrong[rng.integers(len(wrong))])
    return clips


def duplicate(
    clips: list[Clip], labels: Mapping[str, str], *, share: float, seed: int
) -> list[Clip]:
    """Append copies of ``round(share * n)`` of the n clips, under another name and speaker.

    Speakers are paired in sorted order, and a copy has the other speaker of the pair. fusion makes
    one speaker of speakers who share a recording, so half of the speakers are left.
    """
    speakers = sorted({clip.speaker for clip in clips})
    pairs = zip(speakers[::2], speakers[1::2], strict=False)
    other = {name: partner for pair in pairs for name, partner in (pair, pair[::-1])}
    rng = np.random.default_rng(seed)
    copies: list[Clip] = []
    for index in sorted(rng.permutation(len(clips))[: round(share * len(clips))]):
        clip = clips[index]
        copies.append(
            # The last of an odd number of speakers has no partner.
            replace(clip, name=f"{clip.name}#copy", speaker=other.get(clip.speaker, speakers[0]))
        )
    return [*clips, *copies]
