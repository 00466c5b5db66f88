import math
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stand_in import StandIn

from fusion import Gradients
from fusion.core.contracts.errors import ParameterError
from fusion.core.runs.balancing import check_composition
from fusion.core.testing.checks.problem import (
    SmallMaps,
    SmallStrategy,
    one_step,
    small_step,
    small_trainer,
)
from fusion.plugins.balancers.mlb import MLB
from fusion.plugins.balancers.unimodal_loss import UnimodalLoss
from fusion.testing import BalancerSuite


class TestSuite(BalancerSuite):
    plugin = MLB


@pytest.mark.slow
class TestWithoutLosses(BalancerSuite):
    plugin = MLB
    parameters: ClassVar = {"gamma": 0.0}
    single_unchanged = True
    equal_unchanged = True


def factors(balancer, scores):
    found = balancer.factors({m: torch.tensor(float(s)) for m, s in scores.items()})
    return {m: float(k) for m, k in found.items()}


def test_two_modalities_by_hand():
    # a: rho = 4/6, k = 1 + tanh(1.5 * (4/6 - 1)) = 1 - tanh(0.5) = 0.537883
    # b: rho = 6/4, k = 1 + tanh(1.5 * 0.5) = 1 + tanh(0.75) = 1.635149
    found = factors(MLB(alpha=1.5), {"a": 6.0, "b": 4.0})
    assert found == pytest.approx({"a": 0.537883, "b": 1.635149}, abs=1e-5)


def test_the_boost_is_for_lagging_modalities():
    # With boost 1.2, b gets 1 + 0.2 * tanh(0.75) = 1.127030, and a the same factor as before.
    found = factors(MLB(alpha=1.5, boost=1.2), {"a": 6.0, "b": 4.0})
    assert found == pytest.approx({"a": 0.537883, "b": 1.127030}, abs=1e-5)
    assert factors(MLB(boost=1.0), {"a": 6.0, "b": 4.0})["b"] == 1.0


def test_three_modalities_by_hand():
    # rho: a mean(4, 2)/6 = 0.5;  b mean(6, 2)/4 = 1;  c mean(6, 4)/2 = 2.5.
    found = factors(MLB(alpha=1.0), {"a": 6.0, "b": 4.0, "c": 2.0})
    assert found == pytest.approx({"a": 1 - math.tanh(0.5), "b": 1.0, "c": 1 + math.tanh(1.5)})


@given(
    st.lists(st.floats(0, 16), min_size=1, max_size=5),
    st.floats(0, 5),
    st.floats(1, 4),
)
def test_invariants(scores, alpha, boost):
    named = {f"m{i}": s for i, s in enumerate(scores)}
    balancer = MLB(alpha=alpha, boost=boost)
    found = factors(balancer, named)
    assert all(-1e-6 <= k <= boost + 1e-5 for k in found.values())
    if len(set(scores)) == 1:
        assert all(k == pytest.approx(1.0, abs=1e-4) for k in found.values())
    assert factors(balancer, dict(reversed(named.items()))) == pytest.approx(found, abs=1e-4)


def test_branches_have_the_factor():
    scores = {"a": torch.tensor(6.0), "b": torch.tensor(4.0)}
    gradients = Gradients({"b": [torch.tensor([2.0])]})  # a is frozen
    MLB().gradients(gradients, StandIn(scores=lambda: scores))
    assert gradients["b"][0].tolist() == [2.0]
    assert {m: float(k) for m, k in gradients.factors.items()} == pytest.approx({"b": 1.635149})


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_in_a_training(strategy):
    balancer = MLB(alpha=0.7)
    step = one_step(small_trainer([balancer], strategy=strategy))
    voice, face = (float(s) for s in step.scores().values())
    assert balancer.metrics() == pytest.approx(
        {
            "mlb.voice": 1 + math.tanh(0.7 * (face / voice - 1)),
            "mlb.face": 1 + math.tanh(0.7 * (voice / face - 1)),
        },
        rel=1e-4,
    )


def test_the_losses_are_those_of_unimodal_loss():
    step = small_step()
    found, expected = (b(gamma=2.0).losses({}, step) for b in (MLB, UnimodalLoss))
    assert _numbers(found) == _numbers(expected)


def _numbers(losses):
    return {name: float(loss.detach()) for name, loss in losses.items()}


def test_a_second_balancer_of_the_same_losses_is_refused():
    with pytest.raises(ParameterError, match="single-modality losses reach the branches"):
        check_composition([MLB(), UnimodalLoss()])


@pytest.mark.parametrize("bad", [{"alpha": -1}, {"boost": 0.9}, {"gamma": -0.1}])
def test_wrong_parameters(bad):
    with pytest.raises(ParameterError, match="mlb needs"):
        MLB(**bad)
