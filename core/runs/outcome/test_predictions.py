"""What the models of a finished run said about its test clips, read back."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ...contracts.errors import RunError
from ...toolkit.metrics import confusion_by_group, uar
from ..run import Run


@dataclass(frozen=True)
class Said:
    """What the models of one run said about the test clips.

    Attributes
    ----------
    fold, targets : array
        (n,) int64.
    speakers : array
        (n,) of text.
    predicted : dict
        Model -> (n,) int64.
    classes : int
        C.
    clips : frozenset of (str, str)
        Corpus and name of each, whatever the fold.
    absent : mapping of str to array
        Modality -> (n,) bool, True for the clips that lack it; only of modalities that some clip
        lacks.
    """

    fold: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    speakers: npt.NDArray[np.str_]
    predicted: dict[str, npt.NDArray[np.int64]]
    classes: int
    clips: frozenset[tuple[str, str]]
    absent: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    @classmethod
    def read(cls, run: Run) -> Said:
        """Read what a finished run said about its test clips.

        Raises
        ------
        RunError
            If predictions.csv is missing or damaged.
        """
        classes = run.record.classes
        number = {name: i for i, name in enumerate(classes)}
        rows: dict[str, dict[tuple[int, str, str], tuple[int, int, str]]] = {}
        path = run.path / "predictions.csv"
        try:
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                for row in csv.DictReader(file):
                    clip = (int(row["fold"]), row["corpus"], row["clip"])
                    speaker = f"{row['corpus']}/{row['speaker']}"
                    told = (number[row["label"]], number[row["predicted"]], speaker)
                    rows.setdefault(row["model"], {})[clip] = told
            some = next(iter(rows.values()), {})
            clips = sorted(some)
            predicted = {
                m: np.array([told[c][1] for c in clips], dtype=np.int64) for m, told in rows.items()
            }
            if not clips:
                raise ValueError("it holds no clip")
        except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
            raise RunError(f"{path} can't be read: {error!r}") from error
        return cls(
            np.array([fold for fold, _, _ in clips], dtype=np.int64),
            np.array([some[c][0] for c in clips], dtype=np.int64),
            np.array([some[c][2] for c in clips]),
            predicted,
            len(classes),
            frozenset((corpus, name) for _, corpus, name in clips),
            _absent(run, [(corpus, name) for _, corpus, name in clips]),
        )

    def confusions(self, name: str, *, fold: int | None = None) -> npt.NDArray[np.int64]:
        """(S, C, C), of all folds or of one; a speaker of another has zeros."""
        return self._counted(self.predicted[name], fold)

    def oracle(self, modalities: Sequence[str]) -> npt.NDArray[np.int64]:
        """(S, C, C), where a clip is right as soon as one modality alone is that it has.

        Of a clip that lacks a modality, that modality's answer is how frequent classes are: to be
        right so is no knowledge.
        """
        nobody = np.zeros(len(self.targets), dtype=np.bool_)
        best = self.predicted[modalities[0]].copy()
        unsaid = np.ones(len(best), dtype=np.bool_)
        for m in modalities:
            has = ~self.absent.get(m, nobody)
            taken = has & (unsaid | (self.predicted[m] == self.targets))
            best = np.where(taken, self.predicted[m], best)
            unsaid &= ~has
        return self._counted(best, None)

    def fold_uar(self, name: str) -> list[float]:
        folds = np.unique(self.fold)
        return [float(uar(self.confusions(name, fold=int(f)).sum(axis=0))) for f in folds]

    def _counted(self, predicted: npt.NDArray[np.int64], fold: int | None) -> npt.NDArray[np.int64]:
        speakers = np.unique(self.speakers)
        there = np.ones(len(self.fold), dtype=bool) if fold is None else self.fold == fold
        counted = np.zeros((len(speakers), self.classes, self.classes), dtype=np.int64)
        counted[np.searchsorted(speakers, np.unique(self.speakers[there]))] = confusion_by_group(
            self.targets[there], predicted[there], self.speakers[there], self.classes
        )
        return counted


def _absent(run: Run, clips: Sequence[tuple[str, str]]) -> dict[str, npt.NDArray[np.bool_]]:
    """Which of the clips, each a corpus and a name, lack which modality."""
    if not run.record.absent:
        return {}
    data = run.data
    number = {(clip.corpus, clip.name): i for i, clip in enumerate(data.clips)}
    order = [number[clip] for clip in clips]
    return {m: flags[order] for m, flags in data.absent.items()}
