"""Classes with a fault: name, docstring and module, and refused kinds and strengths."""

import sys

import pytest
from fault_examples import DIMS, Hundred, Length

from fusion.core.contracts.errors import ParameterError
from fusion.core.registry.parameters import parameters_of
from fusion.core.testing.faults.faulty_class import Label, kind_of
from fusion.plugins.branches.cnn import CNN
from fusion.plugins.branches.mlp import MLP
from fusion.plugins.strategies.concat import Concat
from fusion.plugins.strategies.early import Early
from fusion.testing import faults


def test_parameters_name_and_docstring_follow_the_healthy_class():
    cls = faults.scaled(faults.dead(CNN, 0.5), 10.0)
    assert cls.name == "cnn_dead_scaled"
    first, second = faults.dead(MLP, 0.1, name="twice"), faults.dead(MLP, 0.2, name="twice")
    assert (first.__qualname__, second.__qualname__) == ("Twice", "Twice2")
    assert sys.modules[__name__].Twice2 is second
    assert parameters_of(cls) == parameters_of(CNN)
    assert cls.space == CNN.space
    assert not cls.default
    assert cls.__doc__.startswith("Deliberate fault: all values are multiplied by 10.")
    assert faults.dead(CNN, name="half").name == "half"
    assert cls.accepts((1, 4, 4))
    assert not cls.accepts((4,))


@pytest.mark.parametrize(
    ("fault", "cls", "possible"),
    [
        (faults.narrow, Concat, "a branch"),
        (faults.oversized, CNN, "a strategy that takes embeddings"),
        (faults.oversized, Early, "a strategy that takes embeddings"),
        (faults.locked, Early, "a strategy that takes embeddings"),
        (faults.frozen, Length, "a branch or a strategy"),
        (faults.scaled, Hundred, "an extractor, a branch or a strategy"),
        (faults.shuffled, CNN, "an extractor"),
        (faults.mislabelled, Length, "a corpus"),
        (faults.duplicated, int, "a corpus"),
        (faults.dead, "cnn", "an extractor, a branch or a strategy"),
    ],
)
def test_another_kind_is_refused(fault, cls, possible):
    with pytest.raises(TypeError, match=f"takes {possible}, and was given"):
        fault(cls)


def test_invalid_strengths_are_refused():
    with pytest.raises(ValueError, match="share from 0 to 1"):
        faults.dead(CNN, 1.5)
    with pytest.raises(ValueError, match="finite factor other than 0"):
        faults.scaled(CNN, 0.0)
    with pytest.raises(ValueError, match="dim >= 1"):
        faults.narrow(CNN, 0)
    with pytest.raises(ValueError, match="steps >= 0"):
        faults.late(CNN, -1)
    with pytest.raises(TypeError, match="--branch mel=cnn_dead"):
        faults.dead(CNN, modality="mel")
    with pytest.raises(ParameterError, match="no modality 'mel', .* available: a, b, c"):
        faults.dead(Concat, modality="mel")(dict(DIMS), 4)


def test_another_strength_has_another_version():
    """Cached features of one strength are not used for another."""
    label = Label("scaled", "all values are multiplied by 10.", {"factor": 10.0, "modality": None})
    assert label.version_for(Hundred) == "7+scaled(factor=10.0)"
    assert label.name_for(Hundred) == "hundred_scaled"
    assert faults.scaled(Length, 10.0).version != faults.scaled(Length, 2.0).version


def test_kinds_of_classes():
    kinds = {Length: "extractor", Hundred: "corpus", CNN: "branch", Concat: "strategy"}
    assert {cls: kind_of(cls) for cls in kinds} == kinds
    assert kind_of(int) is kind_of("cnn") is None
