import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stand_in import StandIn

from fusion import Gradients
from fusion.core.errors import ParameterError
from fusion.plugins.balancers.gradscale import GradScale


def factors(balancer, norms, steps=1):
    names = list(norms)
    balancer.setup(StandIn(modalities=names))
    for _ in range(steps):
        gradients = Gradients({m: [torch.tensor([float(n)])] for m, n in norms.items()})
        balancer.gradients(gradients, StandIn(modalities=gradients.modalities))
    return {m: float(f) for m, f in gradients.factors.items()}


def test_fixed_halves_every_branch():
    assert factors(GradScale(mode="fixed"), {"a": 7.0, "b": 0.1}) == {"a": 0.5, "b": 0.5}


def test_adaptive_by_hand():
    # Norms 1 and 4: geometric mean 2, so (2/1)^0.5 and (2/4)^0.5.
    found = factors(GradScale(alpha=0.5), {"a": 1.0, "b": 4.0})
    assert found["a"] == pytest.approx(math.sqrt(2))
    assert found["b"] == pytest.approx(math.sqrt(0.5))
    # alpha = 1 evens the norms out; three modalities take the geometric mean of three.
    found = factors(GradScale(alpha=1.0, limit=100), {"a": 1.0, "b": 2.0, "c": 4.0})
    assert found == pytest.approx({"a": 2.0, "b": 1.0, "c": 0.5})


def test_the_limit_holds():
    found = factors(GradScale(alpha=1.0, limit=3.0), {"a": 1.0, "b": 1e6})
    assert found == pytest.approx({"a": 3.0, "b": 1 / 3})


def test_the_norm_is_a_running_mean():
    balancer = GradScale(alpha=1.0, limit=1e9, momentum=0.75)
    factors(balancer, {"a": 1.0, "b": 1.0})
    gradients = Gradients({"a": [torch.tensor([5.0])], "b": [torch.tensor([1.0])]})
    balancer.gradients(gradients, StandIn(modalities=gradients.modalities))
    # a: 0.75 * 1 + 0.25 * 5 = 2; geometric mean of (2, 1) is sqrt 2.
    assert float(gradients.factors["a"]) == pytest.approx(math.sqrt(2) / 2)


@given(
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5),
    st.floats(0, 2),
    st.floats(1, 10),
)
def test_invariants(norms, alpha, limit):
    names = [f"m{i}" for i in range(len(norms))]
    given_norms = dict(zip(names, norms, strict=True))
    found = factors(GradScale(alpha=alpha, limit=limit), given_norms)
    assert all(1 / limit - 1e-5 <= f <= limit * (1 + 1e-5) for f in found.values())
    if len(set(norms)) == 1:  # equal modalities, or one alone: nothing changes
        assert all(f == pytest.approx(1.0, abs=1e-4) for f in found.values())
    flipped = factors(
        GradScale(alpha=alpha, limit=limit), dict(reversed(list(given_norms.items())))
    )
    assert flipped == pytest.approx(found, rel=1e-5)


def test_a_dead_branch_does_not_divide_by_zero():
    found = factors(GradScale(), {"a": 0.0, "b": 1.0})
    assert found == pytest.approx({"a": 3.0, "b": 1 / 3})


def test_state_survives():
    first = GradScale()
    factors(first, {"a": 1.0, "b": 4.0}, steps=3)
    second = GradScale()
    second.load_state_dict(first.state_dict())
    assert second.metrics() == first.metrics() == pytest.approx(
        {"gradscale.a": math.sqrt(2), "gradscale.b": math.sqrt(0.5)}
    )  # fmt: skip


@pytest.mark.parametrize("bad", [{"scale": 0}, {"alpha": -1}, {"limit": 0.5}, {"momentum": 1.0}])
def test_parameters_out_of_range(bad):
    with pytest.raises(ParameterError, match="gradscale needs"):
        GradScale(**bad)
