"""Training options: accepted and refused values, and options of fine-tuning."""

import dataclasses
from dataclasses import replace
from typing import get_args, get_type_hints

import pytest

from fusion.core.contracts.errors import ParameterError
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.runs.config import RunConfig

NAN = float("nan")


def test_fine_tuning_has_a_share_of_the_epochs_and_at_least_one():
    def count(**settings):
        return TrainConfig(**settings).finetuning.epochs

    assert count() == 20 and count(epochs=80, finetune=1.0) == 80
    assert count(epochs=10) == 2 and count(epochs=1) == count(epochs=2) == 1
    assert count(epochs=100, finetune=0.001) == 1
    assert replace(TrainConfig().finetuning, epochs=80) == TrainConfig()  # no other option differs


ABOVE_0 = ("epochs", "branch_rate", "lr", "dim", "smooth", "threads")
SHARES = ("warmup", "label_smoothing", "average", "mask_frequency", "mask_time",
          "shift_frequency", "shift_time")  # fmt: skip
NOT_NEGATIVE = ("weight_decay", "clip", "patience", "masks")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *((name, bad, "above 0") for name in ABOVE_0 for bad in (0, -1, NAN)),
        *((name, bad, "from 0 to below 1") for name in SHARES for bad in (-0.1, 1.0, NAN)),
        *((name, bad, "0 or more") for name in NOT_NEGATIVE for bad in (-1, NAN)),
        *(("finetune", bad, "above 0 and at most 1") for bad in (0.0, 1.5, -1.0, NAN)),
    ],
)
def test_an_option_out_of_range_is_reported_with_its_value(name, value, words):
    with pytest.raises(ParameterError, match=f"^train.{name} must be {words}, and is {value}.$"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("size", [1, 0, -4])
def test_a_batch_has_at_least_two_clips(size):
    expected = rf"^train.batch_size must be 2 or more \(batch normalisation .*\), and is {size}\.$"
    with pytest.raises(ParameterError, match=expected):
        TrainConfig(batch_size=size)


def test_the_ends_of_every_range_are_accepted():
    TrainConfig(batch_size=2, finetune=1.0, **dict.fromkeys(("epochs", "dim", "smooth"), 1))
    TrainConfig(**dict.fromkeys((*SHARES, *NOT_NEGATIVE), 0))
    TrainConfig(**dict.fromkeys(SHARES, 0.999))


def test_an_invalid_choice_is_refused_when_options_are_read():
    with pytest.raises(ParameterError, match="train.start must be"):
        _ = RunConfig(("demo",), settings={"train": {"start": "nowhere"}}).train


def test_every_default_is_one_of_its_choices():
    for name, hint in get_type_hints(TrainConfig).items():
        choices = get_args(hint) if name != "space" else ()
        assert not choices or getattr(TrainConfig(), name) in choices


def test_ranges_of_the_search_are_options_and_valid_at_both_ends():
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(TrainConfig.space) <= names - {"epochs", "batch_size"}  # the budget is equal
    for name, space in TrainConfig.space.items():
        TrainConfig(**{name: space.low}), TrainConfig(**{name: space.high})
        assert space.low <= getattr(TrainConfig(), name) <= space.high
