"""Checks of balancers: what should not change anything does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from ...contracts import Balancer
from ...data.features import Features
from ...training.model import FusionModel
from ...training.trainer import Trainer
from .assertions import require, running, skip
from .problem import NAMES, small_baselines, small_features, small_model, trainer_of
from .trainings import ANY_TRAINING, Setting, Trained, TrainingSuite, Weights, fitted, usual_numbers


class InvariantChecks(TrainingSuite):
    """One modality, equal modalities, modalities in another order."""

    def test_one_modality(self) -> None:
        """Where `single_unchanged`: one modality is trained as without the balancer."""
        if not self.single_unchanged:
            skip("single_unchanged is False")
        for strategy in self.strategies():
            case = Setting(1, strategy)
            self._check_unchanged(case, self.first(case).trained, self.train(case, []), _ALONE)

    def test_equal_modalities(self) -> None:
        """Where `equal_unchanged`: equal modalities are trained as without the balancer."""
        if not self.equal_unchanged:
            skip("equal_unchanged is False")
        for modalities in (2, 3):
            for strategy in self.strategies():
                case = Setting(modalities, strategy)
                with running(self.at(case), "training", cause=ANY_TRAINING), usual_numbers():
                    found = fitted(self._of_equals(case, [self.construct()]))
                    plain = fitted(self._of_equals(case, []))
                self._check_unchanged(case, found, plain, _EQUAL)

    def _of_equals(self, case: Setting, balancers: Sequence[Balancer]) -> Trainer:
        """A training whose modalities have the same inputs and the same weights."""
        model = small_model(case.modalities, strategy=case.strategy, balancers=balancers)
        _make_alike(model)
        baselines = small_baselines(case.modalities)
        first = baselines[model.modalities[0]]
        for baseline in baselines.values():
            weights = cast(nn.Module, first.model).state_dict().items()
            cast(nn.Module, baseline.model).load_state_dict(
                {k.replace(first.modality, baseline.modality): x for k, x in weights}
            )
            object.__setattr__(baseline, "val_uar", first.val_uar)
        return trainer_of(
            model,
            _same_inputs(case.modalities),
            balancers,
            baselines=baselines,
            **self.settings_for(case),
        )

    def _check_unchanged(
        self, case: Setting, found: Trained, plain: Trained, words: tuple[str, str, str]
    ) -> None:
        what, attribute, cause = words
        off = _apart(found.branches(), plain.branches(), _start_of(case))
        require(
            off <= 0.01,  # not for NaN
            self.at(case),
            f"{what} trained otherwise than without the balancer: its branches' weights are "
            f"{100 * off:.3g} % of their change in training apart",
            expected=f"the same, as the test class says {attribute} = True",
            cause=cause,
        )

    def test_order_of_modalities(self) -> None:
        """Modalities named in another order end with the same weights, modality by modality."""
        if self.order_matters:
            skip(f"order_matters: {self.order_matters}")
        for modalities in (2, 3):
            for strategy in self.strategies():
                self._check_order(Setting(modalities, strategy))

    def _check_order(self, case: Setting) -> None:
        names = NAMES[: case.modalities]
        turned = names[::-1]
        adapted = [self.construct()]
        models = [
            small_model(n, strategy=case.strategy, balancers=adapted) for n in (names, turned)
        ]
        inputs = {m: torch.randn(4, 4, generator=torch.Generator().manual_seed(0)) for m in names}
        with torch.no_grad():
            scores = [model.eval()(inputs) for model in models]
        require(
            torch.allclose(scores[0], scores[1], rtol=1e-4, atol=1e-5),
            self.at(case),
            "what `adapt` returns gives other scores with the modalities in another order and "
            "its weights loaded by name",
            expected="the same scores",
            cause="weights in the order of the modalities: name them by modality "
            "(nn.ModuleDict, nn.ParameterDict)",
        )
        found, expected = self.train(case, modalities=turned), self.first(case).trained
        off = _apart(found.branches(), expected.branches(), _start_of(case))
        require(
            off <= 0.01,
            self.at(case),
            f"with the modalities in the order {', '.join(turned)} instead of "
            f"{', '.join(names)} the branches' weights end {100 * off:.3g} % of their change in "
            "training apart",
            expected="the same weights for each modality, whatever the order",
            cause="a modality taken by its place (the first, the last) instead of by what is "
            "known of it; random numbers drawn for one after the other: say so in "
            "order_matters, or draw them once",
        )


def _start_of(case: Setting) -> Weights:
    return dict(small_model(case.modalities, strategy=case.strategy).state_dict())


def _apart(found: Weights, expected: Weights, start: Weights) -> float:
    """Largest distance of two weights, as a share of the largest change since the start."""
    distance = max(float((found[key] - x).abs().max()) for key, x in expected.items())
    change = max(float((x - start[key]).abs().max()) for key, x in expected.items())
    return distance / change if change else math.inf * (distance > 0)


@torch.no_grad()
def _make_alike(model: FusionModel) -> None:
    """Give every modality the weights of the first."""
    first, *others = model.modalities
    weights = model.state_dict()
    for key, value in weights.items():
        parts = key.split(".")
        for modality in others:
            if modality in parts:
                at = parts.index(modality)
                value.copy_(weights[".".join([*parts[:at], first, *parts[at + 1 :]])])


def _same_inputs(modalities: int) -> Features:
    features = small_features(modalities)
    first = features.arrays[NAMES[0]]
    return Features(
        features.modalities,
        dict.fromkeys(features.modalities, first),
        features.targets.numpy(),
        features.device,
        resident_bytes=10**9,
    )


_ALONE = (
    "a single modality is",
    "single_unchanged",
    "a mean over the other modalities where there are none, a share of one modality, or a loss "
    "of its own that is added even so",
)
_EQUAL = (
    "equal modalities are",
    "equal_unchanged",
    "a ratio that is not 1, or a difference that is not 0, for equal ones; an index of the "
    "largest where there is none",
)
