"""A finished run without training, with every file that a real run has."""

import json

import numpy as np
from run_records import feature_of, model_of, record_of, split_of

from fusion import Clip, Recording
from fusion.core.data.dataset import RunData
from fusion.core.data.splits import Split
from fusion.core.runs.config import RunConfig
from fusion.core.runs.outcome.results import evaluate
from fusion.core.runs.outcome.selection import select
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import FUSED, Training
from fusion.core.training.inference import Predictions
from fusion.core.workflows.experiment import _confusion_rows, _prediction_rows

NASTY = '<b>&"$x_1$'
EPOCHS = 4


def data_of(folds, classes, speaker="s"):
    """Return data where nine speakers say each class twice; a fold tests three speakers."""
    clips, targets, speakers = [], [], []
    for s in range(9):
        for i in range(4):
            name = f"{speaker}{s}-{i}.wav"
            label = classes[i % 2]
            clips.append(Clip(Recording(f"/nowhere/{name}"), name, label, f"{speaker}{s}", "c"))
            targets.append(i % 2)
            speakers.append(s)
    third = np.array(speakers) % 3
    splits = [
        Split(*(np.flatnonzero(third == (fold + k) % 3) for k in (2, 1, 0)), fold, True)
        for fold in range(folds)
    ]
    return RunData(tuple(clips), tuple(f"{i:032x}" for i in range(36)), np.array(targets),
                   tuple(classes), tuple(splits))  # fmt: skip


def said(targets, wrong):
    answers = targets.copy()
    answers[list(wrong)] = 1 - answers[list(wrong)]
    return Predictions(np.where(np.eye(2)[answers] == 1, 0.8, 0.2).astype(np.float32), {}, {})


def write_run(path, modalities=("a", "b"), folds=1, classes=("low", "high"), speaker="s"):
    """Write a run: modality k is wrong about clips 0 to k of each part, the fused model about 0."""
    data = data_of(folds, classes, speaker)
    run = Run(path)
    wrong = {m: range(k + 1) for k, m in enumerate(modalities)} | {FUSED: [0]}
    answers = {
        part: {
            Training(fold, model): said(data.targets[getattr(split, part)], positions)
            for fold, split in enumerate(data.splits)
            for model, positions in wrong.items()
        }
        for part in ("val", "test")
    }
    run.begin(record_for(data, modalities), data)
    selection = select(data, modalities, answers["val"])
    results, scores = evaluate(data, selection, answers["test"], "sum")
    run.write_json("selection.json", selection.to_json())
    run.write_csv("predictions.csv", _prediction_rows(data, scores))
    run.write_csv("confusion.csv", _confusion_rows(data, results))
    run.write_json("results.json", results.to_json())
    for training in answers["test"]:
        write_training(run, training, modalities)
    return path


def record_for(data, modalities):
    return record_of(
        format=1,
        config=RunConfig(("table",), features=modalities, strategy="sum",
                         settings={"train": {"epochs": EPOCHS, "lr": 0.01, "start": "scratch"}}),
        classes=data.classes,
        corpora=("c",),
        features=dict.fromkeys(modalities, feature_of()),
        model=model_of(modalities),
        split=split_of(data.splits, data.clips),
        seconds={"extraction": 1.0, "training": 2.0},
        handed_out=(),
    )  # fmt: skip


def write_training(run, training, modalities):
    run.write_json(
        f"{training.name}/training.json",
        {"epoch": EPOCHS, "best_epoch": 3, "best_uar": 0.5, "seconds": 1.5, "parameters": 1234,
         "peak_bytes": 2**20, "precision": "float32"},
    )  # fmt: skip
    lines = []
    for epoch in range(1, EPOCHS + 1):
        record = {"epoch": epoch, "train_loss": 1 / epoch, "train_uar": 0.5 + epoch / 20,
                  "val_uar": 0.5, "val_loss": None if epoch == 2 else 0.6}  # fmt: skip
        if training.model == FUSED:
            record |= {f"{k}.{m}": 0.1 * epoch for m in modalities for k in ("entropy", "gradient")}
            record |= {"layers": {m: {"one": [0.1, 0.01], "two": [0.2, 0.02]} for m in modalities}}
        lines.append(json.dumps(record))
    run.write_text(f"{training.name}/epochs.jsonl", "\n".join(lines) + "\n")
