from types import SimpleNamespace

import pytest
import torch

from fusion.core.contracts.errors import TrainingError
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.training.finite import FiniteCheck

CONFIG = TrainConfig(lr=0.5, normalise="channel")
NAN, INF = float("nan"), float("inf")


def step(index=7, *, a=1.0, b=1.0, inputs=1.0):
    embeddings = {"a": torch.tensor([[a]]), "b": torch.tensor([[b]])}
    return SimpleNamespace(
        index=index,
        epoch=3,
        inputs={"a": torch.ones(1), "b": torch.tensor([inputs])},
        encoded=SimpleNamespace(embeddings=embeddings),
    )


ONE = torch.tensor(1.0)


def test_finite_values_pass():
    check = FiniteCheck(CONFIG, torch.device("cpu"))
    check.step(step(), ONE)
    check.epoch(3, ["a", "b"])


@pytest.mark.parametrize(
    ("passed", "loss", "words"),
    [
        ({"inputs": NAN, "b": NAN}, NAN, r"inputs of modality 'b' hold NaN"),
        ({"b": INF}, NAN, r"the embedding of modality 'b' is not finite.*train.lr=0.5.*=channel"),
        ({}, INF, "every embedding is finite, so the fusion strategy or a balancer's loss"),
        ({"a": NAN, "b": NAN}, 1.0, "the embedding of modality 'a' is not finite"),
    ],
)
def test_on_a_cpu_the_training_stops_at_once(passed, loss, words):
    check = FiniteCheck(CONFIG, torch.device("cpu"))
    with pytest.raises(TrainingError, match=rf"at step 7 \(epoch 3\).*{words}"):
        check.step(step(**passed), torch.tensor(loss))


@pytest.mark.parametrize(
    ("passed", "loss", "words"),
    [
        ({"b": INF}, NAN, "the embedding of modality 'b' is not finite"),
        ({}, INF, "every embedding is finite"),
    ],
)
def test_on_a_gpu_the_training_stops_after_the_epoch_and_names_the_first_step(passed, loss, words):
    """The check reads only the name of the device, so the test needs no GPU."""
    check = FiniteCheck(CONFIG, torch.device("cuda"))
    check.step(step(6), ONE)
    check.step(step(7, **passed), torch.tensor(loss))
    check.step(step(8, a=NAN), torch.tensor(NAN))
    with pytest.raises(TrainingError, match=rf"at step 7 \(epoch 3\).*{words}"):
        check.epoch(3, ["a", "b"])
    check.epoch(3, ["a", "b"])  # reported once


def test_on_a_gpu_a_finite_epoch_passes_and_is_cleared():
    check = FiniteCheck(CONFIG, torch.device("cuda"))
    for index in range(3):
        check.step(step(index), ONE)
    check.epoch(1, ["a", "b"])
    check.step(step(9, a=NAN), ONE)
    with pytest.raises(TrainingError, match=r"at step 9 \(epoch 2\).*'a'"):
        check.epoch(2, ["a", "b"])
