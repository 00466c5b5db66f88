"""Context managers that change the mode of networks temporarily."""

import pytest
import torch
from torch import nn

from fusion.core.toolkit.modules import evaluating, quiet_statistics


@pytest.fixture
def model():
    """Model with three batch normalisations of different settings, and a frozen layer."""
    created = nn.Sequential(
        nn.Linear(3, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3, momentum=None), nn.Dropout(0.5),
        nn.BatchNorm1d(3, track_running_stats=False),
    )  # fmt: skip
    created[0].eval()
    return created


def modes(model):
    return [part.training for part in model.modules()]


def statistics(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("breaks", [False, True])
def test_every_module_returns_to_its_own_mode_even_after_an_error(model, breaks):
    before = modes(model)
    try:
        with evaluating(model):
            assert not any(modes(model))
            if breaks:
                raise BrokenError
    except BrokenError:
        pass
    assert modes(model) == before == [True, False, True, True, True, True]


def test_modules_in_evaluation_mode_stay_in_it(model):
    model.eval()
    with evaluating(model), evaluating(model):
        pass
    assert not any(modes(model))


@pytest.mark.parametrize("breaks", [False, True])
def test_statistics_and_their_counts_are_restored_even_after_an_error(model, breaks):
    model(torch.randn(8, 3))
    before, momenta = statistics(model), [model[i].momentum for i in (1, 2)]
    try:
        with quiet_statistics(model):
            assert all(model.training for _ in range(2))  # batch statistics are used
            model(10 + torch.randn(8, 3))
            model(10 + torch.randn(8, 3))
            if breaks:
                raise BrokenError
    except BrokenError:
        pass
    after = statistics(model)
    assert before.keys() == after.keys() and len(before) == 6
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [model[i].momentum for i in (1, 2)] == momenta == [0.1, None]


def test_quiet_statistics_normalises_batches_as_in_training():
    norm = nn.BatchNorm1d(2)
    x = torch.tensor([[1.0, 5.0], [3.0, 9.0]])
    with quiet_statistics(norm):
        result = norm(x)
    expected = [[-1.0, -1.0], [1.0, 1.0]]
    assert result.tolist() == [pytest.approx(row, abs=1e-4) for row in expected]


def test_statistics_are_updated_again_afterwards(model):
    with quiet_statistics(model):
        model(torch.randn(8, 3))
    model(5 + torch.randn(8, 3))
    assert int(model[1].num_batches_tracked) == 1 and model[1].running_mean.any()
