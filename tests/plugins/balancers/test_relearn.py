import io
import math
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from loss_gradients import flat

from fusion.core.contracts import Outputs
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, small_model, small_trainer
from fusion.plugins.balancers.relearn import Relearn, clusters, purity
from fusion.testing import BalancerSuite


class TestRelearn(BalancerSuite):
    plugin = Relearn
    parameters: ClassVar = {"every": 1}
    epochs = 3
    single_unchanged = True


def test_purity_by_hand():
    # Cluster 0 holds classes 0 0 1, cluster 1 holds 2 1 1: (2 + 2) / 6.
    result = purity(np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 2, 1, 1]))
    assert result == pytest.approx(4 / 6)
    assert purity(np.array([0, 1, 2]), np.array([1, 1, 1])) == 1.0


def test_clusters():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    which = np.arange(60) % 3
    points = centres[which] + 0.1 * rng.normal(size=(60, 2))
    result = clusters(points, 3, seed=0)
    assert purity(result, which) == 1.0 and len(set(result)) == 3
    assert np.array_equal(clusters(points, 3, seed=0), result)  # the result depends on `seed` only
    # Embeddings that are equal for all clips, or have fewer distinct values than clusters.
    assert list(clusters(np.zeros((5, 2)), 3, seed=0)) == [0] * 5
    assert purity(clusters(points.round(-1), 4, seed=0), which) == 1.0


LABELS = torch.tensor([0, 1, 2] * 4)


def told_apart(labels):
    """Return embeddings (n, 6) that separate the classes."""
    return 5.0 * torch.nn.functional.one_hot(labels, 6).float()


def outputs(by_part, part):
    return Outputs(np.arange(12), LABELS, by_part[part], torch.zeros(12, 3), {})


def context_of(model, by_part, epochs=100):
    return SimpleNamespace(
        model=model,
        modalities=model.modalities,
        config=SimpleNamespace(epochs=epochs),
        outputs=lambda part: outputs(by_part, part),
    )


# Voice has purity 1 on train, and 1/3 on validation, with all clips in one cluster. Face has 1 on
# both.
KNOWN = {
    "train": {"voice": told_apart(LABELS), "face": told_apart(LABELS)},
    "val": {"voice": torch.zeros(12, 6), "face": told_apart(LABELS)},
}
WEIGHT = math.tanh(3.0 * (1 - 1 / 3))


def moved_on(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)


def test_the_move_towards_the_first_weights_by_hand():
    model = small_model(seed=1)
    balancer = Relearn(every=5)
    balancer.setup(context_of(model, KNOWN))
    before = {m: flat(b.parameters()) for m, b in model.branches.items()}
    head = flat(model.strategy.parameters())
    moved_on(model)
    balancer.epoch_end(4, {})
    assert torch.allclose(flat(model.branches["voice"].parameters()), before["voice"] + 1)
    balancer.epoch_end(5, {})
    # w theta_0 + (1 - w) (theta_0 + 1) = theta_0 + 1 - w
    assert torch.allclose(flat(model.branches["voice"].parameters()), before["voice"] + 1 - WEIGHT)
    assert torch.equal(flat(model.branches["face"].parameters()), before["face"] + 1)  # w = 0
    assert torch.equal(flat(model.strategy.parameters()), head + 1)
    assert balancer.metrics() == pytest.approx({"relearn.voice": WEIGHT, "relearn.face": 0.0})


def test_number_of_moves():
    balancer = Relearn(every=2, times=2)
    model = small_model()
    balancer.setup(context_of(model, KNOWN, epochs=10))
    requested = []
    balancer._move = lambda m, weight: requested.append(m)
    for epoch in range(1, 11):
        balancer.epoch_end(epoch, {})
    assert requested == ["voice", "face"] * 2
    balancer.setup(context_of(model, KNOWN, epochs=2))
    balancer.epoch_end(2, {})  # no move after the last epoch
    assert requested == ["voice", "face"] * 2


def test_a_frozen_branch_is_not_moved():
    model = small_model()
    balancer = Relearn(every=1)
    balancer.setup(context_of(model, KNOWN))
    moved_on(model)
    now = flat(model.branches["voice"].parameters())
    model.branches["voice"].requires_grad_(False)
    balancer.epoch_end(1, {})
    assert torch.equal(flat(model.branches["voice"].parameters()), now)


def test_the_first_weights_survive():
    model = small_model(seed=1)
    first = Relearn(every=1, times=2)
    first.setup(context_of(model, KNOWN))
    start = flat(model.branches["voice"].parameters())
    moved_on(model)
    first.epoch_end(1, {})
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    # A new process has other weights at setup, and then those of the checkpoint.
    other = small_model(seed=2)
    second = Relearn(every=1, times=2)
    second.setup(context_of(other, KNOWN))
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.metrics() == first.metrics()
    other.load_state_dict(model.state_dict())
    second.epoch_end(2, {})
    left = (1 - WEIGHT) ** 2  # two moves
    assert torch.allclose(flat(other.branches["voice"].parameters()), start + left, atol=1e-5)
    now = flat(other.branches["voice"].parameters())
    second.epoch_end(3, {})  # `times` is two
    assert torch.equal(flat(other.branches["voice"].parameters()), now)


def test_in_a_training():
    balancer = Relearn(every=1, times=1)
    small_trainer([balancer], 3, strategy=SmallMaps, epochs=2).fit()
    assert balancer.state_dict()["done"] == 1
    assert all(0 <= w < 1 for w in balancer.metrics().values())


@pytest.mark.parametrize("bad", [{"every": 0}, {"times": -1}, {"strength": -1.0}, {"seed": -1}])
def test_parameters_out_of_range(bad):
    with pytest.raises(ParameterError, match="relearn needs"):
        Relearn(**bad)
