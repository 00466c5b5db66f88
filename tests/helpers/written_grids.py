"""Artificial finished cells of a comparison, with chosen correct clips of each model."""

import csv
import json

from run_records import model_of, record_of

from fusion.core.runs.config import RunConfig
from fusion.core.runs.record import SplitRecord
from fusion.core.workflows.grid import Cell, Request

CLASSES = ["calm", "loud"]
SPEAKERS = [f"s{i}" for i in range(8)]  # each has four clips, two of each class
PLAIN, GOOD = Cell("concat"), Cell("concat", ("helper",))
READS = {PLAIN: (), GOOD: ("baselines", "validation")}


def write_run(path, right, val, chosen, parameters=10, peak=None):
    """Write a finished cell where each model is right about the given clips of every speaker."""
    path.mkdir(parents=True)
    record = record_of(
        config=RunConfig(("x",), strategy="concat", settings={"train": {"epochs": 3}}),
        classes=tuple(CLASSES),
        model=model_of(("mel", "persistence")),
        split=SplitRecord("speaker", True, 2, ()),
    )
    (path / "run.json").write_text(json.dumps(record.to_json()))
    folds = [{"val_uar": dict(val), "weights": {"mel": 1.0, "persistence": 0.0}, "chosen": chosen}
             for _ in range(2)]  # fmt: skip
    (path / "selection.json").write_text(json.dumps({"folds": folds, "best_single": "mel"}))
    (path / "contributions.json").write_text(json.dumps({"mel": 0.2, "persistence": 0.1}))
    for fold in (0, 1):
        folder = path / f"fold{fold}/fused"
        folder.mkdir(parents=True)
        summary = {"seconds": 2.0 + 2 * fold, "parameters": parameters, "peak_bytes": peak,
                   "updates": 30}  # fmt: skip
        (folder / "training.json").write_text(json.dumps(summary))
        for modality in ("mel", "persistence"):
            (path / f"fold{fold}/{modality}").mkdir()
            (path / f"fold{fold}/{modality}/training.json").write_text('{"seconds": 5.0}')
    with (path / "predictions.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["fold", "clip", "corpus", "speaker", "label", "model", "predicted"])
        for number, speaker in enumerate(SPEAKERS):
            for clip in range(4):
                truth = clip % 2
                for model, clips in right.items():
                    said = truth if clip in clips(number) else 1 - truth
                    out.writerow([number % 2, f"{speaker}-{clip}", "c", speaker, CLASSES[truth],
                                  model, CLASSES[said]])  # fmt: skip


def grid(tmp_path, seeds=(0,)):
    """Write a grid: mel is right about clips 0 1 2, persistence 3, plain 0 1, GOOD all."""
    for seed in seeds:
        base = {"mel": lambda n: (0, 1, 2), "persistence": lambda n: (3,),
                "ensemble": lambda n: (0, 1, 2)}  # fmt: skip
        val = {"mel": 0.7, "persistence": 0.4, "ensemble": 0.7}
        write_run(tmp_path / f"seed{seed}/concat+none", {**base, "fused": lambda n: (0, 1)},
                  {**val, "fused": 0.5}, "mel")  # fmt: skip
        write_run(tmp_path / f"seed{seed}/concat+helper",
                  {**base, "fused": lambda n: (0, 1, 2, 3)}, {**val, "fused": 0.9}, "fused",
                  parameters=12, peak=5_000_000)  # fmt: skip
    return Request(RunConfig(("x",)), (PLAIN, GOOD), tuple(seeds))
