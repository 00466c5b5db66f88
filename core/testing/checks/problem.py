"""A training small enough for a test: a few numbers per clip, networks of two layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...contracts import Balancer, Baseline, Branch, Clips, Modality, Step, Strategy
from ...contracts.train_config import TrainConfig
from ...data.features import Features
from ...training.baselines import frozen
from ...training.context import TrainingContext
from ...training.model import FusionModel, LinearHead, dims_for
from ...training.trainer import Trainer
from .tensors import seeded

NAMES = ("voice", "face", "text")  # not in alphabetical order: who sorts them finds out
CONFIG = TrainConfig(
    epochs=2, batch_size=8, lr=1e-2, dim=6, patience=0, precision="float32", label_smoothing=0.0,
    class_weights="none", warmup=0.0,
)  # fmt: skip


class SmallBranch(Branch):
    """A vector, by way of a map of two cells."""

    name = "small_branch"

    def __init__(self, shape: tuple[int, ...], dim: int = 6) -> None:
        super().__init__(shape, dim)
        self.map_channels = 5
        self.first = nn.Linear(shape[0], 10)
        self.embed = nn.Linear(10, dim)

    def maps(self, x: Tensor) -> Tensor:
        maps: Tensor = self.first(x).tanh().view(len(x), 5, 2)
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        embedding: Tensor = self.embed(maps.flatten(1))
        return embedding


class SmallStrategy(Strategy):
    """Embeddings side by side, and a linear layer."""

    name = "small_strategy"

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.head = nn.Linear(sum(dims.values()), num_classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        scores: Tensor = self.head(torch.cat([inputs[m] for m in self.order], dim=1))
        return scores


class SmallMaps(SmallStrategy):
    """Means of feature maps side by side, and a linear layer."""

    name = "small_maps"
    takes = "maps"

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return super().forward({m: x.mean(2) for m, x in inputs.items()})


class ByName(Strategy):
    """scores = head(tanh(sum of W_m z_m)): alike for every modality, whatever their order.

    Its weights are kept by modality, so that :func:`small_model` can make the same model with
    the modalities in another order; and the modalities' shares in the scores are not additive.
    """

    name = "by_name"

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.mix = nn.ModuleDict({m: nn.Linear(d, 8, bias=False) for m, d in dims.items()})
        self.head = nn.Linear(8, num_classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        mixed = torch.stack([self.mix[m](inputs[m]) for m in self.order])  # (M, B, 8)
        scores: Tensor = self.head(mixed.sum(dim=0).tanh())
        return scores


class ByNameMaps(ByName):
    """The same on the means of feature maps."""

    name = "by_name_maps"
    takes = "maps"

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return super().forward({m: x.flatten(2).mean(dim=2) for m, x in inputs.items()})


class Rows:
    """Arrays in memory, as the cache offers them."""

    def __init__(self, array: npt.NDArray[np.float32]) -> None:
        self.array = array

    @property
    def nbytes(self) -> int:
        return self.array.nbytes

    def __len__(self) -> int:
        return len(self.array)

    def take(self, indices: Any) -> npt.NDArray[np.float32]:
        rows: npt.NDArray[np.float32] = self.array[indices]
        return rows


def names_of(modalities: int | Sequence[str]) -> list[str]:
    """So many of `NAMES`, or the names themselves."""
    return list(NAMES[:modalities] if isinstance(modalities, int) else modalities)


def _usual(names: Sequence[str]) -> list[str]:
    return [m for m in NAMES if m in names]


def small_features(
    modalities: int | Sequence[str] = 2,
    *,
    clips: int = 48,
    classes: int = 3,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Features:
    """Clips whose class shows in every modality, most clearly in the first of `NAMES`."""
    names = names_of(modalities)
    rng = np.random.default_rng(seed)
    targets = np.arange(clips) % classes
    made = {
        m: (rng.normal(size=(clips, 4)) + targets[:, None] * 2.0 / (i + 1)).astype(np.float32)
        for i, m in enumerate(NAMES)
    }
    arrays = {m: made[m] for m in names}
    return Features(
        {m: Modality(m, (4,)) for m in arrays},
        {m: Rows(array) for m, array in arrays.items()},
        targets,
        torch.device(device),
        resident_bytes=10**9,
    )


def small_model(
    modalities: int | Sequence[str] = 2,
    *,
    strategy: type[Strategy] = SmallStrategy,
    parameters: Mapping[str, Any] | None = None,
    balancers: Sequence[Balancer] = (),
    classes: int = 3,
    seed: int = 0,
) -> FusionModel:
    """A model of small branches; `strategy` may be any, made with `parameters`.

    The same names in another order give a model with the same weights, name for name: what a
    strategy keeps by modality then belongs to the same modality.
    """
    names = names_of(modalities)
    with seeded(seed):
        branches: dict[str, Branch] = {m: SmallBranch((4,)) for m in names}
        model = assembled(branches, strategy, parameters or {}, balancers, classes)
    if names != _usual(names):
        usual = small_model(
            _usual(names),
            strategy=strategy,
            parameters=parameters,
            balancers=balancers,
            classes=classes,
            seed=seed,
        )
        model.load_state_dict(usual.state_dict())
    return model


def assembled(
    branches: dict[str, Branch],
    strategy: type[Strategy],
    parameters: Mapping[str, Any],
    balancers: Sequence[Balancer],
    classes: int,
) -> FusionModel:
    """A model of branches that are there, and a strategy that balancers may adapt."""
    dims = dims_for(strategy, branches)
    made: Strategy = strategy(dims, classes, **parameters)
    for balancer in balancers:
        made = balancer.adapt(made, dims)
    return FusionModel(branches, made, classes)


def small_baselines(
    modalities: int | Sequence[str] = 2, *, classes: int = 3
) -> dict[str, Baseline]:
    """Baselines as if they had been trained: random weights, and UARs that fall."""
    found: dict[str, Baseline] = {}
    for m in names_of(modalities):
        i = NAMES.index(m)
        with seeded(50 + i):
            branch = SmallBranch((4,))
            model = FusionModel({m: branch}, LinearHead({m: branch.dim}, classes), classes)
        found[m] = frozen(m, model, 0.7 - 0.1 * i)
    return found


def small_trainer(
    balancers: Sequence[Balancer] = (),
    modalities: int | Sequence[str] = 2,
    *,
    strategy: type[Strategy] = SmallStrategy,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    **options: Any,
) -> Trainer:
    """A training on 36 clips with 12 to validate; `options` are those of :func:`trainer_of`."""
    model = small_model(
        modalities, strategy=strategy, parameters=parameters, balancers=balancers, seed=seed
    )
    return trainer_of(model, small_features(modalities), balancers, seed=seed, **options)


def trainer_of(
    model: FusionModel,
    features: Features,
    balancers: Sequence[Balancer] = (),
    *,
    baselines: Mapping[str, Baseline] | None = None,
    from_baselines: bool = False,
    seed: int = 0,
    checkpoint: Any = None,
    on_epoch: Any = None,
    clips: int = 36,
    **settings: Any,
) -> Trainer:
    """A training of a model and features already made, with baselines where something needs them.

    The first `clips` train, the last 12 validate; `settings` change those of training.
    """
    reads = model.strategy.needs_baselines or any(b.needs_baselines for b in balancers)
    if (from_baselines or reads) and baselines is None:
        baselines = small_baselines(model.modalities, classes=model.num_classes)
    return Trainer(
        model,
        features,
        np.arange(clips),
        np.arange(36, 48),
        replace(CONFIG, **settings),
        balancers=balancers,
        baselines=baselines,
        from_baselines=from_baselines,
        seed=seed,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )


def one_step(trainer: Trainer, epoch: int = 1, clips: int = 8) -> Step:
    """Let a trainer take one step on its first clips, as the loop does; returns the step."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    trainer.model.train()
    return trainer.stepper.step(epoch, 0, Clips(trainer.train[:clips]), generator)


def small_step(
    model: FusionModel | None = None, *, clips: int = 8, seed: int = 0, **context: Any
) -> Step:
    """A step that has been through the networks, before any loss: ``step.unimodal`` and the rest.

    For hand-computed numbers set what a rule reads: ``step.unimodal = {...}`` before the first
    question, since `right` and `scores` are computed once.
    """
    model = model or small_model()
    features = small_features(model.modalities)
    parts = {"train": np.arange(36), "val": np.arange(36, 48)}
    training = TrainingContext(model, CONFIG, features, parts, context.get("baselines"))
    return training.batch("train", clips, torch.Generator().manual_seed(seed))
