"""Time of a whole experiment, folds x models: `fusion run` compared with a plain training loop.

python benchmarks/experiment.py [--speakers N] [--clips N] [--folds N] [--epochs N] [--out FILE]

The plain loop trains the models of `fusion run` on each fold, one after the other: mel alone; level
sets alone; both fused, starting from these, for `train.finetune` times the epochs; and the control,
i.e. the modality that the run chose for it, for the total number of epochs. The plain loop uses
TensorDataset, DataLoader, Adam, float32, arrays in memory, torch's default number of threads and
validation after each epoch; only its epochs are timed. `fusion run` is timed from start to end on
cached features: imports, processes, trainings that augment, validate and write every epoch, test,
diagnosis and report. Clips, folds, batch size, epochs and steps of every training must be equal.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from networks import BATCH, plain_network
from timing import busy, in_turn, keep
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fusion.core.data.features import Features
from fusion.core.data.splits import Split
from fusion.core.runs.execution.jobs import features_of
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import (
    CONTROL,
    FUSED,
    Training,
    all_trainings,
    control_modality,
    spec_of,
)

VIEWS = ("mel", "levelset")
MODELS = (*VIEWS, FUSED, CONTROL)

Work = dict[str, dict[str, Any]]
"""Modalities, epochs and steps of each training, by the training's name."""


def command(out: Path, args: argparse.Namespace) -> list[str]:
    return [
        sys.executable, "-m", "fusion", "run", "--strategy", "concat", "--folds", str(args.folds),
        "--epochs", str(args.epochs), "--set", f"demo.speakers={args.speakers}",
        "--set", f"demo.clips={args.clips}", "--cache", str(args.cache), "--out", str(out),
    ]  # fmt: skip


class Joined(nn.Module):
    """Typical model for two views: one encoder each, concatenation, and a linear layer."""

    def __init__(self, encoders: Sequence[nn.Module], classes: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.head = nn.Linear(32 * len(encoders), classes)

    def forward(self, *inputs: Tensor) -> Tensor:
        parts = [e(x) for e, x in zip(self.encoders, inputs, strict=True)]
        scores: Tensor = self.head(torch.cat(parts, dim=1))
        return scores


def encoder(shape: Sequence[int]) -> nn.Module:
    """Return a network that maps an image, or a vector of statistics, to 32 features."""
    if len(shape) == 3:
        return nn.Sequential(*list(plain_network())[:-1])
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), 256),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(256, 32),
        nn.ReLU(),
    )


class PlainExperiment:
    """Plain loop that trains every model on every fold, one after the other.

    Attributes
    ----------
    work : dict
        Modalities, epochs and steps of each training of the last call.
    """

    def __init__(self, run: Run) -> None:
        spec = spec_of(run, Training(0, FUSED))
        features = features_of(run, spec, resident_bytes=10**12, fold=0)
        train = run.config.train
        self.epochs, self.finetune = train.epochs, train.finetuning.epochs
        self.splits = run.data.splits
        self.control = control_modality(run)
        self.inputs = {m: standardised(features, m) for m in features.modalities}
        self.targets = features.targets
        self.classes = len(run.data.classes)
        self.work: Work = {}

    def __call__(self) -> None:
        torch.set_num_threads(torch.multiprocessing.cpu_count())
        self.work = {}
        for fold, split in enumerate(self.splits):
            alone = {m: self.train(fold, m, [m], split, self.epochs) for m in VIEWS}
            encoders = [alone[m].encoders[0] for m in VIEWS]
            self.train(fold, FUSED, VIEWS, split, self.finetune, encoders)
            self.train(fold, CONTROL, [self.control], split, self.epochs + self.finetune)

    def train(
        self, fold: int, name: str, modalities: Sequence[str], split: Split, epochs: int,
        encoders: Sequence[nn.Module] | None = None,
    ) -> Joined:  # fmt: skip
        """Train a model that starts from `encoders`, or from scratch."""
        fresh = encoders or [encoder(self.inputs[m].shape[1:]) for m in modalities]
        model = Joined(fresh, self.classes)
        optimizer = torch.optim.Adam(model.parameters())
        train, val = (
            TensorDataset(*(self.inputs[m][part] for m in modalities), self.targets[part])
            for part in (torch.from_numpy(split.train), torch.from_numpy(split.val))
        )
        steps = 0
        for _ in range(epochs):
            model.train()
            for *inputs, labels in DataLoader(train, batch_size=BATCH, shuffle=True):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(*inputs), labels).backward()
                optimizer.step()
                steps += 1
            model.eval()
            with torch.no_grad():
                for *inputs, _ in DataLoader(val, batch_size=64):
                    model(*inputs).argmax(dim=1)
        self.work[f"fold{fold}/{name}"] = {
            "modalities": sorted(modalities), "epochs": epochs, "steps": steps,
        }  # fmt: skip
        return model


