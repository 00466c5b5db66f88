"""A whole experiment, folds x models: the loop people write, one after the other, against ours.

python benchmarks/experiment.py [--speakers N] [--clips N] [--folds N] [--epochs N] [--out FILE]

The plain loop trains mel, persistence and both of them joined on each fold, with torch's own
number of threads: TensorDataset, DataLoader, Adam, float32, arrays that are in memory, validation
after each epoch; only its epochs are timed. Ours is the command `fusion run` from its start to its
end on features that are in the cache: imports, processes, trainings that augment, validate and
write every epoch, test, diagnosis and report. The clips, folds, batch size and epochs are the same.
"""

from __future__ import annotations

import argparse
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

from fusion.core.features import Features
from fusion.core.run_dir import RunDirectory
from fusion.core.splits import Split
from fusion.core.trainings import Training, features_of, spec_of, training_context, trainings_of

MODELS = ("mel", "persistence", "fused")


def command(out: Path, given: argparse.Namespace) -> list[str]:
    return [
        sys.executable, "-m", "fusion", "run", "--strategy", "concat", "--folds", str(given.folds),
        "--epochs", str(given.epochs), "--set", f"demo.speakers={given.speakers}",
        "--set", f"demo.clips={given.clips}", "--cache", str(given.cache), "--out", str(out),
    ]  # fmt: skip


class Joined(nn.Module):
    """What people write for two views: an encoder for each, concatenated, a linear layer."""

    def __init__(self, encoders: Sequence[nn.Module], classes: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.head = nn.Linear(32 * len(encoders), classes)

    def forward(self, *inputs: Tensor) -> Tensor:
        parts = [e(x) for e, x in zip(self.encoders, inputs, strict=True)]
        scores: Tensor = self.head(torch.cat(parts, dim=1))
        return scores


def encoder(modality: str) -> nn.Module:
    """32 features of a modality."""
    if modality == "mel":
        return nn.Sequential(*list(plain_network())[:-1])
    layers: list[nn.Module] = []
    channels = 6
    for _ in range(3):
        layers += [nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(32),
                   nn.MaxPool2d(2)]  # fmt: skip
        channels = 32
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class PlainExperiment:
    """Every model on every fold, one after the other."""

    def __init__(self, run: RunDirectory, epochs: int) -> None:
        context = training_context(run.path)
        spec = spec_of(run, Training(0, "fused"))
        features = features_of(context, spec, resident_bytes=10**12, fold=0)
        self.epochs, self.splits = epochs, context.data.splits
        self.inputs = {m: standardised(features, m) for m in features.modalities}
        self.targets = features.targets
        self.classes = len(context.data.classes)

    def __call__(self) -> None:
        torch.set_num_threads(torch.multiprocessing.cpu_count())
        for split in self.splits:
            for model in MODELS:
                self.train([model] if model != "fused" else list(MODELS[:2]), split)

    def train(self, modalities: Sequence[str], split: Split) -> None:
        model = Joined([encoder(m) for m in modalities], self.classes)
        optimizer = torch.optim.Adam(model.parameters())
        train, val = (
            TensorDataset(*(self.inputs[m][part] for m in modalities), self.targets[part])
            for part in (torch.from_numpy(split.train), torch.from_numpy(split.val))
        )
        for _ in range(self.epochs):
            model.train()
            for *inputs, labels in DataLoader(train, batch_size=BATCH, shuffle=True):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(*inputs), labels).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for *inputs, _ in DataLoader(val, batch_size=64):
                    model(*inputs).argmax(dim=1)


def standardised(features: Features, modality: str) -> Tensor:
    x = features.batch(torch.arange(len(features)).numpy())[0][modality].float()
    return (x - x.mean()) / x.std()


def check_equal(run: RunDirectory, given: argparse.Namespace) -> None:
    """Both train the same models on the same clips, as long as each other."""
    expected = sorted(f"fold{fold}/{model}" for fold in range(given.folds) for model in MODELS)
    if sorted(t.name for t in trainings_of(run)) != expected:
        raise SystemExit(f"{run.path} has other trainings than {', '.join(expected)}.")
    for name in expected:
        epochs = run.read_json(f"{name}/training.json")["epoch"]
        if epochs != given.epochs:
            raise SystemExit(f"{name} was trained for {epochs} epochs, not for {given.epochs}.")


def measure(given: argparse.Namespace) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp())
    number = count()

    def ours() -> None:
        called = command(folder / f"run{next(number)}", given)
        done = subprocess.run(called, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(called)}\nfailed: {done.stderr}")

    ours()  # which fills the cache
    run = RunDirectory.existing(folder / "run0")
    check_equal(run, given)
    plain = PlainExperiment(run, given.epochs)
    seconds = in_turn({"plain": plain, "ours": ours}, given.rounds, warm=0)
    split = plain.splits[0]
    return {
        "folds": given.folds, "models": len(MODELS), "epochs": given.epochs,
        "training clips": len(split.train), "seconds": seconds,
        "ratio": seconds["plain"] / seconds["ours"],
    }  # fmt: skip


def line(figures: dict[str, Any]) -> str:
    seconds = figures["seconds"]
    return (
        f"{figures['folds']} folds x {figures['models']} models, {figures['epochs']} epochs of "
        f"{figures['training clips']} clips: plain loop {seconds['plain']:.1f} s, fusion run "
        f"{seconds['ours']:.1f} s from start to end: {figures['ratio']:.1f} times faster"
    )


def options(*args: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--speakers", type=int, default=12)
    parser.add_argument("--clips", type=int, default=3, help="of each speaker and emotion")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cache", default=Path(tempfile.gettempdir()) / "fusion-benchmark-cache")
    parser.add_argument("--out", type=Path)
    return parser.parse_args(args or None)


def main() -> None:
    given = options()
    figures = measure(given)
    print("\n".join(filter(None, [busy(), line(figures)])))
    if given.out:
        keep(figures, given.out)


if __name__ == "__main__":
    main()
