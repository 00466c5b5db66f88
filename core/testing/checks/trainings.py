"""Small trainings with the balancer under test, and comparisons of their results."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...contracts import Balancer, Gradients, Step, Strategy
from ...contracts.errors import ParameterError
from ...registry.parameters import make
from ...training.trainer import Trainer
from ..costs import Cost, seconds_of, tensor_bytes
from .assertions import require, running
from .declarations import PluginSuite
from .problem import (
    CONFIG,
    ByName,
    ByNameMaps,
    small_baselines,
    small_features,
    small_model,
    small_trainer,
    trainer_of,
)
from .tensors import equal, listed, seeded

Weights = dict[str, Tensor]

_CLIPS = 23  # training clips, in batches of 8, 8 and 7


@dataclass(frozen=True, slots=True)
class Setting:
    """Configuration of a small training in which the balancer is checked."""

    modalities: int
    strategy: type[Strategy]
    optimizer: str = "sgd"

    def __str__(self) -> str:
        """Return the configuration in words, for messages and test names."""
        noun = "modality" if self.modalities == 1 else "modalities"
        return f"{self.modalities} {noun}, a strategy of {self.strategy.takes}, {self.optimizer}"


@dataclass(frozen=True)
class Trained:
    """Result of a training: history, weights after the last epoch, and best weights."""

    history: list[dict[str, Any]]
    weights: Weights  # after the last epoch
    best: Weights

    def branches(self) -> Weights:
        """Return the branches' weights after the last epoch."""
        return {key: x for key, x in self.weights.items() if key.startswith("branches.")}

    def differs_from(self, other: Trained) -> str:
        """Return a description of the values that differ; empty if all are equal bit for bit."""
        for mine, theirs in ((self.weights, other.weights), (self.best, other.best)):
            keys = [k for k in mine if k not in theirs or not equal(mine[k], theirs[k])]
            if keys:
                return f"the weights {listed(keys)}"
        for mine, theirs in zip(self.history, other.history, strict=False):
            keys = [k for k in mine if not _equal_or_nan(mine[k], theirs.get(k))]
            if keys:
                return f"{listed(keys)} of epoch {mine['epoch']}"
        return ""


