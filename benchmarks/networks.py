"""The network and the loop that people write, and ours, as the benchmarks of training run them."""

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
IMAGE_BRANCH = {"blocks": 3, "channels": 16, "stem_stride": 1}  # convolutions, as mel's branch has
PLAIN_BLOCKS = {"blocks": 6, "channels": 32, "stem_stride": 1}  # as in plain_network


class Rows:
    """Arrays as the cache offers them."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array, self.nbytes = array, array.nbytes

    def take(self, indices: Any) -> npt.NDArray[Any]:
        return np.take(self.array, indices, axis=0)

    def __len__(self) -> int:
        return len(self.array)


def plain_network(classes: int = CLASSES) -> nn.Module:
    """Six blocks of convolution, ReLU, batch norm, pooling."""
    layers: list[nn.Module] = []
    channels = 1
    for _ in range(6):
        layers += [nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(32),
                   nn.MaxPool2d(2)]  # fmt: skip
        channels = 32
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes))


@dataclass
class PlainLoop:
    """TensorDataset, DataLoader, Adam, float32."""

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
        """Train on every clip once; returns the mean loss."""
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
    def says(self, inputs: Tensor) -> Tensor:
        """Classes of some clips, (n,), on the CPU."""
        self.model.eval()
        parts = [self.model(part.to(self.device)).argmax(dim=1).cpu() for part in inputs.split(64)]
        return torch.cat(parts)


def branch_parameters(modality: Modality) -> Mapping[str, Any]:
    """Return the branch parameters of mel in a run that names none; of persistence, a `cnn`'s."""
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
    """A training as a run has it; `branch` are parameters in place of the defaults."""
    registry = Registry()
    arrays = random_clips(modalities, clips) if arrays is None else arrays
    targets = np.arange(clips) % CLASSES if targets is None else targets
    everything = np.arange(len(targets))
    train, val = parts or (everything, everything[: 2 * BATCH])
    where = torch.device(device)
    features = Features(
        {m.name: m for m in modalities},
        {m.name: Rows(arrays[m.name]) for m in modalities},
        targets,
        where,
        resident_bytes=10**12,
    )
    made: list[Balancer] = [make(registry.balancer(b), settings={}, owner=b) for b in balancers]
    specs = tuple(
        BranchSpec(m, "cnn", branch_parameters(m) if branch is None else branch) for m in modalities
    )
    # Balancers that change the strategy are part of the model's description.
    adapters = tuple((b.name, {}) for b in made if type(b).adapt is not Balancer.adapt)
    classes = int(targets.max()) + 1
    spec = ModelSpec(specs, classes, 64, strategy, adapters=adapters if strategy else ())
    needed = strategy is not None and (
        registry.strategy(strategy).needs_baselines or any(b.needs_baselines for b in made)
    )
    baselines = {
        m.name: frozen(m.name, build_model(spec.single(m.name), registry, seed).to(where), 0.5)
        for m in (modalities if needed else ())
    }
    return Trainer(
        build_model(spec, registry, seed).to(where),
        features,
        train,
        val,
        TrainConfig(batch_size=BATCH, **settings),
        balancers=made,
        baselines=baselines,
        seed=seed,
    )


def our_step(trainer: Trainer, *, recorded: bool = False, epoch: int = 1) -> Callable[[], object]:
    """A whole step of the engine: gather, standardise, augment, probes, balancers, average.

    The next of the training each time, of its `epoch`; all are `recorded`, or none is: a run
    records a few of an epoch.
    """
    stepper, recorder = trainer.stepper, trainer.recorder
    stepper.recorder = recorder if recorded else None
    trainer._enter(trainer._stage(epoch))
    for balancer in trainer.balancers:
        balancer.epoch_start(epoch)
    generator = torch.Generator().manual_seed(0)
    clips = Clips(trainer.train[: trainer.config.batch_size])
    numbers = count(min(recorder._looked), recorder._period) if recorded else count()

    def step() -> object:
        recorder._sums.clear()  # which the end of an epoch reads
        return stepper.step(epoch, next(numbers), clips, generator)

    return step


def our_epoch(trainer: Trainer) -> None:
    """Every training clip once, without validation."""
    trainer._enter(trainer._stage(1))
    generator = torch.Generator().manual_seed(0)
    order = np.random.default_rng(trainer.progress.step)
    for indices in batches(trainer.train, trainer.config.batch_size, order):
        trainer.stepper.step(1, trainer.progress.step, Clips(indices), generator)
        trainer.progress.step += 1
    wait_for(trainer.features.device)


def wait_for(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
