"""The bottleneck transformer, compared with numpy, and which modalities exchange information."""

import numpy as np
import pytest
import torch
from by_hand import encoder_layer, layer_norm, linear, numbers, sinusoids

from fusion.core.contracts.errors import ParameterError
from fusion.core.training.model import count_parameters
from fusion.plugins.strategies.bottleneck import Bottleneck
from fusion.testing import StrategySuite

SMALL = {"width": 8, "heads": 2, "bottlenecks": 3}


def model_of(dims, **options):
    torch.manual_seed(0)
    model = Bottleneck(dims, 4, **{**SMALL, **options}).eval()
    with torch.no_grad():
        for p in model.parameters():  # their initial 0 and 1 would hide errors in biases and norms
            p.add_(0.3 * torch.randn_like(p))
    return model


def by_the_rule(model, maps, first):
    """The paper's equations for one clip, whose maps are (C, T) each."""
    p = numbers(model)
    own = {
        m: np.concatenate(
            [
                p[f"streams.{m}.class_token"][0],
                linear(x.T, p, f"streams.{m}.tokens.project") + sinusoids(x.shape[1], 8),
            ]
        )
        for m, x in maps.items()
    }
    shared = None
    for layer in range(model.layers):
        if layer == first:
            shared = p["shared"][0]
        copies = []
        for m, x in own.items():
            both = x if shared is None else np.concatenate([x, shared])
            after = encoder_layer(both, p, f"streams.{m}.layers.{layer}", 2)
            own[m], copy = after[: len(x)], after[len(x) :]
            copies.append(copy)
        if shared is not None:
            shared = sum(copies) / len(copies)
    scores = [linear(layer_norm(x[0], p, f"streams.{m}.norm"), p, "head") for m, x in own.items()]
    return sum(scores) / len(scores)


@pytest.mark.parametrize(("layers", "exchanges", "first"), [(1, 0, 9), (2, 1, 0), (4, 2, 1)])
@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_the_forward_pass_equals_numpy(layers, exchanges, first, names):
    model = model_of({m: 2 + i for i, m in enumerate(names)}, layers=layers, exchanges=exchanges)
    maps = {m: torch.randn(3, 2 + i, 4 + i) for i, m in enumerate(names)}
    scores = model(maps).detach().numpy()
    for clip in range(3):
        one = {m: x[clip].double().numpy() for m, x in maps.items()}
        np.testing.assert_allclose(scores[clip], by_the_rule(model, one, first), atol=1e-4)


def influence(model):
    """Largest gradient of the tokens of `a` with respect to the maps of `b`."""
    maps = {"a": torch.randn(2, 3, 5), "b": torch.randn(2, 2, 2, 3, requires_grad=True)}
    tokens = model.exchange(maps)["a"]
    if not tokens.requires_grad:
        return 0.0
    (tokens * torch.randn_like(tokens)).sum().backward()
    return 0.0 if maps["b"].grad is None else maps["b"].grad.abs().max().item()


def test_without_exchange_modalities_are_independent():
    assert influence(model_of({"a": 3, "b": 2}, layers=3, exchanges=0)) == 0


@pytest.mark.parametrize("exchanges", [1, 2])
def test_with_an_exchange_modalities_are_dependent(exchanges):
    assert influence(model_of({"a": 3, "b": 2}, layers=3, exchanges=exchanges)) > 1e-6


def test_modalities_exchange_information_only_through_the_bottleneck():
    """`a` does not depend on `b` if the shared tokens that `b` writes are set to zero."""
    model = model_of({"a": 3, "b": 2}, layers=2, exchanges=1)

    def strike(_module, _given, after):
        return torch.cat([after[:, :7], torch.zeros_like(after[:, 7:])], dim=1)

    model.streams["b"].layers[0].register_forward_hook(strike)  # 1 + 6 tokens are those of b
    assert influence(model) == 0


def test_without_exchange_the_scores_are_the_mean_over_modalities():
    both = model_of({"a": 3, "b": 2}, exchanges=0)
    maps = {"a": torch.randn(2, 3, 5), "b": torch.randn(2, 2, 6)}
    single = []
    for m, channels in {"a": 3, "b": 2}.items():
        alone = model_of({m: channels}, exchanges=0)
        own = {k: v for k, v in both.state_dict().items() if k.startswith((f"streams.{m}", "head"))}
        alone.load_state_dict(own)
        single.append(alone({m: maps[m]}))
    assert torch.allclose(both(maps), (single[0] + single[1]) / 2, atol=1e-6)


def test_scores_do_not_depend_on_the_order_of_modalities():
    one, other = model_of({"a": 3, "b": 2}), model_of({"b": 2, "a": 3})
    other.load_state_dict(one.state_dict())
    maps = {"a": torch.randn(2, 3, 5), "b": torch.randn(2, 2, 2, 3)}
    assert torch.allclose(one(maps), other({m: maps[m] for m in "ba"}), atol=1e-6)


def test_the_order_of_cells_matters_only_through_position_codes():
    model = model_of({"a": 3})
    x = torch.randn(2, 3, 6)
    assert not torch.allclose(model({"a": x}), model({"a": x.flip(2)}), atol=1e-4)
    tokens = model.streams["a"].tokens
    tokens.forward = lambda maps: tokens.project(maps.transpose(1, 2))  # without positions
    assert torch.allclose(model({"a": x}), model({"a": x.flip(2)}), atol=1e-5)


def test_the_number_of_weights_is_as_documented():
    width, layers = 64, 2
    model = Bottleneck({"a": 3, "b": 2}, 4, width=width, layers=layers)
    assert count_parameters(model) == pytest.approx(2 * layers * 8 * width**2, rel=0.05)


@pytest.mark.parametrize("name", ["width", "heads", "layers", "bottlenecks", "max_tokens"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ParameterError, match=f"bottleneck.{name} must be 1 or more, and is 0"):
        Bottleneck({"a": 3}, 4, **{name: 0})


@pytest.mark.parametrize(("layers", "exchanges"), [(1, 1), (3, 3), (2, -1)])
def test_exchanges_out_of_range_are_refused(layers, exchanges):
    with pytest.raises(ParameterError, match=r"exchanges must be from 0 to layers - 1"):
        Bottleneck({"a": 3}, 4, layers=layers, exchanges=exchanges)


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ParameterError, match=r"multiple of bottleneck.heads, and is 10 with 4"):
        Bottleneck({"a": 3}, 4, width=10)


class TestBottleneck(StrategySuite):
    plugin = Bottleneck
