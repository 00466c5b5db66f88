"""Evidence from linear models with known relevance of channels and modalities."""

import math

import numpy as np
import pytest
import torch
from linear_models import asked, linear_model, rows

from fusion.core.analysis.explain.summary import probability_shapley


def test_an_ignored_channel_has_no_effect():
    torch.manual_seed(0)
    inputs = {"a": torch.randn(9, 2, 1), "b": torch.randn(9, 1, 1)}
    at, result = asked(linear_model({"a": [1.5, 0.0], "b": [1.0]}), inputs)
    ignored, used = at["a: channel 1"], at["a: channel 0"]

    assert np.allclose(result.left_out[ignored], result.log_probabilities)
    assert np.allclose(result.permuted[ignored], result.log_probabilities)
    assert not result.signed[ignored].any()
    assert not result.absolute[ignored].any()
    assert not np.allclose(result.left_out[used], result.log_probabilities)
    assert not np.allclose(result.permuted[used], result.log_probabilities)
    assert result.signed[used].all()


def test_an_ignored_modality_has_no_effect():
    at, result = asked(
        linear_model({"a": [2.0], "b": [0.0]}), {"a": rows([1.0], [-1.0]), "b": rows([3.0], [4.0])}
    )
    shapley = probability_shapley(result.subsets, np.array([1, 0]), ["a", "b"])

    assert shapley["b"].tolist() == [0.0, 0.0]
    assert shapley["a"] == pytest.approx([1 / (1 + math.exp(-2.0)) - 0.5] * 2)
    assert not result.signed[at["b"]].any()


def test_two_equal_channels_share_the_gradients():
    """Each channel has half of the gradients, and one channel is enough to recognise the class."""
    equal = torch.tensor([3.0, -3.0, 2.0, -2.0])[:, None, None]
    at, result = asked(linear_model({"a": [1.0, 1.0]}), {"a": equal.expand(-1, 2, 1)})
    one, other, both = at["a: channel 0"], at["a: channel 1"], at["a"]

    assert np.allclose(result.signed[one], result.signed[other])
    assert np.allclose(result.signed[one] + result.signed[other], result.signed[both])
    best = result.log_probabilities.argmax(axis=1)
    assert (result.left_out[one].argmax(axis=1) == best).all()
    assert np.allclose(result.left_out[both], math.log(0.5))


def test_the_gradients_of_all_modalities_sum_to_the_difference():
    torch.manual_seed(1)
    at, result = asked(
        linear_model({"a": [1.0, -2.0], "b": [0.7]}),
        {"a": torch.randn(70, 2, 1), "b": torch.randn(70, 1, 1)},  # more than a batch
    )

    assert result.log_probabilities.shape == (70, 2)
    assert result.permuted.shape == (len(at), 4, 70, 2)
    total = result.signed[at["a"]] + result.signed[at["b"]]
    assert total == pytest.approx(result.difference, abs=1e-3)
    assert (result.absolute >= np.abs(result.signed) - 1e-6).all()


def test_permuting_an_irrelevant_channel_has_almost_no_effect():
    torch.manual_seed(2)
    n = 400
    labels = torch.arange(n) % 2
    message = (2.0 * labels - 1)[:, None, None] + 0.3 * torch.randn(n, 1, 1)
    noise = torch.randn(n, 1, 1)
    model = linear_model({"a": [3.0, 0.05]})
    at, result = asked(model, {"a": torch.cat([message, noise], dim=1)}, permutations=10)

    def uar(output):
        return (output.argmax(-1) == labels.numpy()).mean(-1)  # classes are balanced

    drop = uar(result.log_probabilities) - uar(result.permuted[at["a: channel 1"]])
    assert np.abs(drop).max() < 0.01
    assert (uar(result.log_probabilities) - uar(result.permuted[at["a: channel 0"]])).min() > 0.4
