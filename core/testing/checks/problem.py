"""Training problem for tests, with a few numbers per clip and networks of two layers."""

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

NAMES = ("voice", "face", "text")  # unsorted, so that checks notice code that sorts names
CONFIG = TrainConfig(
    epochs=2, batch_size=8, lr=1e-2, dim=6, patience=0, precision="float32", label_smoothing=0.0,
    class_weights="none", warmup=0.0,
)  # fmt: skip


class SmallBranch(Branch):
    """Branch for vectors of features, with a feature map of two cells."""

    name = "small_branch"

    def __init__(self, shape: tuple[int, ...], dim: int = 6) -> None:
        super().__init__(shape, dim)
        self.map_channels = 5
        self.first = nn.Linear(shape[0], 10)
        self.embed = nn.Linear(10, dim)

    def maps(self, x: Tensor) -> Tensor:
        """Return feature maps, (B, 5, 2)."""
        maps: Tensor = self.first(x).tanh().view(len(x), 5, 2)
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Return the embedding, (B, D)."""
        embedding: Tensor = self.embed(maps.flatten(1))
        return embedding


class SmallStrategy(Strategy):
    """Linear layer on the concatenated embeddings."""

    name = "small_strategy"

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.head = nn.Linear(sum(dims.values()), num_classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the scores, (B, C)."""
        scores: Tensor = self.head(torch.cat([inputs[m] for m in self.order], dim=1))
        return scores


class SmallMaps(SmallStrategy):
    """Linear layer on the concatenated means of the feature maps."""

    name = "small_maps"
    takes = "maps"

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the scores, (B, C)."""
        return super().forward({m: x.mean(2) for m, x in inputs.items()})


class ByName(Strategy):
    """Strategy with scores head(tanh(sum of W_m z_m)), which treats all modalities alike.

    The weights are stored by the name of the modality, so that :func:`small_model` can make the
    same model with the modalities in another order. The modalities' contributions to the scores
    are not additive.
    """

    name = "by_name"

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.mix = nn.ModuleDict({m: nn.Linear(d, 8, bias=False) for m, d in dims.items()})
        self.head = nn.Linear(8, num_classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the scores, (B, C)."""
        mixed = torch.stack([self.mix[m](inputs[m]) for m in self.order])  # (M, B, 8)
        scores: Tensor = self.head(mixed.sum(dim=0).tanh())
        return scores


class ByNameMaps(ByName):
    """Strategy :class:`ByName` on the means of the feature maps."""

    name = "by_name_maps"
    takes = "maps"

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the scores, (B, C)."""
        return super().forward({m: x.flatten(2).mean(dim=2) for m, x in inputs.items()})


class Rows:
    """Array in memory with the interface of :class:`~fusion.core.data.features.Arrays`."""

    def __init__(self, array: npt.NDArray[np.float32]) -> None:
        self.array = array

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes."""
        return self.array.nbytes

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.array)

    def take(self, indices: Any) -> npt.NDArray[np.float32]:
        """Return the rows of the given clips."""
        rows: npt.NDArray[np.float32] = self.array[indices]
        return rows


def names_of(modalities: int | Sequence[str]) -> list[str]:
    """Return the first entries of `NAMES` if `modalities` is a number, else `modalities`."""
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
    """Return features that predict the class in every modality, best in the first of `NAMES`."""
    names = names_of(modalities)
    rng = np.random.default_rng(seed)
    targets = np.arange(clips) % classes
    every = {
        m: (rng.normal(size=(clips, 4)) + targets[:, None] * 2.0 / (i + 1)).astype(np.float32)
        for i, m in enumerate(NAMES)
    }
    arrays = {m: every[m] for m in names}
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
    """Return a model of small branches and a `strategy` made with `parameters`.

    The same names in another order give a model in which each modality has the same weights. This
    holds also for weights that a strategy stores by the name of a modality.
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
    """Return a model of the given branches and a new strategy, which the balancers adapt."""
    dims = dims_for(strategy, branches)
    adapted: Strategy = strategy(dims, classes, **parameters)
    for balancer in balancers:
        adapted = balancer.adapt(adapted, dims)
    return FusionModel(branches, adapted, classes)


def small_baselines(
    modalities: int | Sequence[str] = 2, *, classes: int = 3
) -> dict[str, Baseline]:
    """Return untrained baselines with random weights and validation UARs of 0.7, 0.6, 0.5."""
    baselines: dict[str, Baseline] = {}
    for m in names_of(modalities):
        i = NAMES.index(m)
        with seeded(50 + i):
            branch = SmallBranch((4,))
            model = FusionModel({m: branch}, LinearHead({m: branch.dim}, classes), classes)
        baselines[m] = frozen(m, model, 0.7 - 0.1 * i)
    return baselines


def small_trainer(
    balancers: Sequence[Balancer] = (),
    modalities: int | Sequence[str] = 2,
    *,
    strategy: type[Strategy] = SmallStrategy,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    **options: Any,
) -> Trainer:
    """Return a trainer on 36 clips with 12 validation clips.

    `options` are keyword arguments of :func:`trainer_of`.
    """
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
    """Return a trainer of a model on features, with small baselines if any plugin needs them.

    The first `clips` of the 48 clips are for training, the last 12 for validation. `settings`
    override fields of `CONFIG`.
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
    """Let a trainer take one step on its first clips, as in the training loop; return the step."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    trainer.model.train()
    return trainer.stepper.step(epoch, 0, Clips(trainer.train[:clips]), generator)


def small_step(
    model: FusionModel | None = None, *, clips: int = 8, seed: int = 0, **context: Any
) -> Step:
    """Return a step after the forward pass and before any loss, with ``step.unimodal`` set.

    To test a rule on hand-computed numbers, assign the numbers to the attributes that the rule
    reads, as in ``step.unimodal = {...}``. Assign an attribute before its first use, because
    `right` and `scores` are computed only once.
    """
    model = model or small_model()
    features = small_features(model.modalities)
    parts = {"train": np.arange(36), "val": np.arange(36, 48)}
    training = TrainingContext(model, CONFIG, features, parts, context.get("baselines"))
    return training.batch("train", clips, torch.Generator().manual_seed(seed))
