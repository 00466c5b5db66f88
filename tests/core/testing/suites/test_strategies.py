"""Suite for strategies: each broken strategy fails the corresponding check."""

import pytest
import torch
from right_plugins import Maps, Picky, Plain, Present
from suites import fails_only, failures, group_of, own_checks, pytest_says

from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.runner import suite_for
from fusion.testing import StrategySuite


def test_valid_strategies_pass():
    for plugin in (Plain, Maps, Picky, Present):
        assert failures(StrategySuite, plugin) == {}
    assert failures(StrategySuite, Picky, parameters={"weight": 2.0}) == {}


# -- strategies with one fault each ----------------------------------------------------


class ByPosition(Plain):
    """Uses the inputs in the given order."""

    def join(self, inputs):
        return torch.cat(list(inputs.values()), dim=1)


class SameSize(Plain):
    """Adds embeddings without checking for equal sizes."""

    def __init__(self, dims, num_classes):
        super().__init__({m: d for m, d in dims.items() if m == next(iter(dims))}, num_classes)
        self.order = list(dims)

    def join(self, inputs):
        return sum(inputs[m] for m in self.order)


class Weighted(Plain):
    """Base of strategies with wrong weights."""

    def logits(self, inputs):
        return torch.stack([inputs[m].mean(dim=1) for m in self.order], dim=1)  # (B, M)


class Sigmoids(Weighted):
    """Weights that do not sum to 1."""

    def modality_weights(self, inputs):
        return self.logits(inputs).sigmoid()


class Transposed(Weighted):
    """Weights of shape (M, B) instead of (B, M)."""

    def modality_weights(self, inputs):
        return self.logits(inputs).softmax(dim=1).T


class WeightsByPosition(Weighted):
    """Columns in the order of the inputs."""

    def modality_weights(self, inputs):
        return torch.stack([x.mean(dim=1) for x in inputs.values()], dim=1).softmax(dim=1)


class Taking(Plain):
    """A misspelt value of `takes`."""

    takes = "map"


# Plugin -> words of the message, and the checks that fail, first the corresponding one.
WRONG = {
    ByPosition: ("change with the order of the dict", "order_of_the_inputs"),
    SameSize: ("ParameterError from __init__", "unequal_sizes"),
    Sigmoids: ("rows of modality_weights do not sum to 1", "modality_weights"),
    Transposed: ("modality_weights has shape (1, 8)", "modality_weights"),
    WeightsByPosition: ("columns of modality_weights follow", "order_of_the_inputs"),
    Taking: ("`takes` is 'map'", "takes"),
}  # fmt: skip
# Plugins that can't be instantiated or run, so that nearly every check fails.
HOPELESS = {SameSize, Taking}


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_broken_strategy_fails_its_check(plugin):
    words, *intended = WRONG[plugin]
    fails_only(StrategySuite, plugin, words, *intended, alone=plugin in HOPELESS)


def test_every_check_has_a_plugin_that_fails_it():
    below = {"test_calibrate", "test_adopt", "test_held_out_parameters"}
    assert own_checks(StrategySuite) - below == {f"test_{m}" for _, m, *_ in WRONG.values()}


def test_only_unequal_sizes_may_be_refused():
    assert "3 modalities of size 16, 8, 24" not in map(str, suite_of(Picky).cases())
    assert "3 modalities of size 16, 8, 24" in map(str, suite_of(Plain).cases())

    class Refuses(Plain):
        """Refuses all sizes."""

        def __init__(self, dims, num_classes):
            raise ParameterError("No.")

    assert (
        "instantiation raises ParameterError: No."
        in failures(StrategySuite, Refuses)["test_output"]
    )


def suite_of(plugin):
    return type("TestIt", (StrategySuite,), {"plugin": plugin})()


# -- strategies that calibrate, have held-out parameters, or adopt baselines -----------------


class Chooses(Picky):
    """Valid: weighs classes by the validation clips.

    Parameters
    ----------
    weight : float
        A factor.
    """

    reads_validation = True

    def __init__(self, dims, num_classes, *, weight: float = 1.0):
        super().__init__(dims, num_classes, weight=weight)
        self.register_buffer("bias", torch.zeros(num_classes))

    def calibrate(self, inputs, labels):
        self.bias.copy_(torch.bincount(labels, minlength=len(self.bias)) / len(labels))

    def forward(self, inputs):
        return super().forward(inputs) + self.bias


