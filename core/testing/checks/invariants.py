"""Checks of balancers in situations where the balancer should not change the training."""

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
    """Checks with one modality, with equal modalities, and with modalities in another order."""

    def test_one_modality(self) -> None:
        """Check that the balancer changes nothing for a single modality, if `single_unchanged`."""
        if not self.single_unchanged:
            skip("single_unchanged is False")
        for strategy in self.strategies():
            case = Setting(1, strategy)
            self._check_unchanged(case, self.first(case).trained, self.train(case, []), _ALONE)

    def test_equal_modalities(self) -> None:
        """Check that a balancer with `equal_unchanged` has no effect on equal modalities."""
        if not self.equal_unchanged:
            skip("equal_unchanged is False")
        for modalities in (2, 3):
            for strategy in self.strategies():
                case = Setting(modalities, strategy)
                with running(self.at(case), "training", cause=ANY_TRAINING), usual_numbers():
                    balanced = fitted(self._equal_trainer(case, [self.construct()]))
                    plain = fitted(self._equal_trainer(case, []))
                self._check_unchanged(case, balanced, plain, _EQUAL)

    def _equal_trainer(self, case: Setting, balancers: Sequence[Balancer]) -> Trainer:
        """Return a trainer whose modalities have the same inputs and the same weights."""
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
        self, case: Setting, balanced: Trained, plain: Trained, words: tuple[str, str, str]
    ) -> None:
        subject, attribute, cause = words
        off = _apart(balanced.branches(), plain.branches(), _start_of(case))
        require(
            off <= 0.01,  # not for NaN
            self.at(case),
            f"{subject} trained otherwise than without the balancer: the branches' weights "
            f"differ by {100 * off:.3g} % of their change in training",
            expected=f"the same weights, because the test class sets {attribute} = True",
            cause=cause,
        )

    def test_order_of_modalities(self) -> None:
        """Check that each modality ends with the same weights if the order of names changes."""
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
            "the strategy from `adapt` gives other scores for another order of the modalities, "
            "with the same weights loaded by name",
            expected="the same scores",
            cause="weights that are stored by the position of the modality: store them by name "
            "(nn.ModuleDict, nn.ParameterDict)",
        )
        actual, expected = self.train(case, modalities=turned), self.first(case).trained
        off = _apart(actual.branches(), expected.branches(), _start_of(case))
        require(
            off <= 0.01,
            self.at(case),
            f"with the modalities in the order {', '.join(turned)} instead of "
            f"{', '.join(names)} the branches' weights differ by {100 * off:.3g} % of their "
            "change in training",
            expected="the same weights for each modality, whatever the order",
            cause="a modality that is chosen by its position (the first, the last); or random "
            "numbers that are drawn for one modality after the other: draw them once, or give "
            "the reason in order_matters",
        )


def _start_of(case: Setting) -> Weights:
    return dict(small_model(case.modalities, strategy=case.strategy).state_dict())


def _apart(actual: Weights, expected: Weights, start: Weights) -> float:
    """Return the largest difference of weights, as a share of the largest change in training."""
    distance = max(float((actual[key] - x).abs().max()) for key, x in expected.items())
    change = max(float((x - start[key]).abs().max()) for key, x in expected.items())
    return distance / change if change else math.inf * (distance > 0)


@torch.no_grad()
def _make_alike(model: FusionModel) -> None:
    """Copy the weights of the first modality to every other modality."""
    first, *rest = model.modalities
    weights = model.state_dict()
    for key, value in weights.items():
        parts = key.split(".")
        for modality in rest:
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
    "a mean over the other modalities when there are none, a modality's share when there is one "
    "modality, or the balancer's own loss, which is added even then",
)
_EQUAL = (
    "equal modalities are",
    "equal_unchanged",
    "a ratio that is not 1, or a difference that is not 0, for equal modalities; or the index of "
    "the largest value when all values are equal",
)
