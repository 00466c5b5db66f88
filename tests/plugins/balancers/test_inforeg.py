import pytest
import torch
from stand_in import StandIn
from torch import nn

from fusion import Gradients
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, one_step, small_trainer
from fusion.plugins.balancers.inforeg import InfoReg
from fusion.testing import BalancerSuite


class TestSuite(BalancerSuite):
    plugin = InfoReg
    single_unchanged = True
    equal_unchanged = True


@pytest.mark.slow
class TestLonger(BalancerSuite):
    """The suite with more epochs, in some of which the window is closed."""

    plugin = InfoReg
    single_unchanged = True
    equal_unchanged = True
    epochs = 4


class Tiny:
    """Branches of one weight vector each, and steps with given gradients and scores."""

    def __init__(self, *names, **parameters):
        self.weights = {m: nn.Parameter(torch.tensor([1.0, 2.0])) for m in names}
        branches = {m: nn.ParameterList([w]) for m, w in self.weights.items()}
        self.balancer = InfoReg(**parameters)
        model = StandIn(branches=branches)
        self.balancer.setup(StandIn(modalities=list(names), model=model))

    def step(self, gradients, scores):
        """Return the gradients after the step, as lists."""
        given = Gradients(
            {m: [torch.tensor(g)] for m, g in gradients.items()},
            {m: [self.weights[m]] for m in gradients},
        )
        made = {m: torch.tensor(s) for m, s in scores.items()}
        self.balancer.gradients(given, StandIn(scores=lambda: made))
        return {m: given[m][0].tolist() for m in gradients}

    def move(self, name, by):
        with torch.no_grad():
            self.weights[name] += torch.tensor(by)

    def epoch(self, number, norms):
        """Run an epoch of one step whose gradients have these norms."""
        self.balancer.epoch_start(number)
        self.step({m: [n, 0.0] for m, n in norms.items()}, dict.fromkeys(norms, 1.0))
        self.balancer.epoch_end(number, {})


def test_the_term_by_hand():
    tiny = Tiny("a", "b", beta=0.5)
    tiny.balancer.epoch_start(1)
    tiny.move("a", [0.2, -0.4])
    tiny.move("b", [1.0, 1.0])
    # a leads and has moved by (0.2, -0.4), so 0.5 * (0.2, -0.4) is added. b does not lead.
    found = tiny.step({"a": [1.0, 1.0], "b": [3.0, 3.0]}, {"a": 5.0, "b": 4.0})
    assert found["a"] == pytest.approx([1.1, 0.8]) and found["b"] == [3.0, 3.0]
    found = tiny.step({"a": [1.0, 1.0], "b": [3.0, 3.0]}, {"a": 4.0, "b": 5.0})
    assert found["a"] == [1.0, 1.0] and found["b"] == pytest.approx([3.5, 3.5])
    # Each modality led in one of the two steps.
    assert tiny.balancer.metrics() == pytest.approx({"inforeg.a": 0.25, "inforeg.b": 0.25})


def test_movement_is_measured_from_the_start_of_the_epoch():
    tiny = Tiny("a", "b", beta=1.0)
    tiny.balancer.epoch_start(1)
    tiny.move("a", [1.0, 0.0])
    assert tiny.step({"a": [0.0, 0.0]}, {"a": 2.0, "b": 1.0})["a"] == [1.0, 0.0]
    tiny.balancer.epoch_start(2)
    assert tiny.step({"a": [0.0, 0.0]}, {"a": 2.0, "b": 1.0})["a"] == [0.0, 0.0]


def test_modalities_above_the_mean_of_the_others_lead():
    tiny = Tiny("a", "b", "c", beta=1.0)
    tiny.balancer.epoch_start(1)
    for m in "abc":
        tiny.move(m, [1.0, 1.0])
    # a 6 > 3.5;  b 5 > 4;  c 2 < 5.5.
    found = tiny.step({m: [0.0, 0.0] for m in "abc"}, {"a": 6.0, "b": 5.0, "c": 2.0})
    assert found == {"a": [1.0, 1.0], "b": [1.0, 1.0], "c": [0.0, 0.0]}


@pytest.mark.parametrize("modalities", [1, 2, 3, 7])
def test_no_modality_leads_if_all_are_equal(modalities):
    names = [f"m{i}" for i in range(modalities)]
    tiny = Tiny(*names)
    tiny.balancer.epoch_start(1)
    for m in names:
        tiny.move(m, [1.0, 1.0])
    found = tiny.step({m: [2.0, 3.0] for m in names}, dict.fromkeys(names, 1 / 3))
    assert all(g == [2.0, 3.0] for g in found.values())