def standardised(features: Features, modality: str) -> Tensor:
    """Return all inputs of a modality, standardised: images as a whole, vectors by column."""
    x = features.batch(torch.arange(len(features)).numpy())[0][modality].float()
    if x.ndim == 2:
        return (x - x.mean(dim=0)) / x.std(dim=0).clamp_min(1e-6)
    return (x - x.mean()) / x.std()


def work_of(run: Run) -> Work:
    """Return modalities, epochs and steps of each training of a run, including its controls."""
    work: Work = {}
    for training in all_trainings(run):
        summary = run.summary(training.name)
        branches = spec_of(run, training).branches
        work[training.name] = {
            "modalities": sorted(branch.modality.name for branch in branches),
            "epochs": summary["epoch"],
            "steps": summary["step"],
        }
    return work


def check_equal(ours: Work, plain: Work) -> None:
    """Exit unless both sides trained the same models for the same number of epochs and steps."""
    different = [n for n in sorted({*ours, *plain}) if ours.get(n) != plain.get(n)]
    if different:
        pairs = (f"{n}: ours {ours.get(n)}, plain {plain.get(n)}" for n in different)
        raise SystemExit("Both sides trained differently:\n" + "\n".join(pairs))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp())
    number = count()

    def ours() -> None:
        called = command(folder / f"run{next(number)}", args)
        process = subprocess.run(called, check=False, capture_output=True, text=True)
        if process.returncode:
            raise SystemExit(f"{' '.join(called)}\nfailed: {process.stderr}")

    ours()  # fills the cache
    run = Run.open(folder / "run0")
    plain = PlainExperiment(run)
    seconds = in_turn({"plain": plain, "ours": ours}, args.rounds, warm=0)
    work = {"plain": plain.work, "ours": work_of(run)}
    check_equal(work["ours"], work["plain"])
    split = plain.splits[0]
    return {
        "folds": args.folds, "models": len(MODELS), "epochs": args.epochs,
        "training clips": len(split.train), "seconds": seconds,
        "ratio": seconds["plain"] / seconds["ours"], "work": work,
    }  # fmt: skip


def line(figures: dict[str, Any]) -> str:
    seconds = figures["seconds"]
    return (
        f"{figures['folds']} folds x {figures['models']} models, {figures['epochs']} epochs of "
        f"{figures['training clips']} clips for each view alone: plain loop "
        f"{seconds['plain']:.1f} s, fusion run {seconds['ours']:.1f} s from start to end: "
        f"{figures['ratio']:.1f}x faster"
    )


def options(*args: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--speakers", type=int, default=12)
    parser.add_argument("--clips", type=int, default=3, help="clips per speaker and emotion")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cache", default=Path(tempfile.gettempdir()) / "fusion-benchmark-cache")
    parser.add_argument("--out", type=Path)
    return parser.parse_args(args or None)


def main() -> None:
    args = options()
    figures = measure(args)
    print("\n".join(filter(None, [busy(), line(figures)])))
    if args.out:
        keep(figures, args.out)


if __name__ == "__main__":
    main()
