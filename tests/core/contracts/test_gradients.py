"""Gradients by modality: norms, factors and parts, computed by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion import Gradients
from fusion.core.contracts import inner, norm_of


def of(*values):
    return [torch.tensor(value) for value in values]


def test_factors_are_multiplied_and_scale_the_norm():
    gradients = Gradients({"a": [torch.tensor([3.0]), torch.tensor([[4.0]])]})
    assert float(gradients.norm("a")) == 5.0
    gradients.scale("a", 0.5)
    gradients.scale("a", 0.5)
    assert float(gradients.factors["a"]) == 0.25
    assert float(gradients.norm("a")) == 1.25


def test_a_factor_is_stored_separately_and_may_be_a_number_or_a_tensor():
    gradients = Gradients({"a": of([2.0]), "b": of([3.0])})
    gradients.scale("a", torch.tensor(0.25, dtype=torch.float64))
    gradients.scale("a", 2)
    assert (gradients["a"][0].tolist(), gradients["b"][0].tolist()) == ([2.0], [3.0])
    assert set(gradients.factors) == {"a"}
    factor = gradients.factors["a"]
    assert (float(factor), factor.dtype, factor.shape) == (0.5, torch.float32, ())


def test_replacements_are_written_into_the_same_tensors():
    """The optimiser holds these tensors, so another list would have no effect."""
    own = of([1.0, 2.0], [[3.0]])
    gradients = Gradients({"a": own})
    gradients.replace("a", of([5.0, 6.0], [[7.0]]))
    assert gradients["a"][0] is own[0]
    assert [tensor.tolist() for tensor in own] == [[5.0, 6.0], [[7.0]]]


def test_a_loss_that_does_not_reach_a_branch_has_zero_gradients():
    parts = {"fused": {"a": of([1.0, 2.0])}, "unimodal.b": {}}
    gradients = Gradients({"a": of([4.0, 5.0])}, parts=parts)
    assert gradients.losses == ["fused", "unimodal.b"]
    assert gradients.part("fused", "a")[0].tolist() == [1.0, 2.0]
    assert [g.tolist() for g in gradients.part("unimodal.b", "a")] == [[0.0, 0.0]]
    assert gradients["a"][0].tolist() == [4.0, 5.0]


def test_without_parts_there_are_no_losses_and_a_branch_without_gradient_is_a_key_error():
    parameter = torch.nn.Parameter(torch.ones(1))
    gradients = Gradients({"a": of([1.0])}, {"a": [parameter]})
    assert (gradients.losses, gradients.modalities) == ([], ["a"])
    assert gradients.parameters("a") == [parameter]
    for ask in (gradients.__getitem__, gradients.norm, gradients.parameters):
        with pytest.raises(KeyError, match="b"):
            ask("b")


values = st.lists(
    st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=4), min_size=1, max_size=3
)


@settings(max_examples=30, deadline=None)
@given(values, st.floats(-3, 3))
def test_norm_and_inner_product_equal_those_of_the_concatenated_values(lists, slope):
    tensors = of(*lists)
    rest = [slope * tensor + 1 for tensor in tensors]
    flat, other = torch.cat(tensors).double(), torch.cat(rest).double()
    assert float(inner(tensors, rest)) == pytest.approx(float(flat @ other), rel=1e-4, abs=1e-3)
    assert float(norm_of(tensors)) == pytest.approx(float((flat @ flat).sqrt()), rel=1e-5)
