import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from fusion.core.testing.checks.problem import one_step, small_model, small_trainer
from fusion.core.toolkit.ensemble import ensemble_weights
from fusion.core.toolkit.metrics import nll
from fusion.plugins.strategies.ensemble import Ensemble
from fusion.testing import StrategySuite


def of_probabilities(*members):
    """Return a strategy with identity heads, and the members' log-probabilities as its input."""
    classes = members[0].shape[1]
    names = [f"m{i}" for i in range(len(members))]
    strategy = Ensemble(dict.fromkeys(names, classes), classes)
    for head in strategy.heads.values():
        head.weight.data = torch.eye(classes)
        head.bias.data.zero_()
    return strategy, {m: p.log() for m, p in zip(names, members, strict=True)}


A = torch.tensor([[0.8, 0.2], [0.5, 0.5]])
B = torch.tensor([[0.4, 0.6], [0.1, 0.9]])
C = torch.tensor([[0.2, 0.8], [0.7, 0.3]])


def test_scores_by_hand():
    strategy, inputs = of_probabilities(A, B)
    # The weights are equal before calibration: (0.8 + 0.4) / 2, (0.2 + 0.6) / 2; ...
    for training in (True, False):
        result = strategy.train(training)(inputs).exp()
        torch.testing.assert_close(result, torch.tensor([[0.6, 0.4], [0.3, 0.7]]))
    strategy.weights.copy_(torch.tensor([0.75, 0.25]))
    result = strategy.eval()(inputs).exp()
    # 0.75 * 0.8 + 0.25 * 0.4 = 0.7; 0.75 * 0.5 + 0.25 * 0.1 = 0.4.
    torch.testing.assert_close(result, torch.tensor([[0.7, 0.3], [0.4, 0.6]]))
    torch.testing.assert_close(
        strategy.modality_weights(inputs), torch.tensor([[0.75, 0.25], [0.75, 0.25]])
    )
    # In training every member has the same weight.
    torch.testing.assert_close(
        strategy.train()(inputs).exp(), torch.tensor([[0.6, 0.4], [0.3, 0.7]])
    )


def test_absent_members_by_hand():
    strategy, inputs = of_probabilities(A, B, C)
    strategy.eval().weights.copy_(torch.tensor([0.6, 0.4, 0.0]))
    present = torch.tensor([[True, False, True], [False, False, True]])
    # First clip: A has all the weight. Second clip: only C is present, although its weight is 0.
    torch.testing.assert_close(
        strategy(inputs, present).exp(), torch.tensor([[0.8, 0.2], [0.7, 0.3]])
    )
    torch.testing.assert_close(
        strategy.modality_weights(inputs, present),
        torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    )
    # In training present members have equal weights: (0.8 + 0.2) / 2 in the first clip, C in the
    # second.
    torch.testing.assert_close(
        strategy.train()(inputs, present).exp(), torch.tensor([[0.5, 0.5], [0.7, 0.3]])
    )


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_calibration_finds_the_ensemble_s_weights(modalities):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    members = []
    for m in range(modalities):
        logits = rng.normal(size=(60, 3)) + (1.5 - m) * np.eye(3)[labels]
        members.append(torch.from_numpy(logits).float().softmax(1))
    strategy, inputs = of_probabilities(*members)
    strategy.eval().calibrate(inputs, torch.from_numpy(labels))
    expected = ensemble_weights([p.numpy() for p in members], labels)
    np.testing.assert_allclose(strategy.weights.numpy(), expected, atol=1e-6)
    mixed = strategy(inputs).exp().detach().numpy()
    assert nll(mixed, labels) <= min(nll(p.numpy(), labels) for p in members) + 1e-6


def test_a_useless_member_has_weight_zero_and_is_still_trained():
    labels = torch.tensor([0, 1, 2] * 5)
    right = 0.97 * torch.eye(3)[labels] + 0.01
    strategy, inputs = of_probabilities(torch.full((15, 3), 1 / 3), right)
    strategy.eval().calibrate(inputs, labels)
    assert strategy.weights.tolist() == [0.0, 1.0]
    torch.testing.assert_close(strategy(inputs).exp(), right)
    assert torch.isfinite(strategy(inputs)).all()
    functional.cross_entropy(strategy.train()(inputs), labels).backward()
    gradients = [head.weight.grad.abs().sum() for head in strategy.heads.values()]
    assert all(0 < float(g) < math.inf for g in gradients)


def test_the_gradient_of_each_member_by_hand():
    """d loss / d scores_m = p_m(y) / sum_j p_j(y) * (p_m - onehot), as documented."""
    strategy, inputs = of_probabilities(A, B)
    inputs = {m: x.requires_grad_() for m, x in inputs.items()}
    labels = torch.tensor([0, 1])
    functional.cross_entropy(strategy.train()(inputs), labels, reduction="sum").backward()
    # Probabilities of the right class: 0.8 and 0.5 by A, 0.4 and 0.9 by B.
    a, b = torch.tensor([0.8 / 1.2, 0.5 / 1.4]), torch.tensor([0.4 / 1.2, 0.9 / 1.4])
    onehot = torch.eye(2)[labels]
    torch.testing.assert_close(inputs["m0"].grad, a[:, None] * (A - onehot))
    torch.testing.assert_close(inputs["m1"].grad, b[:, None] * (B - onehot))


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_training_returns_the_weights_of_its_best_epoch(average):
    trainer = small_trainer(modalities=2, strategy=Ensemble, epochs=4, average=average)
    progress = trainer.fit()
    best = progress.history[progress.best_epoch - 1]
    result = trainer.model.strategy.weights
    assert [round(float(w), 4) for w in result] == [best["weight.voice"], best["weight.face"]]
    assert float(result.sum()) == pytest.approx(1, abs=1e-5)
    again = small_model(2, strategy=Ensemble)
    again.load_state_dict(trainer.model.state_dict())
    assert torch.equal(again.strategy.weights, result)


def test_a_step_trains_every_branch_whatever_its_weight():
    trainer = small_trainer(modalities=2, strategy=Ensemble, average=0.0, weight_decay=0.0)
    trainer.model.strategy.weights.copy_(torch.tensor([1.0, 0.0]))
    before = trainer.model.branches["face"].embed.weight.clone()
    one_step(trainer)
    assert not torch.equal(before, trainer.model.branches["face"].embed.weight)


class TestEnsemble(StrategySuite):
    plugin = Ensemble