def test_the_window_by_hand():
    tiny = Tiny("a", "b", growth=0.05)
    assert tiny.balancer.in_window("a")  # no trace is known yet
    tiny.epoch(1, {"a": 1.0, "b": 2.0})
    assert tiny.balancer.in_window("a") and tiny.balancer.in_window("b")
    tiny.epoch(2, {"a": 1.1, "b": 2.04})
    # The trace of a grows from 1 to 1.21, by 21 %; that of b from 4 to 4.1616, by 4.04 %.
    assert tiny.balancer.state_dict()["traces"]["a"] == pytest.approx([1.0, 1.21])
    assert tiny.balancer.in_window("a") and not tiny.balancer.in_window("b")
    tiny.epoch(3, {"a": 0.9, "b": 3.0})
    assert not tiny.balancer.in_window("a") and tiny.balancer.in_window("b")


def test_nothing_is_added_outside_the_window():
    tiny = Tiny("a", "b", beta=1.0)
    tiny.epoch(1, {"a": 1.0, "b": 1.0})
    tiny.epoch(2, {"a": 1.0, "b": 1.0})
    tiny.balancer.epoch_start(3)
    tiny.move("a", [1.0, 1.0])
    assert tiny.step({"a": [0.5, 0.5]}, {"a": 9.0, "b": 1.0})["a"] == [0.5, 0.5]
    assert tiny.balancer.metrics() == {"inforeg.a": 0.0, "inforeg.b": 0.0}


def test_the_trace_is_of_the_gradient_without_the_term():
    tiny = Tiny("a", "b", beta=100.0)
    tiny.balancer.epoch_start(1)
    tiny.move("a", [5.0, 5.0])
    tiny.step({"a": [3.0, 4.0]}, {"a": 2.0, "b": 1.0})
    tiny.balancer.epoch_end(1, {})
    assert tiny.balancer.state_dict()["traces"]["a"] == pytest.approx([25.0])


def test_state_survives():
    first, second = Tiny("a", "b"), Tiny("a", "b")
    for number, norm in enumerate((1.0, 1.0, 1.1), start=1):
        first.epoch(number, {"a": norm, "b": 1.0})
    second.balancer.load_state_dict(first.balancer.state_dict())
    for tiny in (first, second):
        assert tiny.balancer.in_window("a") and not tiny.balancer.in_window("b")
        tiny.balancer.epoch_start(4)
        tiny.move("a", [0.1, 0.0])
    steps = [t.step({"a": [1.0, 1.0]}, {"a": 2.0, "b": 1.0})["a"] for t in (first, second)]
    assert steps[0] == steps[1] == pytest.approx([1.095, 1.0])


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_in_a_training(strategy):
    """The first step of an epoch adds nothing; the second adds the movement since the start."""
    found = {}
    for beta in (0.0, 0.95):
        balancer = InfoReg(beta=beta)
        trainer = small_trainer([balancer], strategy=strategy, optimizer="sgd", clip=0.0)
        balancer.epoch_start(1)
        before = _weights(trainer)
        step = one_step(trainer)
        after = _weights(trainer)
        one_step(trainer)
        grads = {m: [p.grad.clone() for p in b.parameters()] for m, b in _branches(trainer)}
        found[beta] = before, after, grads, step
    before, after, pulled, step = found[0.95]
    for m in after:
        assert all(torch.equal(a, b) for a, b in zip(after[m], found[0.0][1][m], strict=True))
    scores = {m: float(s) for m, s in step.scores().items()}
    leading = max(scores, key=scores.get)
    for m, plain in found[0.0][2].items():
        for start, now, g, h in zip(before[m], after[m], plain, pulled[m], strict=True):
            expected = g + 0.95 * (now - start) if m == leading else g
            assert torch.allclose(h, expected, atol=1e-6)


def _branches(trainer):
    return trainer.model.branches.items()


def _weights(trainer):
    return {m: [p.detach().clone() for p in b.parameters()] for m, b in _branches(trainer)}


@pytest.mark.parametrize("bad", [{"beta": -1}, {"growth": -1}, {"beta": float("nan")}])
def test_wrong_parameters(bad):
    with pytest.raises(ParameterError, match="inforeg needs"):
        InfoReg(**bad)
