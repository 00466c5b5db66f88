import math
from itertools import permutations

import numpy as np
import pytest
import torch

from fusion import Pass
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import (
    SmallMaps,
    SmallStrategy,
    one_step,
    small_model,
    small_step,
    small_trainer,
)
from fusion.plugins.balancers.mbsd import MBSD, pull_of
from fusion.testing import BalancerSuite


class TestConformance(BalancerSuite):
    plugin = MBSD
    single_unchanged = True


def by_hand(a, b, label):
    """Compute the pull of one pair on one clip in plain numpy."""
    p, q = (np.exp(x) / np.exp(x).sum() for x in (a, b))
    if label not in (a.argmax(), b.argmax()):
        return 0.0
    strong, weak = (p, q) if p[label] >= q[label] else (q, p)
    kl = (strong * np.log(strong / weak)).sum()
    return abs(p[label] - q[label]) * (((a - b) ** 2).mean() + kl)


def pull(clips, labels):
    tensors = {m: torch.tensor(x, dtype=torch.float32) for m, x in clips.items()}
    return float(pull_of(tensors, torch.tensor(labels)))


def test_two_classes_by_hand():
    # p of class 0 is 3/4 by a (log 3 against 0) and 1/2 by b, so w = 1/4.
    # MSE = (log 3)^2 / 2; KL = 3/4 log(3/2) + 1/4 log(1/2).
    result = pull({"a": [[math.log(3), 0.0]], "b": [[0.0, 0.0]]}, [0])
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert result == pytest.approx(0.25 * (math.log(3) ** 2 / 2 + kl))


def test_no_pull_if_neither_modality_is_right():
    assert pull({"a": [[0.0, 5.0]], "b": [[1.0, 2.0]]}, [0]) == 0


def test_equal_modalities_have_no_pull():
    equal = [[1.0, 0.5, -1.0]]
    assert pull({"a": equal, "b": equal, "c": equal}, [0]) == 0


def test_three_modalities_are_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    scores = {m: rng.normal(size=(5, 4)) for m in "abc"}
    labels = rng.integers(0, 4, size=5)
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    expected = np.mean(
        [[by_hand(scores[i][n], scores[j][n], labels[n]) for n in range(5)] for i, j in pairs]
    )
    assert expected > 0
    for order in permutations("abc"):
        assert pull({m: scores[m] for m in order}, labels) == pytest.approx(expected, rel=1e-5)


def test_the_stronger_modality_is_the_target_of_the_divergence():
    a = torch.tensor([[2.0, 0.0]], requires_grad=True)
    b = torch.tensor([[0.5, 0.0]], requires_grad=True)
    pull_of({"a": a, "b": b}, torch.tensor([0])).backward()
    # a is stronger: its gradient is only that of the squared difference, w * (a - b), mean over 2
    # classes.
    weight = 1 / (1 + math.exp(-2)) - 1 / (1 + math.exp(-0.5))
    assert a.grad[0].tolist() == pytest.approx([weight * 1.5, 0.0])
    # The gradient of b also contains that of KL, q - p.
    assert b.grad[0].tolist() == pytest.approx([-weight * (1.5 + weight), weight * weight])


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_losses_reach_the_branches_and_not_the_probes(strategy):
    model = small_model(2, strategy=strategy)
    step = small_step(model)
    balancer = MBSD(strength=2.0)
    balancer.setup(step.context)
    result = balancer.losses({"fused": step.fused_loss}, step)
    assert list(result) == ["fused", "unimodal.voice", "unimodal.face", "mbsd.pull"]
    expected = 2 * pull_of(step.unimodal_logits, step.labels).detach()
    assert torch.allclose(result["mbsd.pull"], expected)
    assert balancer.metrics()["mbsd.pull"] == pytest.approx(float(expected) / 2)
    for m in model.modalities:
        probe = model.probes[m].weight
        branch = model.branches[m].first.weight
        for name in (f"unimodal.{m}", "mbsd.pull"):
            grads = torch.autograd.grad(
                result[name], [probe, branch], retain_graph=True, allow_unused=True
            )
            assert grads[0] is None
            assert float(grads[1].abs().max()) > 0


def test_with_several_passes_each_loss_is_counted_once():
    step = small_step(small_model(3))
    counted = []
    for passed in (Pass(("voice",)), Pass(("face", "text"))):
        step.current = passed
        result = MBSD().losses({}, step)
        counted.append(list(result))
    assert counted == [["unimodal.voice"], ["unimodal.face", "unimodal.text", "mbsd.pull"]]
    shown = {m: step.unimodal_logits[m] for m in ("face", "text")}
    assert torch.allclose(result["mbsd.pull"], pull_of(shown, step.labels))


def test_one_modality_adds_nothing():
    step = one_step(small_trainer([MBSD()], 1))
    start = {"fused": step.fused_loss}
    assert MBSD().losses(start, step) is start


def test_parameters_out_of_range():
    with pytest.raises(ParameterError, match=r"mbsd\.strength must be 0 or more, and is -1"):
        MBSD(strength=-1)
