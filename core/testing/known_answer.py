"""Synthetic problem of two modalities on which joint training is known to fail.

The modality *fast* is learned in a few epochs and is mediocre: it holds a linear signal of the
class that is wrong for some clips, and enough noise to memorise every training clip. The modality
*slow* determines the class exactly, by parities of signs, which take many epochs to learn.
In joint training, the model fits the training clips with *fast* before the branch of *slow* has
learned anything, and the remaining loss is too small to train that branch. The fused model ends
far below *slow* alone. The value of a balancer is the share of this gap that it closes. One
training takes about a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..contracts import Balancer, Baseline, Branch, Modality, Strategy
from ..contracts.train_config import TrainConfig
from ..data.features import Features
from ..training.baselines import frozen
from ..training.inference import predict
from ..training.model import FusionModel, LinearHead
from ..training.trainer import Trainer
from .checks.problem import Rows, SmallStrategy, assembled
from .checks.tensors import seeded

FAST, SLOW = "fast", "slow"
_CLASSES = 4
_CLIPS = {"train": 600, "val": 300, "test": 1500}
_RIGHT = 0.6  # share of clips whose *fast* signal is right; other clips have a random signal
_SIGN = 4.0  # height of the *fast* signal, in standard deviations of the noise
_FAST_SIZE, _SLOW_SIZE = 200, 12
CONFIG = TrainConfig(
    epochs=30, batch_size=32, lr=3e-3, dim=16, patience=0, precision="float32", label_smoothing=0.0
)


class TwoLayers(Branch):
    """Branch for vectors with two hidden layers."""

    name = "two_layers"

    def __init__(self, shape: tuple[int, ...], dim: int = 16, *, hidden: int = 64) -> None:
        super().__init__(shape, dim)
        self.map_channels = hidden
        self.hidden = nn.Sequential(
            nn.Linear(shape[0], hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.embed = nn.Linear(hidden, dim)

    def maps(self, x: Tensor) -> Tensor:
        """Return the hidden units as feature maps of one cell, (B, hidden, 1)."""
        hidden: Tensor = self.hidden(x)
        return hidden[:, :, None]

    def pool(self, maps: Tensor) -> Tensor:
        """Return the embedding, (B, dim)."""
        embedding: Tensor = self.embed(maps.flatten(1))
        return embedding


@dataclass(frozen=True)
class Outcome:
    """Accuracies, in [0, 1], on 1,500 test clips.

    Attributes
    ----------
    accuracy : float
        Accuracy of the model.
    probes : dict
        Accuracy of the probe of each modality, a measure of what the modality's branch has learned.
        Empty for a baseline.
    seconds : float
        Duration of the training.
    """

    accuracy: float
    probes: dict[str, float]
    seconds: float


@dataclass
class KnownAnswer:
    """Synthetic problem of the modalities *fast* and *slow*, generated from one seed.

    >>> problem = KnownAnswer()
    >>> problem.alone("slow").accuracy, problem.fused().accuracy      # slow alone is better
    >>> problem.fused([MyBalancer()]).accuracy                        # with your balancer

    Attributes
    ----------
    seed : int
        Seed of the clips, the initial weights and the order of clips. The same seed gives the
        same results.
    config : TrainConfig
        Hyper-parameters of every training.
    """

    seed: int = 0
    config: TrainConfig = field(default=CONFIG)

    @cached_property
    def clips(self) -> tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.int64]]:
        """Features (n, size) by modality, and classes (n,), of all clips."""
        rng = np.random.default_rng(self.seed)
        count = sum(_CLIPS.values())
        classes = rng.permutation(np.arange(count) % _CLASSES)
        signalled = np.where(rng.random(count) < _RIGHT, classes, rng.integers(0, _CLASSES, count))
        fast = rng.normal(size=(count, _FAST_SIZE))
        fast[np.arange(count), signalled] += _SIGN
        slow = rng.normal(size=(count, _SLOW_SIZE))
        for bit in (0, 1):
            # The product of two signs is +1 if this bit of the class is 1, and -1 if it is 0.
            signs = rng.choice([-1.0, 1.0], size=(count, 2))
            signs[:, 1] = np.where(classes >> bit & 1, 1.0, -1.0) * signs[:, 0]
            columns = slice(2 * bit, 2 * bit + 2)
            slow[:, columns] = signs * (np.abs(slow[:, columns]) + 0.3)
        return {FAST: fast.astype(np.float32), SLOW: slow.astype(np.float32)}, classes

    def alone(self, modality: str) -> Outcome:
        """Return the outcome of one modality trained alone, with a linear head."""
        trainer = self._alone[modality]
        return self._outcome(trainer, trainer.progress.seconds)

    def fused(
        self,
        balancers: Sequence[Balancer] = (),
        strategy: type[Strategy] = SmallStrategy,
        parameters: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Outcome:
        """Return the outcome of joint training.

        Parameters
        ----------
        balancers : sequence of Balancer
            Balancers to train with; none by default.
        strategy : type
            Strategy class.
        parameters : mapping, optional
            Parameters of the strategy.
        settings
            Fields of `config` to change for this training.
        """
        model = self._model([FAST, SLOW], balancers, strategy, parameters or {})
        needs = model.strategy.needs_baselines or any(b.needs_baselines for b in balancers)
        baselines = self.baselines if needs else None
        config = replace(self.config, **settings)
        trainer = self._trainer(model, config, balancers=balancers, baselines=baselines)
        return self._outcome(trainer, trainer.fit().seconds)

    @cached_property
    def baselines(self) -> dict[str, Baseline]:
        """Baselines of both modalities, each trained alone."""
        return {
            m: frozen(m, trainer.model, trainer.progress.best_uar)
            for m, trainer in self._alone.items()
        }

    @cached_property
    def _alone(self) -> dict[str, Trainer]:
        trainers = {m: self._trainer(self._model([m]), self.config) for m in (FAST, SLOW)}
        for trainer in trainers.values():
            trainer.fit()
        return trainers

    def _model(
        self,
        names: Sequence[str],
        balancers: Sequence[Balancer] = (),
        strategy: type[Strategy] = LinearHead,
        parameters: Mapping[str, Any] | None = None,
    ) -> FusionModel:
        arrays, _ = self.clips
        with seeded(self.seed):
            branches: dict[str, Branch] = {
                m: TwoLayers(arrays[m].shape[1:], self.config.dim) for m in names
            }
            return assembled(branches, strategy, parameters or {}, balancers, _CLASSES)

    def _trainer(self, model: FusionModel, config: TrainConfig, **options: Any) -> Trainer:
        arrays, classes = self.clips
        features = Features(
            {m: Modality(m, arrays[m].shape[1:]) for m in model.modalities},
            {m: Rows(arrays[m]) for m in model.modalities},
            classes,
            torch.device("cpu"),
            resident_bytes=10**9,
        )
        train, val, _ = self._parts()
        return Trainer(model, features, train, val, config, seed=self.seed, **options)

    def _parts(self) -> list[npt.NDArray[np.int64]]:
        bounds = np.cumsum(list(_CLIPS.values()))
        return np.split(np.arange(bounds[-1]), bounds[:-1])

    def _outcome(self, trainer: Trainer, seconds: float) -> Outcome:
        test = self._parts()[2]
        prediction = predict(trainer.model, trainer.features, test)
        truth = self.clips[1][test]

        def accuracy(probabilities: npt.NDArray[np.float32]) -> float:
            return float((probabilities.argmax(axis=1) == truth).mean())

        probes = {m: accuracy(p) for m, p in prediction.unimodal.items()}
        return Outcome(accuracy(prediction.probabilities), probes, seconds)
