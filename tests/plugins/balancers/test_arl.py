import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from stand_in import StandIn

from fusion import Gradients
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import (
    SmallMaps,
    SmallStrategy,
    one_step,
    small_step,
    small_trainer,
)
from fusion.plugins.balancers.arl import ARL
from fusion.testing import BalancerSuite


class TestSuite(BalancerSuite):
    plugin = ARL
    parameters: ClassVar = {"start": 0}


@pytest.mark.slow
class TestWithoutLosses(BalancerSuite):
    plugin = ARL
    parameters: ClassVar = {"start": 0, "gamma": 0.0}
    single_unchanged = True


def weights(balancer, unimodal):
    return {m: float(w) for m, w in balancer.weights(unimodal).items()}


def logits_of(*probabilities):
    return torch.tensor(probabilities).log()


def test_two_modalities_by_hand():
    # The scores of a are (log 3, 0), p = (3/4, 1/4); those of b (1, -1), p = (0.880797, 0.119203).
    # c_a = log 3 = 1.098612, c_b = 2: the shares of the scores are 0.354540 and 0.645460, so those
    # of the others are 0.645460 and 0.354540.
    # H_a = 0.562335, H_b = 0.365335: h = 0.606181 and 0.393819, both above 0.3;
    # v_a = (1/0.606181) / (1/0.606181 + 1/0.393819) = 0.393819, v_b = 0.606181.
    # 8 * share * v = 8 * 0.645460 * 0.393819 = 2.033534 and 8 * 0.354540 * 0.606181 = 1.719324.
    # w_a = 1 / (1 + exp(1.719324 - 2.033534)) = 0.577912.
    unimodal = {"a": torch.tensor([[math.log(3), 0.0]]), "b": torch.tensor([[1.0, -1.0]])}
    found = weights(ARL(temperature=8.0), unimodal)
    assert found == pytest.approx({"a": 0.577912, "b": 0.422088}, abs=2e-5)


def test_smaller_scores_and_equal_entropy_get_more_weight():
    # Scores shifted by a constant have the same entropy and a larger size.
    own = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    found = weights(ARL(), {"a": own, "b": own + 3.0})
    assert found["a"] > 0.5 > found["b"]


def test_lower_entropy_and_equal_size_get_more_weight():
    # The sizes |2| + |0| and |1| + |-1| are equal, and so are the entropies; then b has a higher
    # entropy.
    same = {"a": torch.tensor([[2.0, 0.0]]), "b": torch.tensor([[1.0, -1.0]])}
    assert weights(ARL(), same) == pytest.approx({"a": 0.5, "b": 0.5})
    unsure = {"a": torch.tensor([[2.0, 0.0]]), "b": torch.tensor([[1.0, 1.0]])}
    found = weights(ARL(), unsure)
    assert found["a"] > 0.5 > found["b"]


def test_three_modalities_in_numpy():
    rng = np.random.default_rng(0)
    scores = {m: rng.normal(size=(8, 4)) * size for m, size in (("a", 1), ("b", 4), ("c", 0.2))}
    sizes = np.array([np.abs(f).mean(axis=0).sum() for f in scores.values()])
    share = (1 - sizes / sizes.sum()) / 2
    p = [np.exp(f) / np.exp(f).sum(axis=1, keepdims=True) for f in scores.values()]
    entropy = np.array([-(q * np.log(q)).sum(axis=1).mean() for q in p])
    h = np.maximum(entropy / entropy.sum(), 0.6 / 3)
    v = (1 / h) / (1 / h).sum()
    w = np.exp(8 * share * v)
    expected = dict(zip(scores, w / w.sum(), strict=True))
    given = {m: torch.tensor(f, dtype=torch.float32) for m, f in scores.items()}
    assert weights(ARL(), given) == pytest.approx(expected, rel=1e-4)
    turned = dict(reversed(given.items()))
    assert weights(ARL(), turned) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("modalities", [2, 3, 5])
def test_equal_modalities_get_equal_weights(modalities):
    scores = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    found = weights(ARL(), {f"m{i}": scores for i in range(modalities)})
    assert list(found.values()) == pytest.approx([1 / modalities] * modalities)


def test_a_certain_modality_does_not_get_all_the_weight():
    # h_a = 0 is raised to 0.3: v = (1/0.3, 1/1) / (1/0.3 + 1) = (0.769231, 0.230769).
    certain = {"a": torch.tensor([[100.0, 0.0]]), "b": torch.tensor([[50.0, 50.0]])}
    w = math.exp(8 * 0.5 * 0.769231), math.exp(8 * 0.5 * 0.230769)
    assert weights(ARL(), certain)["a"] == pytest.approx(w[0] / sum(w), rel=1e-4)
    both = {"a": torch.tensor([[1000.0, 0.0]]), "b": torch.tensor([[1000.0, 0.0]])}
    assert weights(ARL(), both) == pytest.approx({"a": 0.5, "b": 0.5})
    silent = {"a": torch.zeros(2, 2), "b": torch.zeros(2, 2)}
    assert weights(ARL(), silent) == pytest.approx({"a": 0.5, "b": 0.5})


def test_the_factor_acts_after_the_start_epoch():
    unimodal = {"a": logits_of((0.75, 0.25)), "b": logits_of((0.6, 0.4))}
    balancer = ARL(start=5)
    expected = weights(balancer, unimodal)
    for epoch in (1, 5, 6):
        gradients = Gradients({"a": [torch.ones(1)]})  # b is frozen
        balancer.gradients(gradients, StandIn(unimodal=unimodal, epoch=epoch))
        found = {m: float(f) for m, f in gradients.factors.items()}
        assert found == ({} if epoch <= 5 else pytest.approx({"a": 1 + expected["a"]}))


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_in_a_training(strategy):
    balancer = ARL(start=0)
    step = one_step(small_trainer([balancer], 3, strategy=strategy))
    expected = balancer.weights(step.unimodal)
    assert sum(balancer.metrics().values()) == pytest.approx(1.0)
    assert balancer.metrics() == pytest.approx({f"arl.{m}": float(w) for m, w in expected.items()})


def test_losses():
    step = small_step()
    found = ARL().losses({"fused": step.fused_loss}, step)
    for m in step.modalities:
        expected = 4 * float(step.unimodal_losses[m].detach())
        assert float(found[f"unimodal.{m}"].detach()) == pytest.approx(expected)
    assert ARL.takes_over == ("unimodal_losses",)


@pytest.mark.parametrize("bad", [{"gamma": -1}, {"temperature": -1}, {"start": -1}])
def test_wrong_parameters(bad):
    with pytest.raises(ParameterError, match="arl needs"):
        ARL(**bad)
