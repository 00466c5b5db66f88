"""Gated fusion: weights by hand, the initial pool, shares, absent modalities, the trained gate."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.core.contracts.errors import ParameterError
from fusion.core.contracts.held_out import RIDGE, fit_held_out
from fusion.core.testing.checks.problem import small_baselines, small_trainer
from fusion.core.toolkit.ensemble import pool
from fusion.plugins.strategies.gated import Gated
from fusion.testing import StrategySuite

# Two classes; each head is the identity, so an embedding is a row of logits.
PRESENT = torch.tensor([[True, True], [True, False], [False, True]])


def logits(*probabilities):
    """Embeddings, one per clip, that an identity head turns into these probabilities of class 1."""
    p = torch.tensor(probabilities)
    return torch.stack([1 - p, p], dim=1).log()


def identity(names="ab", prior=None, classes=2, **parameters):
    strategy = Gated(dict.fromkeys(names, classes), classes, **parameters)
    with torch.no_grad():
        for head in strategy.heads.values():
            head.weight.copy_(torch.eye(classes))
            head.bias.zero_()
        if prior is not None:
            strategy.prior.copy_(torch.tensor(prior))
    return strategy.eval()


def put(strategy, competence, confidence):
    with torch.no_grad():
        strategy.competence.copy_(torch.tensor(competence))
        strategy.confidence.copy_(torch.tensor(confidence))


def softplus(x):
    return math.log(1 + math.exp(4 * x)) / 4


def certain(p):
    entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    return 1 - entropy / math.log(2)


def test_weights_by_hand():
    strategy = identity(prior=[1.0, 0.0])
    put(strategy, [0.25, -0.5], [0.5, 2.0])
    inputs = {"a": logits(0.9), "b": logits(0.3)}
    a = softplus(1 + 0.25 + 0.5 * certain(0.9))
    b = softplus(0 - 0.5 + 2.0 * certain(0.3))
    expected = [a * math.log(0.1) + b * math.log(0.7), a * math.log(0.9) + b * math.log(0.3)]
    result = strategy(inputs)
    assert result[0].tolist() == pytest.approx(expected, abs=1e-5)
    # The probabilities are the pool with these weights.
    members = [np.array([[0.1, 0.9]]), np.array([[0.7, 0.3]])]
    np.testing.assert_allclose(
        result.softmax(1).detach().numpy(), pool(members, np.array([a, b])), rtol=1e-5
    )
    # Shares are the norms of the centred parts. With two classes they are proportional to the
    # difference.
    sizes = [a * math.log(9), b * math.log(7 / 3)]
    assert strategy.modality_weights(inputs)[0].tolist() == pytest.approx(
        [s / sum(sizes) for s in sizes], abs=1e-5
    )


def test_a_prior_of_one_is_weight_one_and_zero_a_small_weight():
    strategy = identity(prior=[1.0, 0.0])
    weights = strategy._weights({}, torch.zeros(1, 2, 2).log_softmax(2))[0]
    assert weights.tolist() == pytest.approx([1.0, 0.17], abs=0.01)


def test_without_baselines_all_modalities_start_with_equal_weights():
    strategy = identity("abc")
    assert strategy.prior.tolist() == pytest.approx([1 / 3] * 3)
    inputs = dict.fromkeys("abc", logits(0.8, 0.4))
    assert strategy.modality_weights(inputs).tolist() == [pytest.approx([1 / 3] * 3)] * 2


def test_it_starts_as_the_pool_of_the_baselines():
    baselines = small_baselines(3)
    strategy = Gated(dict.fromkeys(baselines, 6), 3)
    strategy.adopt(dict(reversed(baselines.items())))
    assert strategy.prior.tolist() == [1.0, 0.0, 0.0]  # the voice baseline has the highest UAR
    raw = {m: torch.randn(7, 4, generator=torch.Generator().manual_seed(1)) for m in baselines}
    inputs = {m: b.embedding(raw) for m, b in baselines.items()}
    members = [b.logits(raw).softmax(1).numpy() for b in baselines.values()]
    weights = np.array([softplus(1), softplus(0), softplus(0)])
    np.testing.assert_allclose(
        strategy(inputs).softmax(1).detach().numpy(), pool(members, weights), atol=1e-6
    )


def test_equal_baselines_give_the_prior_to_the_first():
    baselines = small_baselines(2)
    for baseline in baselines.values():
        object.__setattr__(baseline, "val_uar", 0.5)
    strategy = Gated({"face": 6, "voice": 6}, 3)
    strategy.adopt(baselines)
    assert strategy.prior.tolist() == [1.0, 0.0]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(0.01, 0.99)] * 3), min_size=1, max_size=4),
    st.lists(st.floats(-3, 3), min_size=6, max_size=6),
)
def test_shares_are_non_negative_and_sum_to_one(clips, values):
    strategy = identity("abc", prior=[0.0, 1.0, 0.0])
    put(strategy, values[:3], values[3:])
    inputs = {m: logits(*column) for m, column in zip("abc", zip(*clips, strict=True), strict=True)}
    shares = strategy.modality_weights(inputs)
    assert shares.shape == (len(clips), 3) and bool((shares >= 0).all())
    silent = torch.stack([(x[:, 0] - x[:, 1]).abs() < 1e-5 for x in inputs.values()]).all(dim=0)
    torch.testing.assert_close(shares[~silent].sum(1), torch.ones(int((~silent).sum())))


@pytest.mark.parametrize("long", [2, 64])
def test_the_length_of_an_embedding_does_not_matter(long):
    """Scores and shares depend only on the log-probabilities."""
    plain = identity(prior=[1.0, 0.0])
    other = Gated({"a": 2, "b": long}, 2).eval()
    other.load_state_dict(
        {k: v for k, v in plain.state_dict().items() if "heads.b" not in k}, strict=False
    )
    turn = torch.randn(long, 2, generator=torch.Generator().manual_seed(0))
    scale = 1000.0
    with torch.no_grad():
        other.heads["b"].weight.copy_(torch.linalg.pinv(turn) / scale)
        other.heads["b"].bias.zero_()
    for created in (plain, other):
        put(created, [0.3, -0.2], [1.0, 0.5])
    a, b = logits(0.8, 0.1), logits(0.4, 0.7)
    stretched = scale * b @ turn.T
    for method in ("forward", "modality_weights"):
        torch.testing.assert_close(
            getattr(plain, method)({"a": a, "b": b}),
            getattr(other, method)({"a": a, "b": stretched}),
            rtol=1e-4,
            atol=1e-4,
        )


def test_a_clip_that_lacks_a_modality_is_scored_by_the_others():
    strategy = identity(prior=[1.0, 0.0])
    put(strategy, [0.1, 0.2], [0.3, 0.4])
    inputs = {"a": logits(0.9, 0.9, 0.9), "b": logits(0.3, 0.3, 0.3)}
    blank = {"a": inputs["a"] * PRESENT[:, :1], "b": inputs["b"] * PRESENT[:, 1:]}
    result = strategy(blank, PRESENT)
    torch.testing.assert_close(result[0], strategy(inputs)[0])
    a, b = softplus(1.1 + 0.3 * certain(0.9)), softplus(0.2 + 0.4 * certain(0.3))
    alone = [a * math.log(0.1), a * math.log(0.9)], [b * math.log(0.7), b * math.log(0.3)]
    np.testing.assert_allclose(result[1:].detach().numpy(), alone, rtol=1e-4)
    assert strategy.modality_weights(blank, PRESENT)[1:].tolist() == [[1, 0], [0, 1]]


def test_a_single_modality_has_nothing_to_fit():
    strategy = identity("a", prior=[1.0])
    assert not strategy.held_out_parameters()
    inputs = {"a": logits(0.9, 0.2)}
    assert strategy.modality_weights(inputs).tolist() == [[1.0]] * 2
    assert strategy(inputs).argmax(1).tolist() == [1, 0]


def test_no_gradient_passes_through_the_weights():
    """The gradient equals that of a pool with constant weights."""
    strategy = identity(prior=[1.0, 0.0])
    put(strategy, [0.0, 0.0], [1.0, -1.0])
    inputs = {"a": logits(0.9).requires_grad_(), "b": logits(0.3).requires_grad_()}
    strategy(inputs).softmax(1)[0, 1].backward()
    weights = strategy._weights(inputs, torch.stack(list(inputs.values()), 1).log_softmax(2))[0]
    again = {m: x.detach().clone().requires_grad_() for m, x in inputs.items()}
    scores = sum(
        w.detach() * x.log_softmax(1) for w, x in zip(weights, again.values(), strict=True)
    )
    scores.softmax(1)[0, 1].backward()
    for m in "ab":
        assert float(inputs[m].grad.abs().max()) > 0
        torch.testing.assert_close(inputs[m].grad, again[m].grad)


# -- fitted to held-out clips ----------------------------------------------------------


def sample(clips=200, seed=0):
    """Modality a is right on most clips. Modality b is right on few, but confident on those."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(clips) % 2
    sign = 2.0 * labels - 1
    a = sign * (torch.rand(clips, generator=generator) < 0.8).float().mul(2).sub(1)
    knows = torch.rand(clips, generator=generator) < 0.3
    guess = torch.randint(0, 2, (clips,), generator=generator) * 2.0 - 1
    b = torch.where(knows, 3.0 * sign, 0.4 * guess)
    return {"a": torch.stack([-a, a], 1) / 2, "b": torch.stack([-b, b], 1) / 2}, labels