class Silent(Chooses):
    """Calibrates without declaring `reads_validation`."""

    reads_validation = False


class Forgets(Chooses):
    """Stores the calibration outside of checkpoints."""

    def calibrate(self, inputs, labels):
        self.extra = float(inputs[self.order[0]].mean())

    def forward(self, inputs):
        return super().forward(inputs) + getattr(self, "extra", 0.0)


class Trusts(Plain):
    """Valid: a scale of the scores that is fitted to held-out clips."""

    name = "trusts"
    reads_validation = True

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.trust = torch.nn.Parameter(torch.zeros(()))

    def held_out_parameters(self):
        return (self.trust,)

    def forward(self, inputs):
        return (1 + self.trust) * super().forward(inputs)


class TrustsSilently(Trusts):
    """Held-out parameters without declaring `reads_validation`."""

    reads_validation = False


class Divides(Trusts):
    """Divides by a held-out parameter."""

    def forward(self, inputs):
        return super().forward(inputs) / self.trust


class Elsewhere(Trusts):
    """A held-out parameter that is not registered."""

    def held_out_parameters(self):
        return (torch.nn.Parameter(torch.zeros(())),)


class Adopts(Plain):
    """Valid: starts its head from the heads of the baselines."""

    name = "adopts"
    needs_baselines = True

    @torch.no_grad()
    def adopt(self, baselines):
        heads = [self.head_of(baselines[m].model) for m in self.order]
        self.head.weight.copy_(torch.cat(heads, dim=1))

    def head_of(self, model):
        return model.strategy.linear.weight


class AdoptsInOrder(Adopts):
    """Uses the baselines in the given order."""

    @torch.no_grad()
    def adopt(self, baselines):
        heads = [self.head_of(baseline.model) for baseline in baselines.values()]
        self.head.weight.copy_(torch.cat(heads, dim=1))


@pytest.mark.parametrize(
    ("plugin", "check", "words"),
    [
        (Chooses, "calibrate", ""),
        (Silent, "calibrate", "the strategy has `calibrate`, and reads_validation is False"),
        (Forgets, "calibrate", "a network that loads its state dict, give scores that differ"),
        (Trusts, "calibrate", ""),
        (Trusts, "held out parameters", ""),
        (TrustsSilently, "calibrate", "has `held_out_parameters`, and reads_validation is False"),
        (Divides, "held out parameters", "with held-out parameters of 0 the scores are not finite"),
        (Elsewhere, "held out parameters", "a value that is no parameter of the strategy"),
        (Adopts, "adopt", ""),
        (AdoptsInOrder, "adopt", "that adopted the same baselines give scores that differ"),
    ],
)
def test_strategies_that_calibrate_and_adopt(plugin, check, words):
    group = group_of(suite_for("strategy", plugin), check)
    failed = group.of("failed")
    assert group.outcome == ("failed" if words else "passed"), failed
    assert not failed or words in failed[0].fault.failed


# -- the suite in a third-party test file ----------------------------------------------

FILE = '''
import torch
from fusion import Strategy
from fusion.testing import StrategySuite

class Sum(Strategy):
    """Adds the embeddings."""
    name = "total"

    def __init__(self, dims, num_classes):
        super().__init__()
        self.head = torch.nn.Linear(next(iter(dims.values())), num_classes)

    def forward(self, embeddings):
        return self.head(sum(embeddings.values()))

class TestSum(StrategySuite):
    plugin = Sum
'''


def test_a_suite_needs_three_lines(tmp_path, capsys):
    output = pytest_says(
        capsys, tmp_path, FILE, "-k", "takes or zeros or unequal_sizes or modality_weights"
    )
    assert "FAILED test_mine.py::TestSum::test_unequal_sizes" in output
    assert "call fusion.core.contracts.equal_dims(dims, self.name)" in output
    # The output is the message, not the suite's code.
    assert "def test_unequal_sizes" not in output
    # The failures are `takes`, and one, two and three modalities; unequal sizes were not refused.
    assert "6 failed" not in output and "passed" in output


def test_a_suite_without_a_plugin_is_reported(tmp_path, capsys):
    output = pytest_says(capsys, tmp_path, FILE.replace("plugin = Sum", "pass"))
    assert "this line is missing: class TestSum(...): plugin = MyClass" in output
