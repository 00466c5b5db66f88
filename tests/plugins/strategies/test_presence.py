"""Scores of clips that lack modalities, by strategies that support absent modalities."""

import pytest
import torch

from fusion.plugins.strategies._presence import equal_weights, stack_embeddings
from fusion.plugins.strategies.attention import Attention
from fusion.plugins.strategies.bottleneck import Bottleneck
from fusion.plugins.strategies.cross_attention import CrossAttention
from fusion.plugins.strategies.mean import Mean
from fusion.plugins.strategies.sum import Sum

# Three clips: one has both modalities, one only the first, one only the second.
PRESENT = torch.tensor([[True, True], [True, False], [False, True]])
INPUTS = {"b": torch.tensor([[10.0, 20.0]] * 3), "a": torch.tensor([[1.0, 2.0]] * 3)}


def identity(strategy):
    strategy.head.weight.data = torch.eye(2)
    strategy.head.bias.data.zero_()
    return strategy.eval()


def test_equal_weights_and_stacked_embeddings_by_hand():
    assert equal_weights(PRESENT).tolist() == [[0.5, 0.5], [1, 0], [0, 1]]
    result = stack_embeddings(INPUTS, ["a", "b"], PRESENT)
    assert result[0].tolist() == [[1, 2], [10, 20]]
    assert result[1].tolist() == [[1, 2], [0, 0]]
    assert result[2].tolist() == [[0, 0], [10, 20]]
    nan = {"a": INPUTS["a"], "b": torch.full((3, 2), float("nan"))}
    assert torch.isfinite(stack_embeddings(nan, ["a", "b"], PRESENT)[1]).all()


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [
        (Sum, [[11.0, 22.0], [1.0, 2.0], [10.0, 20.0]]),
        (Mean, [[5.5, 11.0], [1.0, 2.0], [10.0, 20.0]]),
    ],
)
def test_sum_and_mean_over_present_modalities(plugin, expected):
    strategy = identity(plugin({"a": 2, "b": 2}, 2))
    torch.testing.assert_close(strategy(INPUTS, PRESENT), torch.tensor(expected))


def test_attention_over_present_modalities():
    torch.manual_seed(0)
    large = Attention(dict.fromkeys("abc", 8), 3, layers=2, heads=2, dropout=0.0).eval()
    small = Attention(dict.fromkeys("ac", 8), 3, layers=2, heads=2, dropout=0.0).eval()
    own = small.state_dict()
    small.load_state_dict({k: v for k, v in large.state_dict().items() if k in own})
    inputs = {m: torch.randn(4, 8) for m in "abc"}
    present = torch.tensor([[True, False, True]] * 4)
    torch.testing.assert_close(large(inputs, present), small(inputs))
    weights = large.modality_weights(inputs, present)
    torch.testing.assert_close(weights[:, [0, 2]], small.modality_weights(inputs))
    assert not weights[:, 1].any()


def test_bottleneck_over_present_modalities():
    torch.manual_seed(0)
    sizes = {"width": 8, "heads": 2, "layers": 3, "exchanges": 2, "dropout": 0.0}
    large = Bottleneck(dict.fromkeys("abc", 4), 3, **sizes).eval()
    small = Bottleneck(dict.fromkeys("ac", 4), 3, **sizes).eval()
    own = small.state_dict()
    small.load_state_dict({k: v for k, v in large.state_dict().items() if k in own})
    inputs = {m: torch.randn(5, 4, 3, 2) for m in "abc"}
    present = torch.tensor([[True, False, True]] * 5)
    torch.testing.assert_close(large(inputs, present), small(inputs))


def test_cross_attention_without_a_source_is_the_targets_feed_forward():
    """One of two modalities is present: its tokens are z + 0, then the feed-forward part."""
    torch.manual_seed(0)
    strategy = CrossAttention({"a": 4, "b": 4}, 3, width=8, heads=2, dropout=0.0).eval()
    inputs = {m: torch.randn(2, 4, 3) for m in "ab"}
    present = torch.tensor([[True, False]] * 2)
    with torch.no_grad():
        result = strategy(inputs, present)
        own = strategy.tokens["a"](inputs["a"])
        target = strategy.targets["a"]
        stack = target.cross["b"]
        (layer,) = stack.layers
        crossed = stack.norm(own + layer.feed_forward(own))
        pooled = target.layers(crossed).mean(dim=1)
        expected = strategy.head(torch.cat([pooled, torch.zeros(2, 8)], dim=1))
    torch.testing.assert_close(result, expected)
