"""Parameters that are fitted to held-out clips and excluded from training."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.optimize import minimize
from torch.nn.functional import cross_entropy
from untrained_runs import config_of, trained_run, write_corpus

from fusion import Strategy
from fusion.core.contracts.held_out import RIDGE, fit_held_out
from fusion.core.runs.bundle import write_bundle
from fusion.core.runs.outcome.selection import FoldSelection, Selection
from fusion.core.testing.checks.problem import small_trainer
from fusion.core.training.inference import predict


class Trusts(Strategy):
    """scores = sum over m of (1 + t_m) W_m z_m; t is fitted to held-out clips, W trained."""

    name = "trusts"
    reads_validation = True

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.heads = torch.nn.ModuleDict(
            {m: torch.nn.Linear(d, num_classes) for m, d in dims.items()}
        )
        self.trust = torch.nn.Parameter(torch.zeros(len(dims)))

    def held_out_parameters(self):
        return (self.trust,)

    def forward(self, inputs):
        scores = [
            (1 + t) * self.heads[m](inputs[m]) for t, m in zip(self.trust, self.order, strict=True)
        ]
        return torch.stack(scores).sum(dim=0)


def problem(seed=0, clips=30, signal=1.0):
    """Return a strategy, embeddings, and labels on which the first modality depends."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        strategy = Trusts({"a": 3, "b": 3}, 3).eval()
    labels = torch.arange(clips) % 3
    inputs = {m: torch.randn(clips, 3, generator=generator) for m in "ab"}
    with torch.no_grad():
        strategy.heads["a"].weight.copy_(torch.eye(3))
        inputs["a"] += signal * torch.eye(3)[labels]
    return strategy, inputs, labels


def objective(strategy, inputs, labels, point):
    """Return the objective in float64, with scores computed in this test."""
    scores = 0.0
    for t, m in zip(point, "ab", strict=True):
        head = strategy.heads[m]
        weight, bias = head.weight.detach().double(), head.bias.detach().double()
        scores = scores + (1 + t) * (inputs[m].double() @ weight.T + bias)
    return float(cross_entropy(scores, labels)) + RIDGE * float(np.square(point).sum())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 3))
def test_the_fit_reaches_the_minimum_found_by_scipy(seed, signal):
    strategy, inputs, labels = problem(seed, signal=signal)
    fit_held_out(strategy, inputs, labels)
    result = strategy.trust.detach().double().numpy()
    best = minimize(lambda p: objective(strategy, inputs, labels, p), np.zeros(2), method="BFGS")
    assert objective(strategy, inputs, labels, result) <= best.fun + 1e-5
    np.testing.assert_allclose(result, best.x, atol=0.03)


def test_a_fit_depends_only_on_the_clips():
    strategy, inputs, labels = problem(1)
    fit_held_out(strategy, inputs, labels)
    first = strategy.trust.detach().clone()
    with torch.no_grad():
        strategy.trust.fill_(7.0)
    fit_held_out(strategy, dict(reversed(inputs.items())), labels)
    assert torch.equal(strategy.trust, first) and bool((first != 0).all())


def test_parameters_without_effect_stay_0():
    """Scores are independent of the parameters, so only the ridge penalty remains."""
    strategy, inputs, labels = problem()
    with torch.no_grad():
        for head in strategy.heads.values():
            head.weight.zero_()
            head.bias.zero_()
        strategy.trust.fill_(3.0)
    fit_held_out(strategy, inputs, labels)
    assert strategy.trust.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_inputs_leave_the_parameters_at_0(bad):
    strategy, inputs, labels = problem()
    with torch.no_grad():
        strategy.trust.fill_(3.0)
    inputs["b"][4, 1] = bad
    fit_held_out(strategy, inputs, labels)
    assert strategy.trust.tolist() == [0.0, 0.0]


def test_a_fit_that_increases_the_objective_is_discarded():
    """The scores are finite only at 0, so the fit finds no minimum."""

    class Fragile(Trusts):
        def forward(self, inputs):
            return super().forward(inputs) + (0.0 / (self.trust.abs().sum() == 0).float())

    strategy, inputs, labels = problem()
    fragile = Fragile({"a": 3, "b": 3}, 3).eval()
    fragile.load_state_dict(strategy.state_dict())
    fit_held_out(fragile, inputs, labels)
    assert fragile.trust.tolist() == [0.0, 0.0]


