import pytest
import torch

from fusion import Modality
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.training.augment import augment, band, shift_axis

MEL = Modality("m", (1, 10, 20), ("channel", "frequency", "time"))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_mask_is_one_band_per_clip_with_a_maximal_width():
    x = torch.ones(200, 1, 10, 20)
    masked = x.masked_fill(band(x, 3, 0.25, rng()), 0.0)
    zero = masked[:, 0] == 0  # (B, 10, 20)
    assert (zero == zero[:, :1]).all()  # the same band at every frequency
    widths = zero[:, 0].sum(1)
    assert set(widths.tolist()) == {0, 1, 2, 3, 4, 5}
    edges = (zero[:, 0, 1:] != zero[:, 0, :-1]).sum(1)
    assert edges.max() <= 2


def test_shift_by_hand():
    x = torch.arange(4.0).view(1, 1, 1, 4)
    recorded = {tuple(shift_axis(x, 3, 0.5, circular=True, rng=rng(s)).flatten().tolist())
            for s in range(60)}  # fmt: skip
    assert recorded == {(0, 1, 2, 3), (3, 0, 1, 2), (2, 3, 0, 1), (1, 2, 3, 0)}
    recorded = {tuple(shift_axis(x, 3, 0.25, circular=False, rng=rng(s)).flatten().tolist())
            for s in range(60)}  # fmt: skip
    assert recorded == {(0, 1, 2, 3), (0, 0, 1, 2), (1, 2, 3, 3)}


@pytest.mark.parametrize("axes", [(), ("channel", "persistence", "birth")])
def test_axes_without_time_and_frequency_are_not_augmented(axes):
    x = torch.randn(4, 1, 10, 20)
    assert augment(x, Modality("m", (1, 10, 20), axes), TrainConfig(), rng()) is x


def test_same_generator_same_augmentation():
    x = torch.randn(4, 1, 10, 20)
    config = TrainConfig(shift_time=0.2, shift_frequency=0.2)
    assert torch.equal(augment(x, MEL, config, rng(1)), augment(x, MEL, config, rng(1)))
    assert not torch.equal(augment(x, MEL, config, rng(1)), augment(x, MEL, config, rng(2)))


def test_without_augmentation_the_input_is_unchanged():
    x = torch.randn(4, 1, 10, 20)
    off = TrainConfig(masks=0, shift_frequency=0.0, shift_time=0.0)
    assert augment(x, MEL, off, rng()) is x


def test_all_bands_together_equal_each_in_turn_and_the_input_is_unchanged():
    x, config = torch.randn(16, 1, 10, 20), TrainConfig(shift_time=0, shift_frequency=0, masks=3)
    before, generator = x.clone(), rng(1)
    expected = x
    for axis in (2, 3):  # the order in which the random numbers are drawn
        for _ in range(3):
            expected = expected.masked_fill(band(x, axis, 0.125, generator), 0.0)
    assert torch.equal(augment(x, MEL, config, rng(1)), expected)
    assert not torch.equal(expected, before)
    assert torch.equal(x, before)  # the input may be resident features
