"""Costs of calling a plugin: seconds and memory."""

import pytest
import torch
from right_plugins import Fine, Plain

from fusion.core.testing.costs import python_bytes, seconds_of, tensor_bytes
from fusion.core.testing.runner import costs_of, suite_for


def test_memory_of_tensors_is_the_peak():
    def call():
        one = torch.zeros(1000)  # 4000 bytes
        two = one + 1  # 8000 in total
        del one
        return two + 1  # again 8000 in total

    assert 8000 <= tensor_bytes(call) < 8100  # and the number 1 as a tensor
    assert tensor_bytes(lambda: None) is None


def test_memory_of_arrays():
    import numpy as np

    assert 800_000 <= python_bytes(lambda: np.zeros(100_000)) < 810_000


def test_seconds_of_a_call():
    calls = []
    assert seconds_of(lambda: calls.append(1), times=3) < 0.01
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("kind", "plugin", "words"),
    [("strategy", Plain, "forward and backward, 64 clips, 3 modalities of size 16, 8, 24"),
     ("branch", Fine, "forward and backward, 64 clips, shape (12, 20)")],
)  # fmt: skip
def test_costs_of_networks(kind, plugin, words):
    training, evaluation = costs_of(suite_for(kind, plugin))
    assert training.what == words
    assert training.seconds > evaluation.seconds > 0
    assert training.bytes > evaluation.bytes > 0
    weights = sum(p.numel() for p in suite_for(kind, plugin).build(
        suite_for(kind, plugin).cases()[-1]).parameters())  # fmt: skip
    assert training.note == f"{weights:,} weights"


def test_plugins_that_fail_have_no_costs():
    class Refuses(Plain):
        """Refuses every model."""

        def __init__(self, dims, num_classes):
            raise RuntimeError("no")

    assert costs_of(suite_for("strategy", Refuses)) == []
