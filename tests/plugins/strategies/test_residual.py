from typing import ClassVar

import pytest
import torch

from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import one_step, small_baselines, small_model, small_trainer
from fusion.plugins.strategies.residual import Residual
from fusion.testing import StrategySuite


def made(dims=2, modalities=2, **parameters):
    torch.manual_seed(0)
    return Residual(dict.fromkeys("abc"[:modalities], dims), 2, **parameters)


def fill(layer, weight, bias):
    layer.weight.data = torch.tensor(weight)
    layer.bias.data = torch.tensor(bias)


def test_scores_by_hand():
    strategy = made(hidden=0)
    fill(strategy.base, [[1.0, 0.0], [0.0, 2.0]], [0.5, 0.0])
    fill(strategy.correction, [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, -1.0]], [0.0, 1.0])
    inputs = {"b": torch.tensor([[5.0, 7.0]]), "a": torch.tensor([[1.0, 3.0]])}
    # Before `adopt` the first modality is the base, base(a) = (1 + 0.5, 2 * 3), without a
    # correction.
    assert strategy(inputs).tolist() == [[1.5, 6.0]]
    strategy.gate.data.fill_(0.1)
    # Correction: (1 + 3 + 5 + 7, 1 - 7) = (16, -6).
    torch.testing.assert_close(strategy(inputs), torch.tensor([[1.5 + 1.6, 6.0 - 0.6]]))
    strategy.best.fill_(1)
    # base(b) = (5 + 0.5, 2 * 7).
    torch.testing.assert_close(strategy(inputs), torch.tensor([[5.5 + 1.6, 14.0 - 0.6]]))


def test_the_hidden_layer_of_the_correction():
    strategy = made(hidden=3)
    strategy.gate.data.fill_(1.0)
    inputs = {"a": torch.randn(4, 2), "b": torch.randn(4, 2)}
    first, _, last = strategy.correction
    hidden = (torch.cat([inputs["a"], inputs["b"]], dim=1) @ first.weight.T + first.bias).relu()
    expected = strategy.base(inputs["a"]) + hidden @ last.weight.T + last.bias
    torch.testing.assert_close(strategy(inputs), expected)


@pytest.mark.parametrize("uars", [(0.7, 0.6, 0.5), (0.2, 0.9, 0.5), (0.1, 0.2, 0.3)])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_it_starts_at_the_scores_of_the_best_single_modality(uars, modalities):
    trainer = small_trainer(modalities=modalities, strategy=Residual)
    model = trainer.model
    baselines = small_baselines(modalities)
    for (m, baseline), uar in zip(list(baselines.items()), uars, strict=False):
        object.__setattr__(baseline, "val_uar", uar)
        model.branches[m].load_state_dict(baseline.model.branches[m].state_dict())
    model.strategy.adopt(baselines)
    best = max(baselines, key=lambda m: baselines[m].val_uar)
    raw, _ = trainer.features.batch(trainer.val)
    with torch.no_grad():
        result = model.eval()(raw)
    expected = baselines[best].logits(model.standardised(raw))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    # The chosen modality is part of the state dict.
    other = small_model(modalities, strategy=Residual, seed=9)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(raw), expected, rtol=0, atol=1e-6)


def test_the_trainer_calls_adopt():
    trainer = small_trainer(modalities=2, strategy=Residual)
    baseline = trainer.context.baselines["voice"]  # UAR 0.7; the face has 0.6
    raw, _ = trainer.features.batch(trainer.val)
    with torch.no_grad():
        result = trainer.model.eval()(raw)
    expected = baseline.logits(trainer.model.standardised(raw))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_equal_baselines_select_the_first_modality():
    baselines = small_baselines(3)
    for baseline in baselines.values():
        object.__setattr__(baseline, "val_uar", 0.5)
    model = small_model(3, strategy=Residual)
    model.strategy.best.fill_(2)
    model.strategy.adopt(baselines)
    assert model.strategy.best.item() == 0


def test_the_first_step_moves_only_the_gate_and_the_base():
    trainer = small_trainer(modalities=2, strategy=Residual, optimizer="sgd", weight_decay=0.0)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    one_step(trainer)
    after = trainer.model.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert {"strategy.gate", "strategy.base.weight", "branches.voice.embed.weight"} <= moved
    # The closed gate blocks gradients: the correction and the other modality don't move.
    assert not {k for k in moved if "correction" in k or k.startswith("branches.face")}
    one_step(trainer)
    after = trainer.model.state_dict()
    assert not torch.equal(
        before["branches.face.embed.weight"], after["branches.face.embed.weight"]
    )
    assert after["strategy.best"].tolist() == [0]


def test_wrong_arguments_are_refused():
    with pytest.raises(ParameterError, match=r"residual.hidden must be 0 or more, and is -1"):
        made(hidden=-1)
    with pytest.raises(ParameterError, match="needs embeddings of one size"):
        Residual({"a": 2, "b": 3}, 2)


class TestResidual(StrategySuite):
    plugin = Residual


class TestLinearResidual(StrategySuite):
    plugin = Residual
    parameters: ClassVar = {"hidden": 0}
