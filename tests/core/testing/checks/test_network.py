"""Checks of a network on a batch of clips: each broken strategy fails the corresponding check."""

import numpy as np
import pytest
import torch
from right_plugins import Plain
from suites import fails_only, own_checks
from torch import nn
from torch.nn import functional

from fusion.core.testing.checks.network import NetworkSuite
from fusion.testing import StrategySuite


class FactorsInAList(Plain):
    """The factors of the well-known public LMF, which are never trained."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.factors = [torch.randn(sum(dims.values()), requires_grad=True)]

    def join(self, inputs):
        return super().join(inputs) * self.factors[0].to(self.head.weight.device)


class SoftmaxOverTheBatch(Plain):
    """dim=0 instead of dim=1."""

    def join(self, inputs):
        joined = super().join(inputs)
        return joined * joined.softmax(dim=0)


class DeafToTheFirst(Plain):
    """No gradient for one modality."""

    def join(self, inputs):
        first, *rest = self.order
        return torch.cat([inputs[first].detach(), *(inputs[m] for m in rest)], dim=1)


class UnusedLayer(Plain):
    """A layer that is created and never used."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.spare = nn.Linear(3, 3)


class BiasBeforeNorm(Plain):
    """A bias that the normalisation removes, so it is never learned."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.mix = nn.Linear(sum(dims.values()), sum(dims.values()))
        self.norm = nn.BatchNorm1d(sum(dims.values()))

    def join(self, inputs):
        return self.norm(self.mix(super().join(inputs)))


class AlwaysDropout(Plain):
    """Dropout in evaluation mode."""

    def join(self, inputs):
        return functional.dropout(super().join(inputs), 0.3)


class Numpy(Plain):
    """Random numbers that are independent of torch's seed."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.head.bias.data += torch.from_numpy(np.random.rand(num_classes)).float()


class InPlace(Plain):
    """Changes embeddings that probes and balancers read."""

    def join(self, inputs):
        # Not relu_, whose gradient a leaf does not allow; in-place changes without gradient are
        # common.
        with torch.no_grad():
            for x in inputs.values():
                x.clamp_(min=0)
        return super().join(inputs)


class Pops(Plain):
    """Removes a modality from the dict of inputs."""

    def join(self, inputs):
        return torch.cat([inputs.pop(m) for m in self.order], dim=1)


class Lambda(Plain):
    """A function without a name, which pickle refuses."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.activation = lambda x: x.tanh()

    def join(self, inputs):
        return self.activation(super().join(inputs))


class Double(Plain):
    """float64 scores."""

    def forward(self, inputs):
        return super().forward(inputs).double()


class UnsavedMean(Plain):
    """A running mean that is missing in checkpoints."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.mean = 0.0

    def join(self, inputs):
        x = super().join(inputs)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * float(x.detach().mean())
        return x - self.mean


class OneClassTooMany(Plain):
    """An off-by-one error in the head."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes + 1)


class TwoOnly(Plain):
    """Supports two modalities only, as in the paper."""

    def join(self, inputs):
        one, two = (inputs[m] for m in self.order)
        return torch.cat([one, two], dim=1)


class CosineOfNothing(Plain):
    """A norm of zero in the denominator."""

    def join(self, inputs):
        x = super().join(inputs)
        return x / x.norm(dim=1, keepdim=True)


# Plugin -> words of the message, and the checks that fail, first the corresponding one.
WRONG = {
    FactorsInAList: ("are no parameters", "everything_learned_is_registered", "state_dict"),
    SoftmaxOverTheBatch: ("change with the other clips of its batch", "clips_are_independent"),
    DeafToTheFirst: ("no gradient reaches the input voice", "gradients"),
    UnusedLayer: ("no gradient reaches spare.bias, spare.weight", "gradients"),
    BiasBeforeNorm: ("no gradient reaches mix.bias", "gradients"),
    AlwaysDropout: ("two evaluations of one batch differ", "evaluation_is_repeatable",
                    "clips_are_independent", "order_of_the_inputs", "pickle", "state_dict",
                    "same_seed_same_result"),
    Numpy: ("two trainings with the same seed differ in head.bias", "same_seed_same_result"),
    InPlace: ("has other values after the call", "inputs_are_left_alone"),
    Pops: ("the dict of inputs holds []", "inputs_are_left_alone"),
    Lambda: ("pickling raises", "pickle"),
    Double: ("are torch.float64 for float32 inputs", "output"),
    UnsavedMean: ("that loaded the state dict of another one", "state_dict"),
    OneClassTooMany: ("have shape (2, 6)", "output", "bfloat16_autocast", "zeros"),
    TwoOnly: ("not enough values to unpack", "output"),
    CosineOfNothing: ("all zero", "zeros"),
}  # fmt: skip


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_broken_strategy_fails_its_check(plugin):
    words, *intended = WRONG[plugin]
    fails_only(StrategySuite, plugin, words, *intended, alone=plugin is TwoOnly)


def test_every_check_has_a_plugin_that_fails_it():
    assert own_checks(NetworkSuite) == {f"test_{intended}" for _, intended, *_ in WRONG.values()}
