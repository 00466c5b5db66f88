from types import SimpleNamespace
from typing import ClassVar

import pytest

from fusion.core.contracts import ParameterGroup
from fusion.core.contracts.errors import ParameterError, UnknownNameError
from fusion.core.testing.checks.problem import SmallMaps, small_trainer
from fusion.plugins.balancers.lr import LearningRates
from fusion.testing import BalancerSuite


class TestFineTuning(BalancerSuite):
    plugin = LearningRates


@pytest.mark.slow
class TestControl(BalancerSuite):
    plugin = LearningRates
    parameters: ClassVar = {"branch": 1.0, "scale": 3.0}


@pytest.mark.slow
class TestOfOnes(BalancerSuite):
    plugin = LearningRates
    parameters: ClassVar = {"branch": 1.0}
    single_unchanged = True
    equal_unchanged = True


def rates(balancer, lr=0.02, names=("voice", "face")):
    groups = [ParameterGroup("branch", m, [], lr, 0.1) for m in names]
    groups.append(ParameterGroup("head", None, [], lr, 0.1))
    groups += [ParameterGroup("probe", m, [], lr, 0.1) for m in names]
    return {(g.role, g.modality): g.lr for g in balancer.parameter_groups(groups)}


def test_by_hand():
    # Branches have 0.02 * 0.01, the head 0.02 * 1; probes keep their rate.
    assert rates(LearningRates()) == pytest.approx(
        {
            ("branch", "voice"): 0.0002,
            ("branch", "face"): 0.0002,
            ("head", None): 0.02,
            ("probe", "voice"): 0.02,
            ("probe", "face"): 0.02,
        }
    )
    # The scale doubles all: branches 2 * 0.5, but voice 2 * 0.25, head 2 * 3, probes 2.
    result = rates(LearningRates(branch=0.5, head=3.0, only=("voice:0.25",), scale=2.0), lr=1.0)
    assert result == pytest.approx(
        {
            ("branch", "voice"): 0.5,
            ("branch", "face"): 1.0,
            ("head", None): 6.0,
            ("probe", "voice"): 2.0,
            ("probe", "face"): 2.0,
        }
    )


def test_the_control_multiplies_every_rate():
    assert set(rates(LearningRates(branch=1.0, scale=3.0), lr=1.0).values()) == {3.0}


def test_factors_of_two_balancers_multiply():
    groups = [ParameterGroup("branch", "voice", [], 1.0, 0.0)]
    for balancer in (LearningRates(branch=0.5), LearningRates(branch=0.1)):
        groups = balancer.parameter_groups(groups)
    assert groups[0].lr == pytest.approx(0.05)


def test_the_given_groups_are_not_changed():
    group = ParameterGroup("branch", "voice", [], 1.0, 0.3)
    (changed,) = LearningRates(branch=0.5).parameter_groups([group])
    assert (group.lr, changed.lr, changed.weight_decay) == (1.0, 0.5, 0.3)


@pytest.mark.parametrize("strategy", [None, SmallMaps])
def test_the_optimizer_uses_the_rates(strategy):
    chosen = {} if strategy is None else {"strategy": strategy}
    balancer = LearningRates(branch=0.1, only=("face:0.5",))
    groups = small_trainer([balancer], lr=0.01, **chosen).optimizer.groups
    result = {(g.role, g.modality): g.lr for g in groups}
    assert result["branch", "voice"] == pytest.approx(0.001)
    assert result["branch", "face"] == pytest.approx(0.005)
    assert result["head", None] == pytest.approx(0.01)


def test_the_schedule_multiplies_the_rates():
    trainer = small_trainer([LearningRates(branch=0.1)], lr=0.01, epochs=4)
    trainer.fit()
    # Of steps 0 .. n-1 without warm-up, the last has 0.5 * (1 + cos(pi * (n - 1) / n)).
    last = trainer.optimizer.schedule(trainer.progress.step - 1)
    live = [float(g["lr"]) for g in trainer.optimizer._optimizer.param_groups]
    assert 0 < last < 0.1
    assert live[0] == pytest.approx(0.001 * last) and live[2] == pytest.approx(0.01 * last)


def test_an_unknown_modality():
    context = SimpleNamespace(modalities=["voice", "face"])
    with pytest.raises(UnknownNameError, match=r"no modality 'vioce'.*'voice'.*Known: face, voice"):
        LearningRates(only=("vioce:0.1",)).setup(context)


@pytest.mark.parametrize(
    ("bad", "output"),
    [
        ({"branch": 0.0}, "branch=0.0"),
        ({"head": -1.0}, "head=-1.0"),
        ({"scale": float("inf")}, "scale=inf"),
        ({"only": ("mel:0",)}, "only=mel:0"),
        ({"only": ("mel:nan",)}, "only=mel:nan"),
        ({"only": ("mel",)}, "MODALITY:FACTOR, and was given 'mel'"),
        ({"only": ("mel:fast",)}, "given 'mel:fast'"),
        ({"only": (":0.1",)}, "given ':0.1'"),
        ({"only": ("mel:1", "mel:2")}, "'mel' twice"),
    ],
)
def test_wrong_parameters(bad, output):
    with pytest.raises(ParameterError, match=output):
        LearningRates(**bad)
