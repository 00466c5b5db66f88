"""Early fusion, compared with values computed by hand."""

import numpy as np
import pytest
import torch

from fusion.core.contracts.errors import ParameterError
from fusion.core.training.model import count_parameters
from fusion.plugins.strategies.early import Early
from fusion.testing import StrategySuite


def plain(dims, **options):
    """Early fusion with all convolution weights at zero; a test sets the centres that it needs."""
    model = Early(dims, 2, dropout=0.0, **options).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.zero_()
            elif isinstance(module, torch.nn.BatchNorm2d):
                module.eps = 0.0
    return model


def set_centre(block, weights):
    with torch.no_grad():
        block[0].weight[:, :, 1, 1] = torch.tensor(weights)


def test_the_forward_pass_by_hand():
    """A 2 x 2 map of `a` beside a sequence of two frames of `b`, one channel each."""
    model = plain({"a": 1, "b": 1}, channels=1, blocks=1)
    set_centre(model.own["a"], [[2.0]])
    set_centre(model.own["b"], [[-1.0]])
    set_centre(model.shared[0], [[1.0, -3.0]])
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        model.head.bias.copy_(torch.tensor([0.5, 0.0]))
    a = torch.tensor([[1.0, 2.0], [-1.0, 4.0]]).view(1, 1, 2, 2)
    b = torch.tensor([-1.0, 5.0]).view(1, 1, 2)
    # relu(2 a) = [[2, 4], [0, 8]]; relu(-b) = [1, 0], the same at both frequencies.
    # relu(first - 3 * second) = [[0, 4], [0, 8]], mean 3.
    assert model({"a": a, "b": b}).tolist() == [[3.5, -3.0]]


def test_a_block_reads_neighbouring_cells():
    model = plain({"a": 1}, channels=1, blocks=1)
    with torch.no_grad():
        model.own["a"][0].weight.fill_(1.0)
        model.head.weight.fill_(1.0)
        model.head.bias.zero_()
    set_centre(model.shared[0], [[1.0]])
    # A single 1 in the corner of a 3 x 3 map is in the windows of four cells; the mean is 4/9.
    corner = torch.zeros(1, 1, 3, 3)
    corner[0, 0, 0, 0] = 1
    assert model({"a": corner})[0, 0].item() == pytest.approx(4 / 9)


def test_the_common_grid_is_the_longest_along_each_axis_and_capped():
    recorded = []
    maps = {"a": torch.randn(2, 3, 4, 9), "b": torch.randn(2, 2, 6, 5), "c": torch.randn(2, 7)}
    for cells in (256, 20):
        model = Early({"a": 3, "b": 2, "c": 7}, 4, channels=5, max_cells=cells)
        model.shared.register_forward_pre_hook(lambda _, passed: recorded.append(passed[0].shape))
        assert model(maps).shape == (2, 4)
    assert recorded == [(2, 15, 6, 9), (2, 15, 3, 5)]


def test_a_sequence_is_aligned_with_the_last_axis():
    """A frame of a sequence is combined with the spectrogram's cells of the same time."""
    model = plain({"a": 1, "b": 1}, channels=1, blocks=1)
    set_centre(model.own["a"], [[1.0]])
    set_centre(model.own["b"], [[1.0]])
    recorded = []
    model.shared.register_forward_pre_hook(lambda _, passed: recorded.append(passed[0]))
    late = torch.zeros(1, 1, 4)
    late[..., 3] = 1
    model({"a": torch.zeros(1, 1, 3, 4), "b": late})
    assert recorded[0][0, 1].tolist() == [[0, 0, 0, 1]] * 3


def test_axes_before_the_last_are_flattened():
    model = Early({"a": 3}, 4, channels=5).eval()
    maps = torch.randn(2, 3, 2, 3, 4)
    assert torch.equal(model({"a": maps}), model({"a": maps.reshape(2, 3, 6, 4)}))


def test_the_number_of_weights_is_as_documented():
    model = Early({"a": 3, "b": 2}, 4, channels=5, blocks=3)
    convolutions = [p.numel() for p in model.parameters() if p.dim() == 4]
    assert sum(convolutions) == 9 * 5 * (3 + 2 + (2 + 3 - 1) * 5)
    norms = 2 * 5 * (2 + 3)
    assert count_parameters(model) == sum(convolutions) + norms + 5 * 4 + 4


def test_scores_do_not_depend_on_the_order_of_modalities_and_weights():
    one = Early({"a": 3, "b": 2}, 4, channels=5).eval()
    other = Early({"b": 2, "a": 3}, 4, channels=5).eval()
    state = one.state_dict()
    mixing = state["shared.0.0.weight"]  # (C, 2 C, 3, 3): input channels of a, then of b
    state["shared.0.0.weight"] = torch.cat([mixing[:, 5:], mixing[:, :5]], dim=1)
    other.load_state_dict(state)
    maps = {"a": torch.randn(2, 3, 4, 4), "b": torch.randn(2, 2, 6)}
    swapped = {m: maps[m] for m in "ba"}
    np.testing.assert_allclose(
        one(maps).detach().numpy(), other(swapped).detach().numpy(), atol=1e-6
    )


@pytest.mark.parametrize("name", ["channels", "blocks", "max_cells"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ParameterError, match=f"early.{name} must be 1 or more, and is 0"):
        Early({"a": 3}, 4, **{name: 0})


def test_a_dropout_of_one_is_refused():
    with pytest.raises(ParameterError, match=r"early.dropout must be in \[0, 1\), and is 1"):
        Early({"a": 3}, 4, dropout=1.0)


class TestEarly(StrategySuite):
    plugin = Early
