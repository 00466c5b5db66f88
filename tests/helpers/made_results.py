"""Artificial predictions and their data set."""

from pathlib import Path

import numpy as np

from fusion import Clip, Recording
from fusion.core.data.dataset import RunData
from fusion.core.data.splits import Split
from fusion.core.runs.trainings import FUSED, Training
from fusion.core.training.inference import Predictions

SPEAKERS, CLASSES = 12, ("low", "high")


def make_data(folds=1):
    """Return data where speakers say each class twice; a fold tests a third of the speakers."""
    clips, targets, speaker = [], [], []
    for s in range(SPEAKERS):
        for i in range(4):
            label = CLASSES[i % 2]
            clips.append(Clip(Recording(Path(f"{s}-{i}.wav")), f"{s}-{i}", label, str(s), "c"))
            targets.append(i % 2)
            speaker.append(s)
    speaker = np.array(speaker)
    splits = []
    for fold in range(folds):
        test = np.flatnonzero(speaker % 3 == fold)
        val = np.flatnonzero(speaker % 3 == (fold + 1) % 3)
        train = np.flatnonzero(speaker % 3 == (fold + 2) % 3)
        splits.append(Split(train, val, test, fold, True))
    keys = tuple(c.name for c in clips)
    return RunData(tuple(clips), keys, np.array(targets), CLASSES, tuple(splits))


def predictions(targets, wrong, weights=None):
    """Return confident predictions that are right except at the positions `wrong`."""
    said = targets.copy()
    said[list(wrong)] = 1 - said[list(wrong)]
    probabilities = np.where(np.eye(2)[said] == 1, 0.9, 0.1).astype(np.float32)
    return Predictions(probabilities, {}, weights or {})


def everything(data, part, wrong):
    """Return predictions of all models in all folds; `wrong` is model -> wrong positions."""
    found = {}
    for fold, split in enumerate(data.splits):
        targets = data.targets[getattr(split, part)]
        for model, positions in wrong.items():
            weights = {}
            if model == FUSED:
                weights = {"a": np.full(len(targets), 0.75), "b": np.full(len(targets), 0.25)}
            found[Training(fold, model)] = predictions(targets, positions, weights)
    return found
