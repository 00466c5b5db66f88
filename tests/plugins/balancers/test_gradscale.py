import math
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stand_in import StandIn

from fusion import Gradients
from fusion.core.contracts.errors import ParameterError
from fusion.core.registry.parameters import bind
from fusion.plugins.balancers.gradscale import GradScale
from fusion.testing import BalancerSuite

finite = {"allow_nan": False, "allow_infinity": False}


def begun(balancer, names):
    balancer.setup(StandIn(modalities=list(names)))
    return balancer


def after(balancer, losses, norms=None):
    """Return the factors of a step with these probe losses and gradient norms of the branches."""
    norms = norms or dict.fromkeys(losses, 1.0)
    gradients = Gradients({m: [torch.tensor([float(n)])] for m, n in norms.items()})
    tensors = {m: torch.tensor(float(loss)) for m, loss in losses.items()}
    balancer.gradients(gradients, StandIn(modalities=list(losses), unimodal_losses=tensors))
    return {m: float(f) for m, f in gradients.factors.items()}


def factors(balancer, norms, steps=1):
    begun(balancer, norms)
    for _ in range(steps):
        found = after(balancer, dict.fromkeys(norms, 1.0), norms)
    return found


def test_fixed_halves_every_branch():
    assert factors(GradScale(mode="fixed"), {"a": 7.0, "b": 0.1}) == {"a": 0.5, "b": 0.5}


# -- progress, the default -------------------------------------------------------------


def test_progress_by_hand():
    balancer = begun(GradScale(alpha=0.5, momentum=0.0, limit=10.0), "ab")
    assert balancer.mode == "progress"
    assert after(balancer, {"a": 2.0, "b": 1.0}) == {"a": 1.0, "b": 1.0}  # the first step
    # The remaining losses are 0.5 / 2 = 1/4 of a, 1 / 1 = 1 of b. The factor of b is (1 /
    # (1/4))^0.5.
    assert after(balancer, {"a": 0.5, "b": 1.0}) == pytest.approx({"a": 1.0, "b": 2.0})
    # b catches up: 1/16 of its loss remains, and 1/4 of that of a.
    assert after(balancer, {"a": 0.5, "b": 1 / 16}) == pytest.approx({"a": 2.0, "b": 1.0})


def test_progress_follows_the_running_mean_of_the_losses():
    balancer = begun(GradScale(alpha=1.0, momentum=0.75, limit=100.0), "abc")
    after(balancer, {"a": 1.0, "b": 2.0, "c": 4.0})
    # The means are 0.75 + 0.25 * 0.2 = 0.8 (a), 1.5 + 0.25 * 2 = 2 (b), 3 + 0.25 * 2 = 3.5 (c).
    found = after(balancer, {"a": 0.2, "b": 2.0, "c": 2.0})
    # The remaining losses are 0.8, 1, 0.875, divided by the smallest.
    assert found == pytest.approx({"a": 1.0, "b": 1.25, "c": 0.875 / 0.8})


def test_the_limit_of_progress_holds():
    balancer = begun(GradScale(alpha=1.0, momentum=0.0, limit=3.0), "ab")
    after(balancer, {"a": 1.0, "b": 1.0})
    assert after(balancer, {"a": 1e-6, "b": 1.0}) == pytest.approx({"a": 1.0, "b": 3.0})


def test_progress_does_not_depend_on_the_norms():
    one, other = begun(GradScale(), "ab"), begun(GradScale(), "ab")
    for losses in ({"a": 1.0, "b": 1.0}, {"a": 0.3, "b": 0.9}):
        found = after(one, losses, {"a": 1.0, "b": 100.0})
        assert found == after(other, losses, {"a": 7.0, "b": 0.01})


def test_a_loss_of_zero_does_not_divide_by_zero():
    balancer = begun(GradScale(momentum=0.0), "ab")
    found = after(balancer, {"a": 0.0, "b": 1.0})
    assert found == {"a": 1.0, "b": 1.0}
    found = after(balancer, {"a": 0.0, "b": 0.0})
    assert found["a"] == pytest.approx(3.0) and found["b"] == 1.0


def test_a_modality_without_clips_in_the_batch_has_factor_one():
    balancer = begun(GradScale(momentum=0.0), "ab")
    after(balancer, {"a": 1.0, "b": 1.0})
    gradients = Gradients({m: [torch.tensor([1.0])] for m in "ab"})
    step = StandIn(modalities=["a"], unimodal_losses={"a": torch.tensor(0.1)})
    balancer.gradients(gradients, step)
    assert {m: float(f) for m, f in gradients.factors.items()} == {"a": 1.0}


@given(
    st.lists(
        st.lists(st.floats(1e-6, 1e3, **finite), min_size=3, max_size=3), min_size=1, max_size=6
    ),
    st.floats(0, 2),
    st.floats(1, 10),
    st.floats(0, 0.99),
)
def test_progress_is_bounded_and_never_below_one(steps, alpha, limit, momentum):
    balancer = begun(GradScale(alpha=alpha, limit=limit, momentum=momentum), "abc")
    turned = begun(GradScale(alpha=alpha, limit=limit, momentum=momentum), "cba")
    for losses in steps:
        found = after(balancer, dict(zip("abc", losses, strict=True)))
        assert all(1.0 <= f <= limit * (1 + 1e-5) for f in found.values())
        assert min(found.values()) == 1.0  # the leading branch has factor one
        again = after(turned, dict(zip("cba", losses[::-1], strict=True)))
        assert again == pytest.approx(found, rel=1e-4)


