"""Plain network and training loop, and ours, for the benchmarks of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fusion import Balancer, Clips, Modality
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.data.features import Features, batches
from fusion.core.registry.parameters import make
from fusion.core.registry.registry import Registry
from fusion.core.training.baselines import frozen
from fusion.core.training.model import BranchSpec, ModelSpec, build_model
from fusion.core.training.trainer import Trainer

BATCH, CLASSES = 16, 6
MEL = Modality("mel", (1, 64, 128), ("channel", "frequency", "time"))
IMAGES = Modality("persistence", (6, 32, 32), ("channel", "birth", "persistence"))
IMAGE_BRANCH = {
    "blocks": 3,
    "channels": 16,
    "stem_stride": 1,
}  # convolutions, like the branch of mel
PLAIN_BLOCKS = {"blocks": 6, "channels": 32, "stem_stride": 1}  # like plain_network


class Rows:
    """Arrays in memory with the interface of cached arrays."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array, self.nbytes = array, array.nbytes

    def take(self, indices: Any) -> npt.NDArray[Any]:
        return np.take(self.array, indices, axis=0)

    def __len__(self) -> int:
        return len(self.array)


def plain_network(classes: int = CLASSES) -> nn.Module:
    """Return six blocks of convolution, ReLU, batch norm and pooling, and a linear layer."""
    layers: list[nn.Module] = []
    channels = 1
    for _ in range(6):
        layers += [nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(32),
                   nn.MaxPool2d(2)]  # fmt: skip
        channels = 32
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes))


@dataclass
class PlainLoop:
    """Plain training loop with TensorDataset, DataLoader, Adam and float32."""

    inputs: Tensor
    labels: Tensor
    device: torch.device
    batch: int = BATCH
    seed: int = 0

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.model = plain_network(int(self.labels.max()) + 1).to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters())
        dataset = TensorDataset(self.inputs, self.labels)
        self.loader = DataLoader(dataset, batch_size=self.batch, shuffle=True, num_workers=0)

    def epoch(self) -> float:
        """Train on every clip once and return the mean loss."""
        self.model.train()
        total = 0.0
        for inputs, labels in self.loader:
            self.optimizer.zero_grad()
            scores = self.model(inputs.to(self.device))
            loss = nn.functional.cross_entropy(scores, labels.to(self.device))
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / len(self.loader)

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> Tensor:
        """Return the predicted classes of some clips, (n,), on the CPU."""
        self.model.eval()
        parts = [self.model(part.to(self.device)).argmax(dim=1).cpu() for part in inputs.split(64)]
        return torch.cat(parts)


def branch_parameters(modality: Modality) -> Mapping[str, Any]:
    """Return the default branch parameters of an extractor, or IMAGE_BRANCH for persistence."""
    if modality == IMAGES:
        return IMAGE_BRANCH
    return Registry().extractor(modality.name).default_branch_parameters


def random_clips(modalities: Sequence[Modality], clips: int) -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return {m.name: rng.normal(size=(clips, *m.shape)).astype(np.float32) for m in modalities}


def our_trainer(
    modalities: Sequence[Modality],
    strategy: str | None,
    balancers: Sequence[str] = (),
    *,
    arrays: Mapping[str, npt.NDArray[Any]] | None = None,
    targets: npt.NDArray[np.int64] | None = None,
    parts: Sequence[npt.NDArray[np.int64]] | None = None,
    branch: Mapping[str, Any] | None = None,
    device: str = "cpu",
    clips: int = 4 * BATCH,
    seed: int = 0,
    **settings: Any,
) -> Trainer:
    """Return a trainer as a run creates it; `branch` replaces the default branch parameters."""
    registry = Registry()
    arrays = random_clips(modalities, clips) if arrays is None else arrays
    targets = np.arange(clips) % CLASSES if targets is None else targets
    everything = np.arange(len(targets))
    train, val = parts or (everything, everything[: 2 * BATCH])
    target_device = torch.device(device)
    features = Features(
        {m.name: m for m in modalities},
        {m.name: Rows(arrays[m.name]) for m in modalities},
        targets,
        target_device,
        resident_bytes=10**12,
    )
    instances: list[Balancer] = [
        make(registry.balancer(b), settings={}, owner=b) for b in balancers
    ]
    specs = tuple(
        BranchSpec(m, "cnn", branch_parameters(m) if branch is None else branch) for m in modalities
    )
    # Balancers that change the strategy are part of the model's description.
    adapters = tuple((b.name, {}) for b in instances if type(b).adapt is not Balancer.adapt)
    classes = int(targets.max()) + 1
    spec = ModelSpec(specs, classes, 64, strategy, adapters=adapters if strategy else ())
    needed = strategy is not None and (
        registry.strategy(strategy).needs_baselines or any(b.needs_baselines for b in instances)
    )
    baselines = {
        m.name: frozen(
            m.name, build_model(spec.single(m.name), registry, seed).to(target_device), 0.5
        )
        for m in (modalities if needed else ())
    }
    return Trainer(
        build_model(spec, registry, seed).to(target_device),
        features,
        train,
        val,
        TrainConfig(batch_size=BATCH, **settings),
        balancers=instances,
        baselines=baselines,
        seed=seed,
    )


def our_step(trainer: Trainer, *, recorded: bool = False, epoch: int = 1) -> Callable[[], object]:
    """Return a call that takes a whole step of the engine.

    A step gathers, standardises and augments the clips, fits the probes, runs the balancers and
    averages the weights. Each call takes the next step of `epoch`. Either all steps are `recorded`
    or none; a run records a few per epoch.
    """
    stepper, recorder = trainer.stepper, trainer.recorder
    stepper.recorder = recorder if recorded else None
    trainer._enter(trainer._stage(epoch))
    for balancer in trainer.balancers:
        balancer.epoch_start(epoch)
    generator = torch.Generator().manual_seed(0)
    clips = Clips(trainer.train[: trainer.config.batch_size])
    numbers = count(min(recorder._sampled), recorder._period) if recorded else count()

    def step() -> object:
        recorder._sums.clear()  # otherwise cleared at the end of an epoch
        return stepper.step(epoch, next(numbers), clips, generator)

    return step


def our_epoch(trainer: Trainer) -> None:
    """Train on every training clip once, without validation."""
    trainer._enter(trainer._stage(1))
    generator = torch.Generator().manual_seed(0)
    order = np.random.default_rng(trainer.progress.step)
    for indices in batches(trainer.train, trainer.config.batch_size, order):
        trainer.stepper.step(1, trainer.progress.step, Clips(indices), generator)
        trainer.progress.step += 1
    wait_for(trainer.features.device)


def wait_for(device: torch.device) -> None:
    """Block until the device has completed all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