def test_the_fit_trusts_a_modality_where_it_is_certain():
    strategy = identity(prior=[1.0, 0.0])
    inputs, labels = sample()
    before = float(torch.nn.functional.cross_entropy(strategy(inputs), labels))
    fit_held_out(strategy, inputs, labels)
    after = float(torch.nn.functional.cross_entropy(strategy(inputs), labels))
    assert after < before - 0.05
    assert float(strategy.confidence[1]) > 0.5
    penalty = RIDGE * sum(float(p.square().sum()) for p in strategy.held_out_parameters())
    assert after + penalty <= before


def test_uninformative_modalities_leave_the_prior_unchanged():
    strategy = identity(prior=[1.0, 0.0])
    inputs = {"a": torch.zeros(20, 2), "b": torch.zeros(20, 2)}
    fit_held_out(strategy, inputs, torch.arange(20) % 2)
    assert all(p.abs().max() < 1e-6 for p in strategy.held_out_parameters())


def test_competence_and_confidence_are_fitted_on_validation_only():
    trainer = small_trainer([], 2, strategy=Gated, average=0.9)
    strategy = trainer.model.strategy
    held_out = {id(p) for p in strategy.held_out_parameters()}
    assert len(held_out) == 2
    assert not any(id(p) in held_out for g in trainer.optimizer.groups for p in g.parameters)
    trainer.fit()
    assert all(bool((p != 0).any()) for p in strategy.held_out_parameters())


