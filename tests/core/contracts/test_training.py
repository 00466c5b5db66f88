"""What a balancer's checkpoint holds by default: the attributes that it names."""

import torch

from fusion import Balancer


class Remembers(Balancer):
    name = "remembers"
    checkpointed = ("_means", "_history", "steps")

    def __init__(self):
        self._means = {"a": torch.tensor(1.0)}
        self._history = {"a": [1.0]}
        self.steps = 3
        self.rest = "not kept"


def test_named_attributes_are_the_state():
    before, after = Remembers(), Remembers()
    state = before.state_dict()
    assert state == {"means": {"a": torch.tensor(1.0)}, "history": {"a": [1.0]}, "steps": 3}
    after._means, after._history, after.steps = {}, {}, 0
    after.load_state_dict(state)
    assert after.state_dict() == state


def test_a_state_stays_as_it_was_while_the_training_goes_on():
    balancer, other = Remembers(), Remembers()
    state = balancer.state_dict()
    other.load_state_dict(state)
    for one in (balancer, other):
        one._means["b"] = torch.zeros(())
        one._history["a"].append(2.0)
        one.steps += 1
    assert state == {"means": {"a": torch.tensor(1.0)}, "history": {"a": [1.0]}, "steps": 3}


def test_none_is_named():
    balancer = Balancer()
    assert balancer.state_dict() == {}
    balancer.load_state_dict({})
