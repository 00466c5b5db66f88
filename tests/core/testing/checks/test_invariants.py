"""Checks of invariances: a single modality, equal modalities, and the order of modalities."""

import pytest
import torch
from right_balancers import UNCHANGED, Adapting, Fine, Wrapped
from suites import failures, own_checks
from torch import nn

from fusion.core.testing.checks.invariants import InvariantChecks
from fusion.testing import BalancerSuite


class FirstFirst(Fine):
    """Treats the first modality differently."""

    def factor(self, scores, m):
        return 0.5 if m == next(iter(scores)) else 1.0


class OrderedWeights(Adapting):
    """Weights that depend on the order of the modalities."""

    def adapt(self, strategy, dims):
        wrapped = Wrapped(strategy)
        wrapped.shares = nn.Parameter(torch.rand(len(dims)))
        forward = strategy.forward
        strategy.forward = lambda inputs: forward(
            {m: share * inputs[m] for m, share in zip(dims, wrapped.shares, strict=True)}
        )
        return wrapped


class AlwaysSlow(Fine):
    """Slows down single and equal modalities."""

    def factor(self, scores, m):
        return 0.5


# Plugin -> the check that it fails, and words of the message.
WRONG = {
    FirstFirst: ("order_of_modalities", "whatever the order"),
    OrderedWeights: ("order_of_modalities", "the strategy from `adapt` gives other scores"),
}


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_broken_balancer_fails_its_check(plugin):
    check, words = WRONG[plugin]
    result = failures(BalancerSuite, plugin, only=[f"test_{check}"])
    assert words in result[f"test_{check}"]
    assert "usual cause:" in result[f"test_{check}"]


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("test_one_modality", "a single modality is trained otherwise than without the balancer"),
        ("test_equal_modalities", "equal modalities are trained otherwise than without"),
    ],
)
def test_optional_invariants_are_checked_if_requested(check, words):
    assert failures(BalancerSuite, AlwaysSlow, only=[check]) == {}  # not requested
    assert words in failures(BalancerSuite, AlwaysSlow, only=[check], **UNCHANGED)[check]


def test_order_matters_allows_dependence_on_the_order():
    result = failures(
        BalancerSuite, FirstFirst, only=["test_order_of_modalities"], order_matters="by its place"
    )
    assert result == {}


def test_every_check_has_a_balancer_that_fails_it():
    optional = {"test_one_modality", "test_equal_modalities"}
    intended = {f"test_{check}" for check, _ in WRONG.values()}
    assert own_checks(InvariantChecks) == intended | optional
