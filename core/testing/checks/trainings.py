"""Small trainings with the balancer under test: base of the parts of its suite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import nn

from ...contracts import Balancer, Strategy
from ...contracts.errors import ParameterError
from ...registry.parameters import make
from ...training.trainer import Trainer
from .costs import Cost, seconds_of, tensor_bytes
from .plugin import PluginSuite
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
from .report import require, running
from .tools import listed
from .trained import Setting, Trained, fitted, usual_numbers


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

    # -- trainings ---------------------------------------------------------------------

    def cases(self) -> list[Setting]:
        """Numbers of modalities x kinds of strategy x optimisers."""
        return [
            Setting(modalities, strategy, optimizer)
            for strategy in self.strategies()
            for modalities in (1, 2, 3)
            for optimizer in ("adamw", "sgd")
        ]

    def strategies(self) -> list[type[Strategy]]:
        """One of embeddings; and one of maps, unless the balancer refuses those."""
        return [ByName] if self._refuses_maps() else [ByName, ByNameMaps]

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

    def construct(self) -> Balancer:
        """The balancer, by the road that fusion takes."""
        plugin = self._plugin()
        owner = getattr(plugin, "name", "?")
        return cast(Balancer, make(plugin, given=self.parameters, owner=owner))

    def settings_for(self, case: Setting, **settings: Any) -> dict[str, Any]:
        # A fast SGD: what a balancer does to a step should be seen in the weights.
        rate = 1e-2 if case.optimizer == "adamw" else 0.1
        usual = {"epochs": self.epochs, "lr": rate, "optimizer": case.optimizer}
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
        with running(f"{self.at(case)}", doing, cause=cause or ANY_TRAINING), usual_numbers():
            return fitted(self.trainer(case, balancers, **options))

    def check_finite(self, where: str, trained: Trained) -> None:
        bad = [key for key, x in trained.weights.items() if not bool(torch.isfinite(x).all())]
        require(
            not bad,
            where,
            f"after the training the weights {listed(bad)} hold NaN or infinite values",
            expected="finite numbers",
            cause=_NOT_FINITE,
        )
        for record in trained.history:
            wrong = [k for k, v in record.items() if isinstance(v, float) and not math.isfinite(v)]
            require(
                not wrong,
                where,
                f"{listed(wrong)} of epoch {record['epoch']} is not finite",
                expected="finite numbers",
                cause=_NOT_FINITE,
            )

    def costs(self) -> Sequence[Cost]:
        """A step of training, beside one without the balancer."""
        case = self.pairs()[0]

        def whole(balancers: Sequence[Balancer] | None = None) -> None:
            with usual_numbers():
                fitted(self.trainer(case, balancers))

        steps = self.epochs * math.ceil(36 / CONFIG.batch_size)
        with_it, without = (seconds_of(c, times=3) for c in (whole, lambda: whole([])))
        bytes_with, bytes_without = tensor_bytes(whole), tensor_bytes(lambda: whole([]))
        note = f"without it {1000 * without / steps:.1f} ms"
        if bytes_without:
            note += f", {bytes_without / 1000:,.0f} kB"
        return [Cost("a step of 8 clips, small networks", with_it / steps, bytes_with, note)]

    def pairs(self) -> list[Setting]:
        """Where one check after the other would take long: two modalities and three."""
        return [
            Setting(modalities, strategy, optimizer)
            for strategy in self.strategies()
            for modalities, optimizer in ((2, "adamw"), (3, "sgd"))
        ]


ANY_TRAINING = (
    "a number of modalities written as a number, the shape of one kind of representation "
    "(embeddings or maps), or something of a step that is not there yet in the hook that reads it"
)
_NOT_FINITE = "a division, logarithm or root at zero; with one modality, a mean over no others"
