import math
from typing import ClassVar

import pytest
import torch
from loss_gradients import flat, loss_gradients, of_step
from stand_in import StandIn

from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, one_step, small_trainer
from fusion.plugins.balancers.greedy import Greedy
from fusion.testing import BalancerSuite


class TestGreedy(BalancerSuite):
    plugin = Greedy
    parameters: ClassVar = {"warmup": 0, "steps": 2}
    single_unchanged = True
    equal_unchanged = True


def made(*modalities, **parameters):
    balancer = Greedy(**parameters)
    balancer.setup(StandIn(modalities=list(modalities), device=torch.device("cpu")))
    return balancer


def after(balancer, cross, own, epoch=2):
    """Return the waiting modalities and the remaining steps after a step with these sums."""
    balancer._cross, balancer._own = torch.tensor(cross), torch.tensor(own)
    balancer.step_end(StandIn(epoch=epoch))
    waiting = zip(balancer._modalities, balancer._fastest.tolist(), strict=True)
    return [m for m, waits in waiting if waits], int(balancer._left)


def test_speeds_by_hand():
    balancer = made("a", "b")
    # log(0.4 / 0.1) = log 4, log(0.1 / 0.2) = -log 2.
    assert after(balancer, [0.4, 0.1], [0.1, 0.2]) == (["a"], 5)
    assert balancer.metrics() == pytest.approx({"greedy.a": math.log(4), "greedy.b": -math.log(2)})


def test_conditions_of_rebalancing():
    assert after(made("a", "b"), [0.1, 0.4], [0.2, 0.1]) == (["b"], 5)  # modalities swapped
    # Speeds that differ by 0.0099 count as equal, by 0.0101 as different.
    assert after(made("a", "b"), [math.exp(0.0099), 1.0], [1.0, 1.0]) == ([], 0)
    assert after(made("a", "b"), [math.exp(0.0101), 1.0], [1.0, 1.0]) == (["a"], 5)
    # The fastest of three waits if the slowest is far behind.
    assert after(made("a", "b", "c"), [1.0, 3.0, 2.0], [1.0] * 3) == (["b"], 5)
    assert after(made("a", "b"), [1.0, 3.0], [1.0, 1.0], epoch=1) == ([], 0)  # warming up
    # A branch that never moved has no speed, and a single modality has no rival.
    assert after(made("a", "b"), [0.0, 3.0], [0.0, 1.0]) == ([], 0)
    assert after(made("a"), [3.0], [1.0]) == ([], 0)


def test_five_rebalancing_steps_and_a_regular_step():
    balancer = made("a", "b")
    left = [after(balancer, [0.4, 0.1], [0.1, 0.2])[1] for _ in range(8)]
    assert left == [5, 4, 3, 2, 1, 0, 5, 4]
    # The waiting modality is fixed for these steps, even if another modality leads now.
    assert after(balancer, [0.1, 0.4], [0.1, 0.1]) == (["a"], 3)


def test_the_running_mean_replaces_a_waiting_modality():
    balancer = made("a", "b", momentum=0.9)
    step = StandIn(modalities=["a", "b"])
    x = {"a": torch.tensor([[1.0, 3.0], [3.0, 5.0]]), "b": torch.ones(2, 2)}
    first = balancer.representations(x, step)
    assert torch.equal(first["a"], x["a"]) and torch.equal(first["b"], x["b"])
    balancer.representations({"a": x["a"] + 10.0, "b": x["b"]}, step)
    # The means are (2, 4), then (12, 14): 0.9 * 2 + 0.1 * 12 = 3, 0.9 * 4 + 0.1 * 14 = 5.
    after(balancer, [0.4, 0.1], [0.1, 0.2])
    given = {m: z.clone().requires_grad_() for m, z in x.items()}
    found = balancer.representations(given, step)
    assert found["a"].tolist() == [[pytest.approx(3.0), pytest.approx(5.0)]] * 2
    assert torch.equal(found["b"], x["b"])
    (found["a"].sum() + found["b"].sum()).backward()
    assert float(given["a"].grad.abs().sum()) == 0.0 and float(given["b"].grad.sum()) == 4.0


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_measured_gradient_sizes(strategy):
    balancer = Greedy()
    trainer = small_trainer([balancer], 3, strategy=strategy, optimizer="sgd", clip=0.0)
    names = trainer.model.modalities
    alone = loss_gradients(trainer)
    sizes = {m: float(flat(trainer.model.branches[m].parameters()).square().sum()) for m in names}
    one_step(trainer)
    for i, m in enumerate(names):
        cross = float(flat(alone["fused"][m]).square().sum()) / sizes[m]
        own = float(flat(alone[f"unimodal.{m}"][m]).square().sum()) / sizes[m]
        assert float(balancer._cross[i]) == pytest.approx(cross, rel=1e-4)
        assert float(balancer._own[i]) == pytest.approx(own, rel=1e-4)
        assert balancer.metrics()[f"greedy.{m}"] == pytest.approx(math.log(cross / own), rel=1e-3)


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_measuring_changes_nothing(strategy):
    found = []
    for balancers in ([], [Greedy(epsilon=1e6, warmup=0)]):
        trainer = small_trainer(balancers, 3, strategy=strategy)
        trainer.fit()
        found.append(flat(trainer.model.parameters()))
    assert torch.equal(*found)


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_the_fused_loss_does_not_reach_a_waiting_branch(strategy):
    balancer = Greedy(warmup=0)
    trainer = small_trainer([balancer], strategy=strategy, optimizer="sgd", clip=0.0)
    one_step(trainer)
    balancer._fastest, balancer._left = torch.tensor([False, True]), torch.tensor(2)
    sums = balancer._cross.clone(), balancer._own.clone()
    one_step(trainer)
    maps = strategy is SmallMaps  # the probe trains the pooling (last two tensors)
    learned = of_step(trainer, "face")[: 50 if maps else None]
    assert float(learned.abs().max()) == 0.0
    assert float(of_step(trainer, "voice").abs().max()) > 0.0
    # The sums do not include rebalancing steps.
    assert torch.equal(balancer._cross, sums[0]) and torch.equal(balancer._own, sums[1])
    assert int(balancer._left) == 1


def test_state_survives():
    first = Greedy(warmup=0)
    trainer = small_trainer([first])
    one_step(trainer)
    second = made("voice", "face", warmup=0)
    second.load_state_dict(first.state_dict())
    assert second.metrics() == first.metrics()
    x = {m: torch.randn(4, 6, generator=torch.Generator().manual_seed(1)) for m in first._means}
    step = StandIn(modalities=["voice", "face"])
    mine, theirs = first.representations(x, step), second.representations(x, step)
    assert all(torch.equal(z, theirs[m]) for m, z in mine.items())


@pytest.mark.parametrize(
    "bad", [{"epsilon": -1.0}, {"steps": 0}, {"warmup": -1}, {"momentum": 1.0}]
)
def test_parameters_out_of_range(bad):
    with pytest.raises(ParameterError, match="greedy needs"):
        Greedy(**bad)
