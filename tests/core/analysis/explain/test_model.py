"""Combined trained models as one function of their standardised inputs."""

import math

import pytest
import torch
from linear_models import Flat, Linear, linear_model, rows
from torch import nn

from fusion.core.analysis.explain.model import Explained
from fusion.core.runs.bundle import Part
from fusion.core.training.model import FusionModel


def test_a_mean_of_models_is_a_mean_of_probabilities():
    low, high = linear_model({"a": [0.0]}), linear_model({"a": [2.0]})
    high.standardise["a"].set(torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    explained = Explained([Part(low, 0.25, group=0), Part(high, 0.75, group=1)])

    inputs = explained.standardised({"a": rows([5.0])})
    probability = explained(inputs).exp()[0, 1].item()

    assert inputs[0, "a"].item() == 5.0  # standardised by each member's own statistics
    assert inputs[1, "a"].item() == 2.0  # (5 - 1) / 2
    assert probability == pytest.approx(0.25 * 0.5 + 0.75 / (1 + math.exp(-4.0)))


def test_a_member_without_its_modality_has_zeros_as_input():
    models = [linear_model({"a": [2.0]}), linear_model({"b": [1.0]})]
    explained = Explained([Part(model, 0.5, group=k) for k, model in enumerate(models)])
    reference = explained.represent(explained.standardised({"a": rows([1.0]), "b": rows([3.0])}))

    assert explained.modalities == ["a", "b"]
    assert not explained.knows_absence
    probability = explained.fuse(reference, ["b"]).exp()[0, 1].item()
    assert probability == pytest.approx(0.5 * 0.5 + 0.5 / (1 + math.exp(-3.0)))


def test_a_pool_of_models_multiplies_powers_of_probabilities():
    """The odds of a group are the product of its members' odds raised to their powers."""
    one, other = linear_model({"a": [2.0]}), linear_model({"b": [1.0]})
    alone = linear_model({"a": [0.0]})
    parts = [Part(one, 0.5, 1.5, 0), Part(other, 0.5, 0.5, 0), Part(alone, 0.5, 1.0, 1)]
    explained = Explained(parts)

    inputs = explained.standardised({"a": rows([1.0]), "b": rows([3.0])})
    probability = explained(inputs).exp()[0, 1].item()

    odds = 1.5 * 2.0 + 0.5 * 3.0  # log-odds
    assert probability == pytest.approx(0.5 / (1 + math.exp(-odds)) + 0.5 * 0.5)


def test_recurrent_branches_are_differentiable_in_evaluation_mode():
    class Recurrent(Flat):
        def __init__(self):
            super().__init__((1, 1))
            self.rnn = nn.GRU(1, 1)

    model = FusionModel({"a": Recurrent()}, Linear({"a": [1.0]}), 2)
    with Explained([Part(model)]).evaluating():
        assert not model.branches["a"].training
        assert not torch.backends.cudnn.enabled
    assert model.branches["a"].training
    assert torch.backends.cudnn.enabled
