"""The model as seen by plugins: present modalities, baselines and outputs."""

import numpy as np
import pytest
import torch

from fusion.core.contracts.model import Encoded, Outputs, Presence, along
from fusion.core.testing.checks.problem import small_baselines, small_features

B_GONE = Presence(("a", "b"), torch.tensor([[True, False], [True, True]]), {"b": torch.tensor([1])})


@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 1, 4, 5)])
def test_a_flag_per_clip_is_broadcast_over_its_array(shape):
    flags = torch.tensor([True, False])
    result = along(flags, torch.ones(shape)) & torch.ones(shape, dtype=torch.bool)
    assert result.shape == shape and result[0].all() and not result[1].any()


def test_blanked_is_zero_for_absent_modalities_even_for_nan():
    passed = {"a": torch.ones(2, 3), "b": torch.full((2, 2, 2), torch.nan)}
    result = B_GONE.blanked(passed)
    assert result["a"] is passed["a"]
    assert result["b"][0].tolist() == [[0, 0], [0, 0]] and result["b"][1].isnan().all()
    assert passed["b"].isnan().all()  # the original is unchanged


def test_blanked_accepts_some_modalities_and_arrays_without_axes():
    assert B_GONE.blanked({"b": torch.tensor([5.0, 7.0])})["b"].tolist() == [0, 7]


def test_blanked_values_receive_no_gradient():
    x = torch.ones(2, 3, requires_grad=True)
    B_GONE.blanked({"b": x})["b"].sum().backward()
    assert x.grad.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_rows_are_those_of_clips_with_the_modality():
    outputs = Outputs(
        np.array([4, 9, 2]), torch.tensor([0, 1, 2]), {}, torch.zeros(3, 3), {},
        present={"b": torch.tensor([True, False, True])},
    )  # fmt: skip
    assert outputs.rows("b", outputs.labels).tolist() == [0, 2]
    assert outputs.rows("a", outputs.labels) is outputs.labels
    assert (outputs.subsets, Outputs.__dataclass_params__.frozen) == ({}, True)


def test_logits_and_embedding_are_float32_without_gradient():
    baseline = small_baselines(2)["face"]
    raw, _ = small_features(2).batch([0, 1, 2])
    for result, size in ((baseline.embedding(raw), 6), (baseline.logits(raw), 3)):
        assert result.shape == (3, size)
        assert result.dtype is torch.float32 and not result.requires_grad


def test_a_baseline_uses_its_own_modality_and_float32():
    baseline = small_baselines(2)["face"]
    inputs = {"face": torch.randn(3, 4)}

    class Half:
        """A model in half precision, as under autocast."""

        @staticmethod
        def encode(passed):
            return Encoded({m: x.half() for m, x in passed.items()}, {})

        @staticmethod
        def strategy_inputs(encoded):
            return encoded.embeddings

        @staticmethod
        def fuse(passed):
            return 2 * passed["face"]

    half = type(baseline)("face", Half(), 0.5)
    result = half.embedding(inputs), half.logits(inputs)
    assert [x.dtype for x in result] == [torch.float32] * 2
    torch.testing.assert_close(result[0], inputs["face"].half().float())
    torch.testing.assert_close(result[1], 2 * result[0])
    torch.testing.assert_close(
        baseline.logits(inputs), baseline.model.strategy({"face": baseline.embedding(inputs)})
    )
