"""The convolutional recurrent branch: its recurrence in numpy, its shapes, its parameters."""

import numpy as np
import pytest
import torch
from by_hand import numbers

from fusion.core.contracts.errors import ParameterError
from fusion.plugins.branches.crnn import CRNN
from fusion.testing import BranchSuite


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(sequence, p, suffix):
    """Return the states (T, H) of one direction over (T, features); gates in the order r, z, n."""
    wi, wh = p[f"recurrent.weight_ih_{suffix}"], p[f"recurrent.weight_hh_{suffix}"]
    bi, bh = p[f"recurrent.bias_ih_{suffix}"], p[f"recurrent.bias_hh_{suffix}"]
    state = np.zeros(wh.shape[1])
    states = []
    for x in sequence:
        (ri, zi, ni), (rh, zh, nh) = np.split(wi @ x + bi, 3), np.split(wh @ state + bh, 3)
        reset, update = sigmoid(ri + rh), sigmoid(zi + zh)
        state = (1 - update) * np.tanh(ni + reset * nh) + update * state
        states.append(state)
    return np.array(states)


@pytest.mark.parametrize("frequency", ["flatten", "mean"])
def test_the_maps_are_a_bidirectional_gru_over_the_convolutions(frequency):
    torch.manual_seed(0)
    branch = CRNN((2, 12, 20), 5, blocks=2, channels=3, hidden=4, frequency=frequency).eval()
    x = torch.randn(3, 2, 12, 20)
    local = branch.blocks(x).detach().double().numpy()  # (B, C, F, T)
    assert local.shape == (3, 6, 3, 5)
    p = numbers(branch)
    maps = branch.maps(x).detach().numpy()  # (B, 2 H, T)
    for clip in range(3):
        sequence = local[clip].reshape(18, 5).T if frequency == "flatten" else local[clip].mean(1).T
        ahead = gru(sequence, p, "l0")
        back = gru(sequence[::-1], p, "l0_reverse")[::-1]
        np.testing.assert_allclose(maps[clip], np.concatenate([ahead, back], axis=1).T, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "blocks", "time_halvings", "left"),
    [
        ((1, 128, 256), 4, 2, (8, 64)),
        ((6, 32, 32), 4, 2, (2, 8)),
        ((1, 37, 101), 4, 1, (2, 51)),
        ((1, 5, 300), 4, 0, (1, 300)),
        ((1, 5, 3), 4, 4, (1, 1)),
        ((2, 1, 1), 3, 3, (1, 1)),
    ],
)
def test_only_the_first_blocks_halve_time(shape, blocks, time_halvings, left):
    branch = CRNN(shape, 7, blocks=blocks, time_halvings=time_halvings)
    x = torch.randn(2, *shape)
    assert branch.blocks(x).shape[2:] == left
    assert branch.maps(x).shape == (2, 128, left[1])
    assert branch.recurrent.input_size == 64 * left[0]


def test_channels_double_up_to_the_maximum():
    branch = CRNN((1, 64, 64), blocks=4, channels=8, max_channels=20)
    wide = [m.out_channels for m in branch.blocks if isinstance(m, torch.nn.Conv2d)]
    assert wide == [8, 16, 20, 20]


def test_the_mean_over_frequency_does_not_depend_on_the_order_of_bands():
    torch.manual_seed(0)
    flat, mean = (CRNN((1, 32, 8), frequency=f).eval() for f in ("flatten", "mean"))
    local = torch.randn(1, 64, 2, 2)
    for branch, equal in ((flat, False), (mean, True)):
        branch.blocks.forward = lambda x: x
        result = torch.allclose(branch.maps(local), branch.maps(local.flip(2)), atol=1e-6)
        assert result is equal


def test_the_embedding_is_the_mean_over_time():
    branch = CRNN((1, 16, 16), 3, hidden=2).eval()
    maps = torch.randn(2, 4, 5)
    expected = branch.embed(maps.mean(dim=2)).relu()
    assert torch.equal(branch.pool(maps), expected)


@pytest.mark.parametrize("name", ["blocks", "channels", "max_channels", "hidden", "layers"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ParameterError, match=f"crnn needs .*{name}=0"):
        CRNN((1, 8, 8), **{name: 0})


@pytest.mark.parametrize("wrong", [{"time_halvings": -1}, {"dropout": 1.0}])
def test_other_wrong_parameters_are_refused(wrong):
    with pytest.raises(ParameterError, match="crnn"):
        CRNN((1, 8, 8), **wrong)


class TestCRNN(BranchSuite):
    plugin = CRNN
