"""The patch transformer, compared with numpy."""

import numpy as np
import pytest
import torch
from by_hand import attention, encoder_layer, layer_norm, linear, numbers

from fusion.core.contracts.errors import ParameterError
from fusion.core.training.model import count_parameters
from fusion.plugins.branches.transformer import Transformer
from fusion.testing import BranchSuite


def branch_of(shape, **options):
    torch.manual_seed(0)
    branch = Transformer(shape, 5, **{"width": 8, "heads": 2, **options}).eval()
    with torch.no_grad():
        for p in branch.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return branch


@pytest.mark.parametrize("pooling", ["mean", "class"])
@pytest.mark.parametrize("shape", [(2, 6, 9), (1, 7, 5)])
def test_the_forward_pass_equals_numpy(shape, pooling):
    branch = branch_of(shape, patch=3, pooling=pooling)
    x = torch.randn(2, *shape)
    maps, embedding = branch.maps(x), branch(x)
    p = numbers(branch)
    rows, columns = -(-shape[1] // 3), -(-shape[2] // 3)
    assert maps.shape == (2, 8, rows, columns)
    for clip in range(2):
        full = np.zeros((shape[0], 3 * rows, 3 * columns))
        full[:, : shape[1], : shape[2]] = x[clip].numpy()
        cut = [
            full[:, 3 * r : 3 * r + 3, 3 * c : 3 * c + 3].ravel()
            for r in range(rows)
            for c in range(columns)
        ]
        tokens = np.array(cut) @ p["project.weight"].reshape(8, -1).T + p["project.bias"]
        tokens = tokens + p["position"][0]
        for layer in range(2):
            tokens = encoder_layer(tokens, p, f"layers.{layer}", 2)
        tokens = layer_norm(tokens, p, "layers.2")
        result = maps[clip].detach().flatten(1).T.numpy()
        np.testing.assert_allclose(result, tokens, atol=1e-4)
        pooled = tokens.mean(axis=0)
        if pooling == "class":
            pooled = attention(p["class_token"][0], tokens, p, "attention", 2)[0]
        expected = np.maximum(linear(pooled, p, "embed"), 0)
        np.testing.assert_allclose(embedding[clip].detach().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "patch", "grid"),
    [
        ((1, 128, 256), 16, (8, 16)),
        ((6, 32, 32), 4, (8, 8)),
        ((1, 128, 257), 32, (4, 9)),
        ((3, 7, 11), 1, (7, 11)),
        ((1, 1, 500), 4, (1, 125)),
    ],
)
def test_the_patch_fits_the_input(shape, patch, grid):
    branch = Transformer(shape)
    assert branch.patch == patch
    assert branch.maps(torch.randn(2, *shape)).shape == (2, 64, *grid)


def test_positions_distinguish_equal_patches():
    branch = branch_of((1, 4, 4), patch=2)
    maps = branch.maps(torch.ones(1, 1, 4, 4)).flatten(2)[0].T
    apart = torch.cdist(maps, maps) + torch.eye(4)
    assert apart.min() > 1e-3


def test_the_number_of_weights_is_as_documented():
    branch = Transformer((1, 32, 32), 64, patch=8, width=128, layers=6)
    assert count_parameters(branch) == pytest.approx(6 * 8 * 128**2, rel=0.05)


def test_more_tokens_than_fit_are_refused():
    with pytest.raises(ParameterError, match="patch=1 cuts .* into 32768 tokens") as caught:
        Transformer((1, 128, 256), patch=1)
    assert "16." in caught.value.hint


@pytest.mark.parametrize("name", ["patch", "width", "heads", "layers"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ParameterError, match=f"transformer needs .*{name}=0"):
        Transformer((1, 8, 8), **{name: 0})


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ParameterError, match=r"multiple of transformer.heads, and is 10 with 4"):
        Transformer((1, 8, 8), width=10)


class TestTransformer(BranchSuite):
    plugin = Transformer