# -- the trained gate ------------------------------------------------------------------


def opened(names, shares, **parameters):
    """A gate that returns these shares for every input."""
    strategy = identity(names, gate="trained", hidden=1, **parameters)
    with torch.no_grad():
        for layer in (strategy.gate[0], strategy.gate[2]):
            layer.weight.zero_()
        strategy.gate[2].bias.copy_(torch.tensor(shares).log())
    return strategy


def test_the_trained_gate_by_hand():
    strategy = opened("abc", [1.0, 2.0, 4.0])
    inputs = {"a": logits(0.9), "b": logits(0.3), "c": logits(0.6)}
    weights = [3 / 7, 6 / 7, 12 / 7]  # M times the softmax
    logs = [x.log_softmax(1)[0] for x in inputs.values()]
    expected = sum(w * x for w, x in zip(weights, logs, strict=True))
    torch.testing.assert_close(strategy(inputs)[0], expected)
    present = torch.tensor([[True, False, True]])
    torch.testing.assert_close(
        strategy(inputs, present)[0], weights[0] * logs[0] + weights[2] * logs[2]
    )
    assert strategy.modality_weights(inputs, present)[0, 1] == 0


def test_the_trained_gate_reads_the_embeddings_and_is_trained():
    trainer = small_trainer([], 2, strategy=Gated, parameters={"gate": "trained"}, epochs=2)
    strategy = trainer.model.strategy
    assert not strategy.held_out_parameters()
    before = {k: v.clone() for k, v in strategy.state_dict().items()}
    trainer.fit()
    after = strategy.state_dict()
    assert not torch.equal(before["gate.0.weight"], after["gate.0.weight"])
    for name in ("competence", "confidence"):
        assert torch.equal(after[name], before[name])


def test_parameters_out_of_range():
    with pytest.raises(ParameterError, match="gated.hidden must be 1 or more, and is 0"):
        Gated({"a": 2}, 2, hidden=0)


class TestGated(StrategySuite):
    plugin = Gated
