"""The balancer contract: methods that are not overridden do not change a training."""

import numpy as np
import pytest
import torch

from fusion import Balancer, Clips
from fusion.core.contracts import Gradients, ParameterGroup
from fusion.core.contracts.training import Domain
from fusion.core.testing.checks.problem import SmallStrategy, small_step, small_trainer


class Nothing(Balancer):
    name = "nothing"


def test_every_hook_returns_its_argument_by_default():
    balancer, step = Nothing(), small_step()
    tensors = {"voice": torch.ones(2, 3)}
    strategy = SmallStrategy({"voice": 3}, 2)
    groups = [ParameterGroup("head", None, [], 0.1, 0.0)]
    clips = Clips(np.arange(3))
    table = torch.ones(2, 1, dtype=torch.bool)
    assert balancer.adapt(strategy, {"voice": 3}) is strategy
    assert balancer.parameter_groups(groups) is groups
    assert balancer.clips(clips, 1) is clips
    assert balancer.present(table, step) is table
    for change in (balancer.inputs, balancer.representations, balancer.losses):
        assert change(tensors, step) is tensors
    assert balancer.logits(tensors["voice"], step) is tensors["voice"]


def test_decisions_are_none_and_records_are_empty_by_default():
    balancer = Nothing()
    assert balancer.stage(1) is None and balancer.passes(small_step()) is None
    assert (balancer.metrics(), balancer.state_dict(), balancer.acts_from) == ({}, {}, 1)
    assert not balancer.takes_over and not balancer.separate


def test_gradients_are_unchanged_by_default():
    gradients = Gradients({"voice": [torch.tensor([3.0])]})
    Nothing().gradients(gradients, small_step())
    assert gradients["voice"][0].tolist() == [3.0] and gradients.factors == {}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_training_with_an_empty_balancer_equals_one_without(optimizer):
    trained = []
    for balancers in ([], [Nothing()]):
        trainer = small_trainer(balancers, 2, epochs=1, optimizer=optimizer)
        trainer.fit()
        trained.append(trainer.model.state_dict())
    assert all(torch.equal(trained[1][k], v) for k, v in trained[0].items())


def test_each_domain_is_documented():
    for domain in Domain.__args__:
        assert f'``"{domain}"``' in Balancer.__doc__


# -- state in checkpoints ---------------------------------------------------------------


class Remembers(Balancer):
    name = "remembers"
    checkpointed = ("_means", "_history", "steps")

    def __init__(self):
        self._means = {"a": torch.tensor(1.0)}
        self._history = {"a": [1.0]}
        self.steps = 3
        self.rest = "not kept"


def test_checkpointed_attributes_are_the_state():
    before, after = Remembers(), Remembers()
    state = before.state_dict()
    assert state == {"means": {"a": torch.tensor(1.0)}, "history": {"a": [1.0]}, "steps": 3}
    after._means, after._history, after.steps = {}, {}, 0
    after.load_state_dict(state)
    assert after.state_dict() == state


def test_a_state_does_not_change_during_further_training():
    balancer, other = Remembers(), Remembers()
    state = balancer.state_dict()
    other.load_state_dict(state)
    for one in (balancer, other):
        one._means["b"] = torch.zeros(())
        one._history["a"].append(2.0)
        one.steps += 1
    assert state == {"means": {"a": torch.tensor(1.0)}, "history": {"a": [1.0]}, "steps": 3}


def test_the_state_is_empty_by_default():
    balancer = Balancer()
    assert balancer.state_dict() == {}
    balancer.load_state_dict({})
