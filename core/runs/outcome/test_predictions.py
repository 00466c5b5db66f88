"""Test predictions of a finished run, read from predictions.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ...contracts.errors import RunError
from ...toolkit.metrics import confusion_by_group, uar
from ...toolkit.run_files import open_table
from ..run import Run


@dataclass(frozen=True)
class SavedPredictions:
    """Predicted classes of a run's models for the test clips of all folds.

    Attributes
    ----------
    fold, targets : array
        (n,) int64, the fold and the true class of each clip.
    speakers : array
        (n,) of text, ``corpus/speaker`` of each clip.
    predicted : dict
        For each model, the predicted class of each clip, (n,) int64.
    classes : int
        Number of classes, C.
    clips : frozenset of (str, str)
        Corpus and name of each clip.
    absent : mapping of str to array
        For each modality that some clip lacks, (n,) bool: True for the clips that lack the
        modality.
    """

    fold: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    speakers: npt.NDArray[np.str_]
    predicted: dict[str, npt.NDArray[np.int64]]
    classes: int
    clips: frozenset[tuple[str, str]]
    absent: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    @classmethod
    def read(cls, run: Run) -> SavedPredictions:
        """Read the test predictions of a finished run.

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
            with open_table(path) as file:
                for row in csv.DictReader(file):
                    clip = (int(row["fold"]), row["corpus"], row["clip"])
                    speaker = f"{row['corpus']}/{row['speaker']}"
                    entry = (number[row["label"]], number[row["predicted"]], speaker)
                    rows.setdefault(row["model"], {})[clip] = entry
            some = next(iter(rows.values()), {})
            clips = sorted(some)
            predicted = {
                m: np.array([entries[c][1] for c in clips], dtype=np.int64)
                for m, entries in rows.items()
            }
            if not clips:
                raise ValueError("the file holds no clip")
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
        """Return a model's confusion matrix for each speaker, (S, C, C).

        With `fold`, only clips of this fold are counted; speakers without clips in the fold get
        zeros.
        """
        return self._counted(self.predicted[name], fold)

    def oracle(self, modalities: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the oracle's confusion matrix for each speaker, (S, C, C).

        The oracle is right about a clip if the baseline of at least one of the clip's modalities is
        right. Modalities that the clip lacks are ignored. The baseline of a missing modality
        predicts the most frequent class, and a correct guess shows no knowledge of the clip.
        """
        none_absent = np.zeros(len(self.targets), dtype=np.bool_)
        best = self.predicted[modalities[0]].copy()
        undecided = np.ones(len(best), dtype=np.bool_)
        for m in modalities:
            has = ~self.absent.get(m, none_absent)
            use = has & (undecided | (self.predicted[m] == self.targets))
            best = np.where(use, self.predicted[m], best)
            undecided &= ~has
        return self._counted(best, None)

    def fold_uar(self, name: str) -> list[float]:
        """Return a model's UAR on each fold."""
        folds = np.unique(self.fold)
        return [float(uar(self.confusions(name, fold=int(f)).sum(axis=0))) for f in folds]

    def _counted(self, predicted: npt.NDArray[np.int64], fold: int | None) -> npt.NDArray[np.int64]:
        speakers = np.unique(self.speakers)
        in_fold = np.ones(len(self.fold), dtype=bool) if fold is None else self.fold == fold
        counted = np.zeros((len(speakers), self.classes, self.classes), dtype=np.int64)
        counted[np.searchsorted(speakers, np.unique(self.speakers[in_fold]))] = confusion_by_group(
            self.targets[in_fold], predicted[in_fold], self.speakers[in_fold], self.classes
        )
        return counted


def _absent(run: Run, clips: Sequence[tuple[str, str]]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return a mask, (n,) bool, of the clips (corpus, name) that lack a modality, by modality."""
    if not run.record.absent:
        return {}
    data = run.data
    number = {(clip.corpus, clip.name): i for i, clip in enumerate(data.clips)}
    order = [number[clip] for clip in clips]
    return {m: flags[order] for m, flags in data.absent.items()}
