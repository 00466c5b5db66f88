"""Comparison of each branch, trained alone, with a support vector machine on the same features.

python benchmarks/read_out.py RUN

A branch should be at least as good as a standard classifier. For every fold of a finished run and
each modality, an RBF support vector machine is fitted to the training clips (scikit-learn, C = 1,
balanced classes, features standardised on the training clips). Branch and machine are scored on the
validation clips of the fold. The branch's epoch was selected on these clips, which raises its
score by some points; "without choice" is the mean over its last fifth of epochs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fusion.core.runs.execution.jobs import features_of
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import Training, spec_of
from fusion.core.toolkit.metrics import confusion_matrix, uar


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    run = Run.open(parser.parse_args().run)
    folds = range(len(run.data.splits))
    print("| modality | branch alone | without choice | support vector machine |")
    print("|---|---|---|---|")
    for branch in spec_of(run, Training(0, "fused")).branches:
        name = branch.modality.name
        machines = [machine(run, Training(fold, name)) for fold in folds]
        chosen, late = zip(*(reached(run, Training(fold, name)) for fold in folds), strict=True)
        figures = (100 * float(np.mean(values)) for values in (chosen, late, machines))
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in figures) + " |", flush=True)


def machine(run, training: Training) -> float:
    """Return the validation UAR of a support vector machine, in [0, 1]."""
    split = run.data.splits[training.fold]
    spec = spec_of(run, training)
    features = features_of(run, spec, resident_bytes=0, fold=training.fold)
    x, y = flat(features, split.train, training.model)
    scaler = StandardScaler().fit(x)
    model = SVC(C=1.0, class_weight="balanced").fit(scaler.transform(x), y)
    x, y = flat(features, split.val, training.model)
    predicted = model.predict(scaler.transform(x))
    return float(uar(confusion_matrix(y, predicted, len(run.data.classes))))


def flat(features, indices: npt.NDArray[np.int64], name: str):
    """Return arrays (n, P) and classes (n,) of the clips that have the modality."""
    inputs, labels = features.batch(features.clips_with(indices))
    return inputs[name].flatten(1).double().numpy(), labels.numpy()


def reached(run, training: Training) -> tuple[float, float]:
    """Return the validation UAR of the kept epoch, and the mean of the last fifth of epochs."""
    folder = run.training(training.name)
    summary = json.loads((folder / "training.json").read_text())
    lines = (folder / "epochs.jsonl").read_text().splitlines()
    curve = [json.loads(line)["val_uar"] for line in lines]
    return summary["best_uar"], float(np.mean(curve[-max(1, len(curve) // 5) :]))


if __name__ == "__main__":
    main()
