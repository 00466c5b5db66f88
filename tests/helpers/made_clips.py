"""Clips of artificial corpora, and checks of their splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fusion import Clip
from fusion.core.contracts import Recording
from fusion.core.data.split_modes import PARTS
from fusion.core.data.splits import Split

SIX = ("neutral", "happy", "sad", "angry", "fearful", "disgust")


def clip(corpus: str, speaker: str, label: str, take: int = 0, **prescribed: Any) -> Clip:
    name = f"{speaker}/{label}-{take}.wav"
    return Clip(Recording(Path(corpus, name)), name, label, speaker, corpus, **prescribed)


def corpus(name: str, speakers: int, takes: int, classes: tuple[str, ...] = SIX) -> list[Clip]:
    return [
        clip(name, f"{s:02d}", label, take)
        for s in range(speakers)
        for label in classes
        for take in range(takes)
    ]


def ravdess_layout(speakers: int = 18) -> list[Clip]:
    """Return 44 clips per speaker: 4 neutral clips and 8 of each other emotion."""
    return [
        clip("ravdess", f"{s:02d}", label, take)
        for s in range(speakers)
        for label in SIX
        for take in range(4 if label == "neutral" else 8)
    ]


def speakers_of(clips: list[Clip], indices: np.ndarray) -> set[tuple[str, str]]:
    return {(clips[i].corpus, clips[i].speaker) for i in indices}


def assert_sound(splits: list[Split], clips: list[Clip], *, by_speaker: bool = True) -> None:
    """Assert that splits are complete, disjoint and sorted, also by speaker and over folds."""
    for split in splits:
        parts = [getattr(split, part) for part in PARTS]
        assert all(part.dtype == np.int64 and np.all(np.diff(part) > 0) for part in parts)
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(clips)))
        assert split.speaker_independent is by_speaker
        if by_speaker:
            spoken = [speakers_of(clips, part) for part in parts]
            assert sum(map(len, spoken)) == len(set.union(*spoken))
    if splits[0].fold is not None:
        tested = np.concatenate([split.test for split in splits])
        np.testing.assert_array_equal(np.sort(tested), np.arange(len(clips)))


def spoken_corpus(
    corpus: str, speakers: int, sentences: int, classes: tuple[str, ...] = SIX
) -> list[Clip]:
    """Return clips where every speaker says every sentence in every class."""
    return [
        clip(corpus, f"{s:02d}", label, number, attributes={"sentence": f"{number:02d}"})
        for s in range(speakers)
        for label in classes
        for number in range(sentences)
    ]


def prescribed(column: str, assignment: dict[str, str]) -> list[Clip]:
    """Return one clip per class and speaker; `assignment` is speaker -> part or fold."""
    return [
        clip("x", speaker, label, **{column: part})
        for speaker, part in assignment.items()
        for label in SIX
    ]