@given(st.lists(st.floats(1e-3, 1e3, **finite), min_size=1, max_size=5))
def test_branches_with_equal_progress_have_factor_one(losses):
    """Factors are one for losses that are proportional to each other, and for a single modality."""
    names = [f"m{i}" for i in range(3)]
    balancer = begun(GradScale(), names)
    for loss in losses:
        found = after(balancer, {m: (i + 1) * loss for i, m in enumerate(names)})
        assert found == pytest.approx(dict.fromkeys(names, 1.0), abs=1e-4)
    alone = begun(GradScale(), "a")
    assert all(after(alone, {"a": loss}) == {"a": 1.0} for loss in losses)


# -- norms -----------------------------------------------------------------------------


def norms_rule(**parameters):
    return GradScale(mode="norms", **parameters)


def test_norms_by_hand():
    # Norms 1 and 4 have the geometric mean 2, so the factors are (2/1)^0.5 and (2/4)^0.5.
    found = factors(norms_rule(alpha=0.5), {"a": 1.0, "b": 4.0})
    assert found["a"] == pytest.approx(math.sqrt(2))
    assert found["b"] == pytest.approx(math.sqrt(0.5))
    # alpha = 1 makes the norms equal; three modalities use the geometric mean of three norms.
    found = factors(norms_rule(alpha=1.0, limit=100), {"a": 1.0, "b": 2.0, "c": 4.0})
    assert found == pytest.approx({"a": 2.0, "b": 1.0, "c": 0.5})


def test_the_limit_of_norms_holds():
    found = factors(norms_rule(alpha=1.0, limit=3.0), {"a": 1.0, "b": 1e6})
    assert found == pytest.approx({"a": 3.0, "b": 1 / 3})


def test_the_norm_is_a_running_mean():
    balancer = norms_rule(alpha=1.0, limit=1e9, momentum=0.75)
    factors(balancer, {"a": 1.0, "b": 1.0})
    found = after(balancer, {"a": 1.0, "b": 1.0}, {"a": 5.0, "b": 1.0})
    # a: 0.75 * 1 + 0.25 * 5 = 2; the geometric mean of (2, 1) is sqrt 2.
    assert found["a"] == pytest.approx(math.sqrt(2) / 2)


@given(
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5),
    st.floats(0, 2),
    st.floats(1, 10),
)
def test_invariants_of_norms(norms, alpha, limit):
    names = [f"m{i}" for i in range(len(norms))]
    given_norms = dict(zip(names, norms, strict=True))
    found = factors(norms_rule(alpha=alpha, limit=limit), given_norms)
    assert all(1 / limit - 1e-5 <= f <= limit * (1 + 1e-5) for f in found.values())
    if len(set(norms)) == 1:  # equal modalities or a single one: nothing changes
        assert all(f == pytest.approx(1.0, abs=1e-4) for f in found.values())
    flipped = factors(
        norms_rule(alpha=alpha, limit=limit), dict(reversed(list(given_norms.items())))
    )
    assert flipped == pytest.approx(found, rel=1e-5)


def test_a_dead_branch_does_not_divide_by_zero():
    found = factors(norms_rule(), {"a": 0.0, "b": 1.0})
    assert found == pytest.approx({"a": 3.0, "b": 1 / 3})


# -- every mode ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["progress", "norms", "fixed"])
def test_state_survives(mode):
    steps = [({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 4.0}), ({"a": 0.2, "b": 1.9}, None)]
    first, second = (begun(GradScale(mode=mode), "ab") for _ in range(2))
    for losses, norms in steps:
        after(first, losses, norms)
    second.load_state_dict(first.state_dict())
    assert second.metrics() == first.metrics()
    assert set(second.metrics()) == {"gradscale.a", "gradscale.b"}
    following = {"a": 0.1, "b": 0.5}
    assert after(second, following) == after(first, following)


def test_a_new_training_starts_with_empty_means():
    balancer = begun(GradScale(momentum=0.5), "ab")
    after(balancer, {"a": 1.0, "b": 1.0})
    after(balancer, {"a": 0.1, "b": 1.0})
    begun(balancer, "ab")
    assert balancer.metrics() == {"gradscale.a": 1.0, "gradscale.b": 1.0}
    assert after(balancer, {"a": 5.0, "b": 1.0}) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize("bad", [{"scale": 0}, {"alpha": -1}, {"limit": 0.5}, {"momentum": 1.0}])
def test_parameters_out_of_range(bad):
    with pytest.raises(ParameterError, match="gradscale needs"):
        GradScale(**bad)


def test_an_old_mode_name_of_version_0_1_is_refused_with_the_new_name():
    with pytest.raises(ParameterError, match="'adaptive'") as caught:
        bind(GradScale, {"mode": "adaptive"}, owner="gradscale")
    assert "is now 'norms'" in caught.value.hint
    with pytest.raises(ParameterError) as caught:
        bind(GradScale, {"mode": "x"}, owner="gradscale")
    assert "fusion plugins show NAME" in caught.value.hint


class TestGradScale(BalancerSuite):
    plugin = GradScale
    single_unchanged = True
    equal_unchanged = True


@pytest.mark.slow
class TestFixedGradScale(BalancerSuite):
    plugin = GradScale
    parameters: ClassVar = {"mode": "fixed"}