class Watch(Balancer):
    """Balancer, named last, that records decisions and results of the balancer under test.

    Attributes
    ----------
    decided : dict of str to list
        Values that the balancer's ``stage`` and ``passes`` returned, one per call, by domain:
        "stages" or "passes".
    losses_seen : dict of str to Tensor
        Losses of the latest pass.
    probes : list of tuple
        For the first pass of each step: the modality, the gradient of the modality's probe, and the
        gradient of the probe's own loss.
    """

    name = "watch"

    def __init__(self) -> None:
        self.decided: dict[str, list[Any]] = {"stages": [], "passes": []}
        self.losses_seen: dict[str, Tensor] = {}
        self.probes: list[tuple[str, Tensor, Tensor]] = []
        self._step = -1

    def follow(self, watched: Balancer) -> None:
        """Record the return values of a balancer's ``stage`` and ``passes`` from now on."""
        for domain, method in (("stages", "stage"), ("passes", "passes")):
            setattr(watched, method, self._recording(domain, getattr(watched, method)))

    def _recording(self, domain: str, method: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def recording(argument: Any) -> Any:
            self.decided[domain].append(method(argument))
            return self.decided[domain][-1]

        return recording

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Record the losses of this pass and return them unchanged."""
        self.losses_seen = dict(losses)
        return losses

    def gradients(self, gradients: Gradients, step: Step) -> None:
        """Record the gradients of the probes in the first pass of a step."""
        if step.index == self._step:
            return
        self._step = step.index
        self.probes += [self._probe(m, step) for m in step.modalities]

    def _probe(self, modality: str, step: Step) -> tuple[str, Tensor, Tensor]:
        probe: Any = step.model.probes[modality]
        assert step.encoded is not None
        embedding = step.encoded.embeddings[modality].detach().float()
        weight = probe.weight.detach().clone().requires_grad_()
        loss = step.cross_entropy(functional.linear(embedding, weight, probe.bias.detach()))
        (expected,) = torch.autograd.grad(loss, weight)
        actual = torch.zeros_like(weight) if probe.weight.grad is None else probe.weight.grad
        return modality, actual.clone(), expected


@dataclass
class First:
    """First training in a setting; several checks share the result.

    Attributes
    ----------
    case : Setting
        Configuration of the training.
    balancer : Balancer
        The balancer under test, in its state after the training.
    watch : Watch
        Records about the balancer; empty unless the training is watched.
    trained : Trained
        Result of the training.
    error : Exception or None
        Exception that ended the training early; `balancer` and `trained` may then be unset.
    """

    case: Setting
    balancer: Balancer = field(init=False)
    watch: Watch = field(default_factory=Watch)
    trained: Trained = field(init=False)
    error: Exception | None = None


class TrainingSuite(PluginSuite):
    """Helper methods of :class:`BalancerSuite`, which documents the attributes to set."""

    kind = Balancer

    plugin: ClassVar[type[Balancer]]
    parameters: ClassVar[Mapping[str, Any]] = {}
    epochs: ClassVar[int] = 2
    settings: ClassVar[Mapping[str, Any]] = {}
    single_unchanged: ClassVar[bool] = False
    equal_unchanged: ClassVar[bool] = False
    order_matters: ClassVar[str] = ""

    def cases(self) -> list[Setting]:
        """Return all combinations of kind of strategy, number of modalities and optimiser."""
        return [
            Setting(modalities, strategy, optimizer)
            for strategy in self.strategies()
            for modalities in (1, 2, 3)
            for optimizer in ("adamw", "sgd")
        ]

    def pairs(self) -> list[Setting]:
        """Return fewer settings, with two and three modalities, for checks that take longer."""
        return [
            Setting(modalities, strategy, optimizer)
            for strategy in self.strategies()
            for modalities, optimizer in ((2, "adamw"), (3, "sgd"))
        ]

    def strategies(self) -> list[type[Strategy]]:
        """Return a strategy that takes embeddings and, if possible, one that takes maps."""
        refuses: bool = self.once("refuses maps", self._refuses_maps)
        return [ByName] if refuses else [ByName, ByNameMaps]

    def _refuses_maps(self) -> bool:
        try:
            self.trainer(Setting(2, ByNameMaps))
        except ParameterError:
            return True
        except Exception:
            return False  # the checks report other exceptions
        return False

    def at(self, case: Setting) -> str:
        """Return the name of the plugin and of a case, for messages."""
        return f"{self.where}, {case}"

    # -- trainings ---------------------------------------------------------------------

    def construct(self) -> Balancer:
        """Return an instance of the balancer, as fusion itself makes it."""
        plugin = self._plugin()
        owner = getattr(plugin, "name", "?")
        return cast(Balancer, make(plugin, settings=self.parameters, owner=owner))

    def settings_for(self, case: Setting, **settings: Any) -> dict[str, Any]:
        """Return the options of a training: defaults, the suite's settings, then `settings`."""
        # A high learning rate for SGD, so that a balancer's effect shows in the weights.
        rate = 1e-2 if case.optimizer == "adamw" else 0.1
        usual = {"epochs": self.epochs, "lr": rate, "optimizer": case.optimizer, "clips": _CLIPS}
        return {**usual, **self.settings, **settings}

    def trainer(
        self, case: Setting, balancers: Sequence[Balancer] | None = None, **options: Any
    ) -> Trainer:
        """Return a trainer with the given balancers, by default the balancer under test alone."""
        return small_trainer(
            [self.construct()] if balancers is None else balancers,
            options.pop("modalities", case.modalities),
            strategy=case.strategy,
            **self.settings_for(case, **options),
        )

    def trainer_on(self, device: torch.device, case: Setting, balancer: Balancer) -> Trainer:
        """Return a trainer with model, features and baselines on `device`."""
        model = small_model(case.modalities, strategy=case.strategy, balancers=[balancer])
        baselines = small_baselines(case.modalities)
        for baseline in baselines.values():
            cast(nn.Module, baseline.model).to(device)
        return trainer_of(
            model.to(device),
            small_features(case.modalities, device=device),
            [balancer],
            baselines=baselines if balancer.needs_baselines else None,
            **self.settings_for(case),
        )

    def train(
        self,
        case: Setting,
        balancers: Sequence[Balancer] | None = None,
        *,
        doing: str = "training",
        cause: str = "",
        **options: Any,
    ) -> Trained:
        """Train to the end; an exception of the plugin fails the check."""
        with running(self.at(case), doing, cause=cause or ANY_TRAINING), usual_numbers():
            return fitted(self.trainer(case, balancers, **options))

    def first(self, case: Setting, *, watched: bool = False, ended: bool = True) -> First:
        """Return a training with the balancer alone, which runs once for a test class.

        If `ended`, an exception of the plugin fails the check.
        """
        first: First = self.once((case, watched), lambda: self._first(case, watched))
        with running(self.at(case), "training", cause=ANY_TRAINING):
            if ended and first.error is not None:
                raise first.error
        return first

    def _first(self, case: Setting, watched: bool) -> First:
        first = First(case)
        try:
            with usual_numbers():
                first.balancer = self.construct()
                balancers = [first.balancer]
                if watched:
                    first.watch.follow(first.balancer)
                    balancers.append(first.watch)
                first.trained = fitted(self.trainer(case, balancers))
        except Exception as error:
            first.error = error
        return first

    def check_finite(self, where: str, trained: Trained) -> None:
        """Require that all weights and all numbers in the history are finite."""
        bad = [key for key, x in trained.weights.items() if not bool(torch.isfinite(x).all())]
        wrong = {f"after the training the weights {listed(bad)} hold NaN or infinite values": bad}
        for record in trained.history:
            keys = [k for k, v in record.items() if isinstance(v, float) and not math.isfinite(v)]
            wrong[f"{listed(keys)} of epoch {record['epoch']} is not finite"] = keys
        for failed, names in wrong.items():
            require(not names, where, failed, expected="finite numbers", cause=_NOT_FINITE)

    def check_same(
        self, first: First, second: Trained, failed: str, *, expected: str, cause: str
    ) -> None:
        """Require that two trainings have the same result, bit for bit.

        `failed` is the message, with ``{}`` for a description of the values that differ.
        """
        differs = second.differs_from(first.trained)
        where = self.at(first.case)
        require(not differs, where, failed.format(differs), expected=expected, cause=cause)

    def costs(self) -> Sequence[Cost]:
        """Return the cost of a training step, with the cost without the balancer as a note."""
        case = self.pairs()[0]

        def whole(balancers: Sequence[Balancer] | None = None) -> None:
            with usual_numbers():
                fitted(self.trainer(case, balancers))

        steps = self.epochs * math.ceil(_CLIPS / CONFIG.batch_size)
        with_it, without = (seconds_of(c, times=3) for c in (whole, lambda: whole([])))
        bytes_with, bytes_without = tensor_bytes(whole), tensor_bytes(lambda: whole([]))
        note = f"without the balancer {1000 * without / steps:.1f} ms"
        if bytes_without:
            note += f", {bytes_without / 1000:,.0f} kB"
        return [Cost("a step of 8 clips, small networks", with_it / steps, bytes_with, note)]


class _StoppedError(Exception):
    """Interruption of a training, like that of Ctrl-C."""


def fitted(trainer: Trainer, *, stop_after: int = 0) -> Trained:
    """Train to the end, or interrupt the training after epoch `stop_after`."""
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
def usual_numbers(seed: int = 0) -> Iterator[None]:
    """Seed torch with 0, and numpy and Python with `seed`; restore all generators afterwards."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    try:
        with seeded(0):
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _equal_or_nan(a: Any, b: Any) -> bool:
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return bool(a == b) or both_nan


ANY_TRAINING = (
    "a hard-coded number of modalities, code for only one kind of representation (embeddings or "
    "maps), or a hook that reads an attribute of the step before it is set"
)
_NOT_FINITE = (
    "a division, logarithm or root at zero; with one modality, a mean over zero other modalities"
)