def test_the_fit_changes_only_the_held_out_parameters():
    strategy, inputs, labels = problem()
    inputs["a"].requires_grad_(True)
    weight = strategy.heads["a"].weight
    weight.grad = torch.full_like(weight, 2.0)
    before = {k: v.clone() for k, v in strategy.state_dict().items() if k != "trust"}
    with torch.no_grad():  # as in validation
        strategy.calibrate(inputs, labels)
    assert all(torch.equal(strategy.state_dict()[k], v) for k, v in before.items())
    assert torch.equal(weight.grad, torch.full_like(weight, 2.0)) and inputs["a"].grad is None
    assert strategy.trust.grad is None and not strategy.trust.requires_grad
    assert weight.requires_grad


def test_bfloat16_embeddings_are_fitted_in_float32():
    strategy, inputs, labels = problem()
    rough = {m: x.bfloat16() for m, x in inputs.items()}
    with torch.autocast("cpu", torch.bfloat16):
        fit_held_out(strategy, rough, labels)
    result = strategy.trust.detach().clone()
    fit_held_out(strategy, {m: x.float() for m, x in rough.items()}, labels)
    assert result.dtype is torch.float32 and torch.equal(result, strategy.trust)


def test_a_strategy_without_held_out_parameters_is_unchanged():
    class Plain(Trusts):
        def held_out_parameters(self):
            return ()

    strategy = Plain({"a": 3, "b": 3}, 3)
    fit_held_out(strategy, {}, torch.zeros(0, dtype=torch.int64))
    assert strategy.trust.requires_grad and strategy.trust.tolist() == [0.0, 0.0]


# -- complete trainings ----------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_steps_do_not_change_held_out_parameters(optimizer):
    trainer = small_trainer(
        [], 2, strategy=Trusts, optimizer=optimizer, average=0.9, weight_decay=0.1, epochs=3
    )
    trust = trainer.model.strategy.trust
    assert not trust.requires_grad
    assert all(trust is not p for g in trainer.optimizer.groups for p in g.parameters)
    changed = []
    step = trainer.stepper.step

    def watched(*args):
        before = trust.detach().clone()
        result = step(*args)
        changed.append(not torch.equal(before, trust))
        return result

    trainer.stepper.step = watched
    trainer.fit()
    assert changed and not any(changed)
    assert bool((trust != 0).any())  # fitted in validation


def test_held_out_parameters_are_fitted_to_the_averaged_weights():
    """The trained model has the parameters that a fit to its own weights gives."""
    trainer = small_trainer([], 2, strategy=Trusts, average=0.9, epochs=3)
    trainer.fit()
    strategy = trainer.model.strategy
    stored = strategy.trust.detach().clone()
    indices = trainer.val
    raw, labels = trainer.features.batch(indices)
    trainer.model.eval()
    standardised = trainer.model.standardised(raw)
    with torch.no_grad():
        inputs = {m: trainer.model.branches[m](x) for m, x in standardised.items()}
    fit_held_out(strategy, inputs, labels)
    torch.testing.assert_close(strategy.trust.detach(), stored, rtol=1e-3, atol=1e-3)
    result = predict(trainer.model, trainer.features, indices).probabilities.argmax(axis=1)
    recall = [(result[labels.numpy() == c] == c).mean() for c in range(3)]
    assert float(np.mean(recall)) == pytest.approx(trainer.progress.best_uar, abs=1e-4)


PLUGIN = '''
import torch
from fusion import Strategy, hookimpl

class Trusting(Strategy):
    """Trusts the modalities as held-out clips tell."""
    name = "trusting"
    reads_validation = True

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.heads = torch.nn.ModuleDict({m: torch.nn.Linear(d, num_classes)
                                          for m, d in dims.items()})
        self.trust = torch.nn.Parameter(torch.zeros(len(dims)))

    def held_out_parameters(self):
        return [self.trust]

    def forward(self, inputs):
        return sum((1 + t) * self.heads[m](inputs[m]) for t, m in zip(self.trust, self.order))

@hookimpl
def fusion_strategies():
    return [Trusting]
'''


def test_held_out_parameters_of_a_plugin_are_in_the_bundle(tmp_path):
    """The exported file contains the parameters that validation fitted."""
    write_corpus(tmp_path)
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    config = config_of(
        tmp_path,
        {"train": {"start": "baselines"}},
        strategy="trusting",
        plugins=(str(tmp_path / "numbers_plugin.py"), str(plugin)),
    )
    run = trained_run(tmp_path / "run", config)
    trust = load_file(run.path / "fold0/fused/model.safetensors")["strategy.trust"]
    assert trust.shape == (2,) and bool(trust.isfinite().all()) and bool((trust != 0).all())
    assert run.summary("fold0/fused")["start"]["epoch"] == 0
    write_bundle(run, Selection((FoldSelection({}, {}, chosen="fused"),), best_single="first"))
    assert torch.equal(
        load_file(run.path / "model.safetensors")["fold0/fused/strategy.trust"], trust
    )
