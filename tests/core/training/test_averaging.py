import torch

from fusion.core.training.averaging import WeightAverage


def test_average_by_hand():
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average = WeightAverage(model, decay=0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)
    average.update(step=10_000)  # 0.5 * 1 + 0.5 * 3
    with average.applied():
        assert model.weight.item() == 2.0
    assert model.weight.item() == 3.0
    average.update(step=0)  # early: decay 1/10, so 0.1 * 2 + 0.9 * 3
    with average.applied():
        assert abs(model.weight.item() - 2.9) < 1e-6


def test_decay_0_uses_the_weights_of_the_model():
    model = torch.nn.Linear(1, 1)
    average = WeightAverage(model, decay=0.0)
    average.update(5)
    before = model.weight.clone()
    with average.applied():
        assert torch.equal(model.weight, before)


def test_running_statistics_are_averaged_and_counters_are_not():
    model = torch.nn.BatchNorm1d(1)
    average = WeightAverage(model, decay=0.5)
    model(torch.full((4, 1), 10.0))  # running mean 0 -> 1
    average.update(10_000)
    with average.applied():
        assert abs(model.running_mean.item() - 0.5) < 1e-6
        assert model.num_batches_tracked == 1
    assert abs(model.running_mean.item() - 1.0) < 1e-6
