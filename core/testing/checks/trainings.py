"""Small trainings with the balancer under test, and what tells two of them apart."""

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

_CLIPS = 23  # of a training: batches of 8, 8 and 7


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


class Watch(Balancer):
    """Named last, it notes what the balancer under test decides and leaves behind.

    Attributes
    ----------
    decided : dict of str to list
        What the balancer's ``stage`` and ``passes`` returned, call by call, by domain.
    losses_seen : dict of str to Tensor
        Losses of the latest pass.
    probes : list of tuple
        Of the first pass of each step: modality, its probe's gradient, and the gradient that
        the probe's own loss has.
    """

    name = "watch"

    def __init__(self) -> None:
        self.decided: dict[str, list[Any]] = {"stages": [], "passes": []}
        self.losses_seen: dict[str, Tensor] = {}
        self.probes: list[tuple[str, Tensor, Tensor]] = []
        self._step = -1

    def follow(self, watched: Balancer) -> None:
        """Note from now on what a balancer decides."""
        for domain, method in (("stages", "stage"), ("passes", "passes")):
            setattr(watched, method, self._noting(domain, getattr(watched, method)))

    def _noting(self, domain: str, method: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def noting(given: Any) -> Any:
            self.decided[domain].append(method(given))
            return self.decided[domain][-1]

        return noting

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        self.losses_seen = dict(losses)
        return losses

    def gradients(self, gradients: Gradients, step: Step) -> None:
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
        found = torch.zeros_like(weight) if probe.weight.grad is None else probe.weight.grad
        return modality, found.clone(), expected


@dataclass
class First:
    """The first training of a setting, which several checks read.

    Attributes
    ----------
    balancer : Balancer
        The one under test, as the training left it.
    watch : Watch
        What was noted of it, in a training that is watched.
    trained : Trained
        What the training ended with.
    error : Exception or None
        What ended it before: any of the others may be missing then.
    """

    case: Setting
    balancer: Balancer = field(init=False)
    watch: Watch = field(default_factory=Watch)
    trained: Trained = field(init=False)
    error: Exception | None = None


class TrainingSuite(PluginSuite):
    """How a balancer is made and trained with; :class:`BalancerSuite` says what can be set."""

    kind = Balancer

    plugin: ClassVar[type[Balancer]]
    parameters: ClassVar[Mapping[str, Any]] = {}
    epochs: ClassVar[int] = 2
    settings: ClassVar[Mapping[str, Any]] = {}
    single_unchanged: ClassVar[bool] = False
    equal_unchanged: ClassVar[bool] = False
    order_matters: ClassVar[str] = ""

    def cases(self) -> list[Setting]:
        """Numbers of modalities x kinds of strategy x optimisers."""
        return [
            Setting(modalities, strategy, optimizer)
            for strategy in self.strategies()
            for modalities in (1, 2, 3)
            for optimizer in ("adamw", "sgd")
        ]

    def pairs(self) -> list[Setting]:
        """Where one check after the other would take long: two modalities and three."""
        return [
            Setting(modalities, strategy, optimizer)
            for strategy in self.strategies()
            for modalities, optimizer in ((2, "adamw"), (3, "sgd"))
        ]

    def strategies(self) -> list[type[Strategy]]:
        """One of embeddings; and one of maps, unless the balancer refuses those."""
        refuses: bool = self.once("refuses maps", self._refuses_maps)
        return [ByName] if refuses else [ByName, ByNameMaps]

    def _refuses_maps(self) -> bool:
        try:
            self.trainer(Setting(2, ByNameMaps))
        except ParameterError:
            return True
        except Exception:
            return False  # its checks will show it
        return False

    def at(self, case: Setting) -> str:
        return f"{self.where}, {case}"

    # -- trainings ---------------------------------------------------------------------

    def construct(self) -> Balancer:
        """The balancer, by the road that fusion takes."""
        plugin = self._plugin()
        owner = getattr(plugin, "name", "?")
        return cast(Balancer, make(plugin, given=self.parameters, owner=owner))

    def settings_for(self, case: Setting, **settings: Any) -> dict[str, Any]:
        # A fast SGD: what a balancer does to a step should be seen in the weights.
        rate = 1e-2 if case.optimizer == "adamw" else 0.1
        usual = {"epochs": self.epochs, "lr": rate, "optimizer": case.optimizer, "clips": _CLIPS}
        return {**usual, **self.settings, **settings}

    def trainer(
        self, case: Setting, balancers: Sequence[Balancer] | None = None, **options: Any
    ) -> Trainer:
        return small_trainer(
            [self.construct()] if balancers is None else balancers,
            options.pop("modalities", case.modalities),
            strategy=case.strategy,
            **self.settings_for(case, **options),
        )

    def trainer_on(self, device: torch.device, case: Setting, balancer: Balancer) -> Trainer:
        """The same training with everything on `device`."""
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
        """A whole training; what the plugin raises becomes a failed check."""
        with running(self.at(case), doing, cause=cause or ANY_TRAINING), usual_numbers():
            return fitted(self.trainer(case, balancers, **options))

    def first(self, case: Setting, *, watched: bool = False, ended: bool = True) -> First:
        """The first training with nothing but the balancer, made once for a test class.

        Where it should have `ended`, what the plugin raised becomes a failed check.
        """
        first: First = self.once((case, watched), lambda: self._first(case, watched))
        with running(self.at(case), "training", cause=ANY_TRAINING):
            if ended and first.error is not None:
                raise first.error
        return first

    def _first(self, case: Setting, watched: bool) -> First:
        found = First(case)
        try:
            with usual_numbers():
                found.balancer = self.construct()
                balancers = [found.balancer]
                if watched:
                    found.watch.follow(found.balancer)
                    balancers.append(found.watch)
                found.trained = fitted(self.trainer(case, balancers))
        except Exception as error:
            found.error = error
        return found

    def check_finite(self, where: str, trained: Trained) -> None:
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
        """Require that two trainings ended with the same bits; `failed` has ``{}`` for what did
        not."""
        differs = second.differs_from(first.trained)
        where = self.at(first.case)
        require(not differs, where, failed.format(differs), expected=expected, cause=cause)

    def costs(self) -> Sequence[Cost]:
        """A step of training, beside one without the balancer."""
        case = self.pairs()[0]

        def whole(balancers: Sequence[Balancer] | None = None) -> None:
            with usual_numbers():
                fitted(self.trainer(case, balancers))

        steps = self.epochs * math.ceil(_CLIPS / CONFIG.batch_size)
        with_it, without = (seconds_of(c, times=3) for c in (whole, lambda: whole([])))
        bytes_with, bytes_without = tensor_bytes(whole), tensor_bytes(lambda: whole([]))
        note = f"without it {1000 * without / steps:.1f} ms"
        if bytes_without:
            note += f", {bytes_without / 1000:,.0f} kB"
        return [Cost("a step of 8 clips, small networks", with_it / steps, bytes_with, note)]


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
def usual_numbers(seed: int = 0) -> Iterator[None]:
    """Torch's seed as ever, `seed` for numpy and Python; all generators as before afterwards."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    try:
        with seeded(0):
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _same(a: Any, b: Any) -> bool:
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return bool(a == b) or both_nan


ANY_TRAINING = (
    "a number of modalities written as a number, the shape of one kind of representation "
    "(embeddings or maps), or something of a step that is not there yet in the hook that reads it"
)
_NOT_FINITE = "a division, logarithm or root at zero; with one modality, a mean over no others"
