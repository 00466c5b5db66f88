"""The multimodal transformer, compared with numpy."""

import math

import numpy as np
import pytest
import torch
from by_hand import attention, encoder_layer, gelu, layer_norm, linear, numbers, sinusoids

from fusion.core.contracts.errors import ParameterError
from fusion.core.training.model import count_parameters
from fusion.plugins.strategies.cross_attention import CrossAttention, _CrossLayer
from fusion.testing import StrategySuite


def model_of(dims, **options):
    torch.manual_seed(0)
    model = CrossAttention(dims, 4, **{"width": 8, "heads": 2, **options}).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def crossed(target, source, p, name, layers):
    z = target
    for layer in range(layers):
        at = f"{name}.layers.{layer}"
        keys = layer_norm(source, p, f"{at}.norm_source")  # the source itself, in every layer
        queries = layer_norm(z, p, f"{at}.norm_target")
        z = z + attention(queries, keys, p, f"{at}.attention", 2)
        hidden = linear(layer_norm(z, p, f"{at}.feed_forward.0"), p, f"{at}.feed_forward.1")
        z = z + linear(gelu(hidden), p, f"{at}.feed_forward.4")
    return layer_norm(z, p, f"{name}.norm")


def by_the_rule(model, maps, layers):
    """The paper's equations for one clip, whose maps are (C, T) each."""
    p = numbers(model)
    tokens = {
        m: linear(x.T, p, f"tokens.{m}.project") + sinusoids(x.shape[1], 8) for m, x in maps.items()
    }
    pooled = []
    for m, own in tokens.items():
        parts = [
            crossed(own, other, p, f"targets.{m}.cross.{j}", layers)
            for j, other in tokens.items()
            if j != m
        ]
        joined = np.concatenate(parts, axis=1) if parts else own
        for layer in range(layers):
            joined = encoder_layer(joined, p, f"targets.{m}.layers.{layer}", 2)
        pooled.append(layer_norm(joined, p, f"targets.{m}.layers.{layers}").mean(axis=0))
    return linear(np.concatenate(pooled), p, "head")


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_the_forward_pass_equals_numpy(layers, names):
    model = model_of({m: 2 + i for i, m in enumerate(names)}, layers=layers)
    maps = {m: torch.randn(3, 2 + i, 4 + i) for i, m in enumerate(names)}
    scores = model(maps).detach().numpy()
    for clip in range(3):
        one = {m: x[clip].double().numpy() for m, x in maps.items()}
        np.testing.assert_allclose(scores[clip], by_the_rule(model, one, layers), atol=1e-4)


def test_a_cross_layer_with_identity_weights_by_hand():
    """One query, two keys, width 2: attention is a softmax of the normalised inner products."""
    layer = _CrossLayer(2, 1, 0.0).eval()
    with torch.no_grad():
        layer.attention.in_proj_weight.copy_(torch.eye(2).repeat(3, 1))
        layer.attention.out_proj.weight.copy_(torch.eye(2))
        layer.feed_forward[4].weight.zero_()
        layer.feed_forward[4].bias.zero_()
    target = torch.tensor([[[3.0, 1.0]]])
    source = torch.tensor([[[0.0, 10.0], [8.0, 2.0]]])
    # Normalised: query (1, -1), keys (-1, 1) and (1, -1). Inner products are -2 and 2, divided by
    # sqrt(2). The softmax weights the keys, which are also the values.
    near = 1 / (1 + math.exp(-4 / math.sqrt(2)))
    moved = near - (1 - near)
    result = layer(target, source).flatten().tolist()
    assert result == pytest.approx([3 + moved, 1 - moved], abs=1e-4)


def test_each_target_reads_every_other_modality():
    """The pooled output of `m` depends on the tokens of each modality."""
    model = model_of(dict.fromkeys("abc", 2))
    maps = {m: torch.randn(2, 2, 5) for m in "abc"}
    tokens = {m: model.tokens[m](maps[m]) for m in "abc"}
    for m in "abc":
        before = model.targets[m](tokens[m], tokens)
        for j in "abc":
            changed = {**tokens, j: tokens[j].flip(2)}
            after = model.targets[m](changed[m], changed)
            assert (after - before).abs().max() > 1e-3, (m, j)


def test_scores_do_not_depend_on_the_order_of_modalities_and_weights():
    one, other = model_of({"a": 3, "b": 2}), model_of({"b": 2, "a": 3})
    state = one.state_dict()
    head = state["head.weight"]  # (4, 16): columns of a, then of b
    state["head.weight"] = torch.cat([head[:, 8:], head[:, :8]], dim=1)
    other.load_state_dict(state)
    maps = {"a": torch.randn(2, 3, 5), "b": torch.randn(2, 2, 2, 3)}
    assert torch.allclose(one(maps), other({m: maps[m] for m in "ba"}), atol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_the_number_of_weights_is_as_documented(count):
    width = 64
    model = CrossAttention(dict.fromkeys("abc"[:count], 4), 4, width=width, layers=2)
    expected = 8 * 2 * width**2 * count**2 * (count - 1)
    assert count_parameters(model) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", ["width", "heads", "layers", "max_tokens"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ParameterError, match=f"cross_attention.{name} must be 1 or more"):
        CrossAttention({"a": 3}, 4, **{name: 0})


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ParameterError, match=r"multiple of cross_attention.heads, and is 10"):
        CrossAttention({"a": 3}, 4, width=10)


def test_a_dropout_of_one_is_refused():
    with pytest.raises(ParameterError, match=r"cross_attention.dropout must be in \[0, 1\)"):
        CrossAttention({"a": 3}, 4, dropout=1.0)


class TestCrossAttention(StrategySuite):
    plugin = CrossAttention
