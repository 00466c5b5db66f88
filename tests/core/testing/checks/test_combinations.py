"""Combination checks of balancers: each broken balancer fails the corresponding check."""

import pytest
import torch
from right_balancers import Adapting, Fine, Wrapped
from suites import failures, own_checks
from torch import nn

from fusion.core.testing.checks.combinations import CombinationChecks
from fusion.testing import BalancerSuite


class DropsLosses(Fine):
    """Returns a new dict of losses instead of changing the given one."""

    def losses(self, losses, step):
        return {"fused": losses["fused"]}


class CountsOnAll(Fine):
    """Scales gradients that do not exist."""

    def gradients(self, gradients, step):
        for m in step.modalities:
            gradients.scale(m, 1.0)


class OncePerStep(Fine):
    """Assumes a single pass per step."""

    def setup(self, context):
        super().setup(context)
        self.seen = -1

    def gradients(self, gradients, step):
        assert step.index == self.seen + 1
        self.seen = step.index


class NobodyIsAbsent(Fine):
    """Assumes that every clip has every modality."""

    def losses(self, losses, step):
        assert step.present.all()
        return losses


class NotAStrategy(Adapting):
    """Returns a plain module from `adapt`."""

    def adapt(self, strategy, dims):
        module = nn.Module()
        module.takes, module.forward, module.needs_baselines = strategy.takes, strategy, False
        return module


class ForgetsMaps(Adapting):
    """A wrapper that always takes embeddings."""

    def adapt(self, strategy, dims):
        wrapped = Wrapped(strategy)
        wrapped.takes = "embeddings"
        return wrapped


class OneClassTooMany(Adapting):
    """A head with an off-by-one number of classes."""

    def adapt(self, strategy, dims):
        return Wrapped(strategy, strategy.head.out_features)


class UnsavedScale(Adapting):
    """A random number that is not in the state dict."""

    def adapt(self, strategy, dims):
        wrapped = Wrapped(strategy)
        del wrapped.scale
        wrapped.scale = torch.rand(())
        return wrapped


# Plugin -> the check that it fails, and words of the message.
WRONG = {
    DropsLosses: ("beside_another_balancer", "drops the loss of a balancer named before this one"),
    CountsOnAll: ("branches_that_stand_still", "raises KeyError: 'face'"),
    OncePerStep: ("passes_of_one_modality", "in passes of one modality each raises AssertionError"),
    NobodyIsAbsent: ("absent_modalities", "while clips lack a modality raises AssertionError"),
    NotAStrategy: ("adapt", "is not a Strategy"),
    ForgetsMaps: ("adapt", "`adapt` returns Wrapped, which takes embeddings"),
    OneClassTooMany: ("adapt", "returned a tensor of shape (4, 6) from forward"),
    UnsavedScale: ("adapt", "gives other scores after loading another one's state dict"),
}


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_broken_balancer_fails_its_check(plugin):
    check, words = WRONG[plugin]
    result = failures(BalancerSuite, plugin, only=[f"test_{check}"])
    assert words in result[f"test_{check}"]
    assert "usual cause:" in result[f"test_{check}"]


def test_every_check_has_a_balancer_that_fails_it():
    assert own_checks(CombinationChecks) == {f"test_{check}" for check, _ in WRONG.values()}
