"""Small trainings, and what tells two of them apart: for the balancers' suite."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...contracts import Strategy
from ...data.features import Features
from ...training.model import FusionModel
from ...training.trainer import Trainer
from .problem import NAMES, small_features, small_model
from .tools import equal, listed, seeded

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Setting:
    """A small training to try the balancer in."""

    modalities: int
    strategy: type[Strategy]
    optimizer: str = "sgd"

    def __str__(self) -> str:
        noun = "modality" if self.modalities == 1 else "modalities"
        return f"{self.modalities} {noun}, a strategy of {self.strategy.takes}, {self.optimizer}"


@dataclass(frozen=True)
class Trained:
    """What a training ended with."""

    history: list[dict[str, Any]]
    weights: Weights  # of the last epoch
    best: Weights

    def branches(self) -> Weights:
        return {key: x for key, x in self.weights.items() if key.startswith("branches.")}

    def differs_from(self, other: Trained) -> str:
        """What is not the same to the bit; empty where all is."""
        for mine, theirs in ((self.weights, other.weights), (self.best, other.best)):
            keys = [k for k in mine if k not in theirs or not equal(mine[k], theirs[k])]
            if keys:
                return f"the weights {listed(keys)}"
        for mine, theirs in zip(self.history, other.history, strict=False):
            keys = [k for k in mine if not _same(mine[k], theirs.get(k))]
            if keys:
                return f"{listed(keys)} of epoch {mine['epoch']}"
        return ""


class _StoppedError(Exception):
    """A training was interrupted, as by Ctrl-C."""


def fitted(trainer: Trainer, *, stop_after: int = 0) -> Trained:
    """Train, to the end or until after an epoch."""
    last: Weights = {}

    def keep(record: Mapping[str, Any]) -> None:
        last.update({k: x.detach().clone() for k, x in trainer.model.state_dict().items()})
        if record["epoch"] == stop_after:
            raise _StoppedError

    trainer.on_epoch = keep
    with contextlib.suppress(_StoppedError):
        trainer.fit()
    history = [{k: v for k, v in r.items() if k != "seconds"} for r in trainer.progress.history]
    return Trained(history, last, dict(trainer.model.state_dict()))


@contextlib.contextmanager
def usual_numbers() -> Iterator[None]:
    with _numbers(0):
        yield


@contextlib.contextmanager
def other_numbers() -> Iterator[None]:
    with _numbers(1):
        yield


@contextlib.contextmanager
def _numbers(seed: int) -> Iterator[None]:
    """Torch's seed as ever, and others of numpy's and Python's; all as before afterwards."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    try:
        with seeded(0):
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def start_of(case: Setting) -> Weights:
    return dict(small_model(case.modalities, strategy=case.strategy).state_dict())


def apart(found: Weights, expected: Weights, start: Weights) -> float:
    """Largest distance of two weights, as a share of the largest change since the start."""
    distance = max(float((found[key] - x).abs().max()) for key, x in expected.items())
    change = max(float((x - start[key]).abs().max()) for key, x in expected.items())
    return distance / change if change else math.inf * (distance > 0)


@torch.no_grad()
def make_alike(model: FusionModel) -> None:
    """Give every modality the weights of the first."""
    first, *others = model.modalities
    weights = model.state_dict()
    for key, value in weights.items():
        parts = key.split(".")
        for modality in others:
            if modality in parts:
                at = parts.index(modality)
                value.copy_(weights[".".join([*parts[:at], first, *parts[at + 1 :]])])


def same_inputs(modalities: int) -> Features:
    features = small_features(modalities)
    first = features.arrays[NAMES[0]]
    return Features(
        features.modalities,
        dict.fromkeys(features.modalities, first),
        features.targets.numpy(),
        features.device,
        resident_bytes=10**9,
    )


def _same(a: Any, b: Any) -> bool:
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return bool(a == b) or both_nan
