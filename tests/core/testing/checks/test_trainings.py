"""Small trainings with a balancer, and differences between two of them."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from right_balancers import UNCHANGED, Adapting, Fine, NoMaps

from fusion import Balancer, Pass
from fusion.core.testing.checks.assertions import CheckFailed, without_pytest
from fusion.core.testing.checks.problem import ByName, small_trainer
from fusion.core.testing.checks.trainings import Setting, Trained, fitted, usual_numbers
from fusion.core.testing.runner import suite_for
from fusion.testing import BalancerSuite

CASE = Setting(2, ByName)


@pytest.fixture(scope="module")
def suite():
    return suite_for("balancer", Fine, **UNCHANGED)


@pytest.fixture(scope="module")
def first(suite):
    """Return a watched training with a valid balancer."""
    return suite.first(CASE, watched=True)


# -- differences between two trainings ---------------------------------------------------


def test_a_repeated_training_is_equal(suite, first):
    again = suite.train(CASE, [suite.construct()])
    assert again.differs_from(first.trained) == ""
    suite.check_same(first, again, "they differ in {}", expected="the same", cause="a seed")
    assert [record["epoch"] for record in again.history] == [1, 2]
    assert "seconds" not in again.history[0]


def changed(weights):
    """Return a key of `weights`, and the weights with another tensor for the key."""
    key = next(key for key in weights if key.startswith("branches."))
    return key, {**weights, key: weights[key] + 1}


def test_weights_that_differ_are_named(suite, first):
    key, weights = changed(first.trained.weights)
    for part in ("weights", "best"):
        other = replace(first.trained, **{part: changed(getattr(first.trained, part))[1]})
        assert other.differs_from(first.trained) == f"the weights {key}"
    fewer = {k: x for k, x in first.trained.weights.items() if k != key}
    assert first.trained.differs_from(replace(first.trained, weights=fewer))
    with without_pytest(), pytest.raises(CheckFailed, match=f"differ in the weights {key}"):
        other = replace(first.trained, weights=weights)
        suite.check_same(first, other, "they differ in {}", expected="the same", cause="a seed")


def test_curves_that_differ_are_named():
    one = Trained([{"epoch": 1, "loss": 0.5, "gap": math.nan, "best": "a"}], {}, {})
    equal = Trained([{"epoch": 1, "loss": 0.5, "gap": math.nan, "best": "a"}], {}, {})
    assert one.differs_from(equal) == ""  # two NaNs do not differ
    other = Trained([{"epoch": 1, "loss": 0.25, "gap": 1.0, "best": "a"}], {}, {})
    assert one.differs_from(other) == "gap, loss of epoch 1"


def test_branches_excludes_the_weights_of_the_strategy(first):
    result = first.trained.branches()
    assert result and all(key.startswith("branches.") for key in result)
    assert len(result) < len(first.trained.weights)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("weights", "the weights branches.x hold NaN or infinite values"),
        ("history", "loss of epoch 1 is not finite"),
    ],
)
def test_non_finite_values_are_named(suite, part, words):
    good = Trained([{"epoch": 1, "loss": 0.5}], {"branches.x": torch.ones(2)}, {})
    suite.check_finite("here", good)
    bad = {
        "weights": {"branches.x": torch.tensor([1.0, math.inf])},
        "history": [{"epoch": 1, "loss": math.nan}],
    }[part]
    with without_pytest(), pytest.raises(CheckFailed, match=words):
        suite.check_finite("here", replace(good, **{part: bad}))


# -- trainings ---------------------------------------------------------------------------


def test_a_stopped_training_has_fewer_epochs():
    result, whole = fitted(small_trainer(epochs=3), stop_after=1), fitted(small_trainer(epochs=3))
    assert [record["epoch"] for record in result.history] == [1]
    assert result.history == whole.history[:1]
    assert result.differs_from(whole).startswith("the weights ")


def test_weights_are_of_the_last_epoch_and_best_those_of_the_trained_model():
    trainer = small_trainer(epochs=2)
    result = fitted(trainer)
    handed = trainer.model.state_dict()
    assert all(torch.equal(x, handed[key]) for key, x in result.best.items())
    last = fitted(small_trainer(epochs=2), stop_after=2).weights
    assert all(torch.equal(x, last[key]) for key, x in result.weights.items())


def numbers():
    return [float(np.random.rand()), random.random(), float(torch.rand(()))]


def test_usual_numbers_restores_the_random_generators():
    def draw(aside):
        np.random.seed(3)
        random.seed(3)
        torch.manual_seed(3)
        if aside:
            with usual_numbers(), usual_numbers(1):
                numbers()
        return numbers()

    assert draw(aside=True) == draw(aside=False)
    drawn = []
    for seed in (0, 0, 1):
        with usual_numbers(seed):
            drawn.append(numbers())
    assert drawn[0] == drawn[1]
    # The seed is for numpy and Python; torch has the training's own seed.
    assert drawn[2][0] != drawn[0][0] and drawn[2][1] != drawn[0][1]
    assert drawn[2][2] == drawn[0][2]


def test_settings_as_text_and_as_training_options(suite):
    assert str(Setting(1, ByName)) == "1 modality, a strategy of embeddings, sgd"
    assert str(Setting(3, ByName, "adamw")) == "3 modalities, a strategy of embeddings, adamw"
    assert suite.settings_for(CASE)["lr"] == 0.1
    assert suite.settings_for(replace(CASE, optimizer="adamw"), epochs=5)["epochs"] == 5
    own = suite_for("balancer", Fine, settings={"lr": 0.5}, epochs=4)
    assert (own.settings_for(CASE)["lr"], own.settings_for(CASE)["epochs"]) == (0.5, 4)
    assert own.settings_for(CASE, lr=0.25)["lr"] == 0.25
    assert len(suite.cases()) == 2 * 3 * 2
    assert {case.modalities for case in suite.pairs()} == {2, 3}


# -- the first training and its record -----------------------------------------------------


def test_the_first_training_is_shared_and_unchanged_by_watching(suite, first):
    assert suite.first(CASE, watched=True) is first
    plain = suite.first(CASE)
    assert plain is not first
    assert plain.trained.differs_from(first.trained) == ""


def test_every_step_is_recorded(first):
    steps = 2 * 3  # 23 clips in batches of 8, two epochs
    assert len(first.watch.probes) == steps * 2
    assert [m for m, _, _ in first.watch.probes[:2]] == ["voice", "face"]
    for _, result, expected in first.watch.probes:
        torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-6)
    assert list(first.watch.losses_seen) == ["fused"]


class Decides(Balancer):
    """Valid: two passes."""

    name = "decides"
    takes_over = ("passes",)

    def passes(self, step):
        return [Pass(), Pass()]


def test_decisions_are_recorded():
    decided = suite_for("balancer", Decides, epochs=1).first(CASE, watched=True).watch.decided
    assert decided["passes"] == [[Pass(), Pass()]] * 3
    assert set(decided["stages"]) <= {None}


class Breaks(Balancer):
    """Raises in every step."""

    name = "breaks"

    def gradients(self, gradients, step):
        raise ValueError("no gradient")


def test_an_error_in_training_fails_the_check_that_needs_the_result():
    suite = suite_for("balancer", Breaks)
    first = suite.first(CASE, ended=False)
    assert first.error is not None and not hasattr(first, "trained")
    with without_pytest(), pytest.raises(CheckFailed, match="training raises ValueError: no grad"):
        suite.first(CASE)
    with without_pytest(), pytest.raises(CheckFailed, match="a try raises ValueError: no gradient"):
        suite.train(CASE, doing="a try")


# -- kinds of strategy -------------------------------------------------------------------


def test_a_balancer_that_refuses_maps_is_not_tested_with_maps():
    suite = type("TestIt", (BalancerSuite,), {"plugin": NoMaps})()
    assert {case.strategy.takes for case in suite.cases()} == {"embeddings"}
    suite = type("TestIt", (BalancerSuite,), {"plugin": Adapting})()
    assert {case.strategy.takes for case in suite.cases()} == {"embeddings", "maps"}
