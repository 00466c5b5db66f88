"""The suite for strategies catches what it is for: each broken one fails the check meant for it."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from right_plugins import Maps, Picky, Plain, Present
from suites import failures, group_of, pytest_says
from torch import nn
from torch.nn import functional

from fusion import Uniform
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks import devices
from fusion.core.testing.runner import suite_for
from fusion.testing import StrategySuite


def test_plugins_that_are_right_pass():
    for plugin in (Plain, Maps, Picky, Present):
        assert failures(StrategySuite, plugin) == {}
    assert failures(StrategySuite, Picky, parameters={"weight": 2.0}) == {}


# -- strategies, each wrong in one way -------------------------------------------------


class FactorsInAList(Plain):
    """The well-known public LMF: its factors are never trained."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.factors = [torch.randn(sum(dims.values()), requires_grad=True)]

    def join(self, inputs):
        return super().join(inputs) * self.factors[0].to(self.head.weight.device)


class ByPosition(Plain):
    """Takes the inputs as they come."""

    def join(self, inputs):
        return torch.cat(list(inputs.values()), dim=1)


class SoftmaxOverTheBatch(Plain):
    """dim=0 where dim=1 was meant."""

    def join(self, inputs):
        joined = super().join(inputs)
        return joined * joined.softmax(dim=0)


class DeafToTheFirst(Plain):
    """One modality never reaches the head."""

    def join(self, inputs):
        first, *rest = self.order
        return torch.cat([inputs[first].detach(), *(inputs[m] for m in rest)], dim=1)


class UnusedLayer(Plain):
    """Made and forgotten."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.spare = nn.Linear(3, 3)


class BiasBeforeNorm(Plain):
    """The normalisation takes the bias out again: it never learns."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.mix = nn.Linear(sum(dims.values()), sum(dims.values()))
        self.norm = nn.BatchNorm1d(sum(dims.values()))

    def join(self, inputs):
        return self.norm(self.mix(super().join(inputs)))


class AlwaysDropout(Plain):
    """Drops in evaluation as well."""

    def join(self, inputs):
        return functional.dropout(super().join(inputs), 0.3)


class Numpy(Plain):
    """Random numbers that no seed of torch reaches."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.head.bias.data += torch.from_numpy(np.random.rand(num_classes)).float()


class InPlace(Plain):
    """Changes what probes and balancers read."""

    def join(self, inputs):
        # Not relu_: the gradient of a leaf would not allow it; many do this without gradient.
        with torch.no_grad():
            for x in inputs.values():
                x.clamp_(min=0)
        return super().join(inputs)


class Pops(Plain):
    """Takes a modality out of the dict of inputs."""

    def join(self, inputs):
        return torch.cat([inputs.pop(m) for m in self.order], dim=1)


class Lambda(Plain):
    """A function that has no name to be pickled by."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.activation = lambda x: x.tanh()

    def join(self, inputs):
        return self.activation(super().join(inputs))


class OneDtype(Plain):
    """A constant that is float32 whatever comes in."""

    def join(self, inputs):
        x = super().join(inputs)
        rows = torch.arange(len(x), device=x.device)
        return torch.zeros(x.shape, device=x.device).index_add(0, rows, x)


class Double(Plain):
    """float64 by way of Python or numpy."""

    def forward(self, inputs):
        return super().forward(inputs).double()


class OneDevice(Plain):
    """A constant that stays on the CPU."""

    def join(self, inputs):
        x = super().join(inputs)
        return x * torch.ones(x.shape[1])


class UnsavedMean(Plain):
    """A running mean that no checkpoint holds."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.mean = 0.0

    def join(self, inputs):
        x = super().join(inputs)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * float(x.detach().mean())
        return x - self.mean


class OneClassTooMany(Plain):
    """An off-by-one in the head."""

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes + 1)


class TwoOnly(Plain):
    """The paper had two modalities."""

    def join(self, inputs):
        one, two = (inputs[m] for m in self.order)
        return torch.cat([one, two], dim=1)


class CosineOfNothing(Plain):
    """A norm of zero below the line."""

    def join(self, inputs):
        x = super().join(inputs)
        return x / x.norm(dim=1, keepdim=True)


class SameSize(Plain):
    """Adds embeddings and says nothing where they can't be added."""

    def __init__(self, dims, num_classes):
        super().__init__({m: d for m, d in dims.items() if m == next(iter(dims))}, num_classes)
        self.order = list(dims)

    def join(self, inputs):
        return sum(inputs[m] for m in self.order)


class Weighted(Plain):
    """Base of those with wrong weights."""

    def logits(self, inputs):
        return torch.stack([inputs[m].mean(dim=1) for m in self.order], dim=1)  # (B, M)


class Sigmoids(Weighted):
    """Weights that are no shares."""

    def modality_weights(self, inputs):
        return self.logits(inputs).sigmoid()


class Transposed(Weighted):
    """(M, B) instead of (B, M)."""

    def modality_weights(self, inputs):
        return self.logits(inputs).softmax(dim=1).T


class WeightsByPosition(Weighted):
    """Columns in the order of the inputs."""

    def modality_weights(self, inputs):
        return torch.stack([x.mean(dim=1) for x in inputs.values()], dim=1).softmax(dim=1)


class DeclaresAbsence(Plain):
    """Says it knows absence; forward does not."""

    accepts_missing = True

    def forward(self, inputs):
        return super().forward(inputs)


class SilentOnAbsence(Present):
    """Knows absence, and nobody will tell it."""

    accepts_missing = False
    __doc__ += Picky.__doc__


class Unmasked(Present):
    """Takes `present` and reads everything."""

    def join(self, inputs, present=None):
        return super().join(inputs)

    __doc__ += Picky.__doc__


class AnotherMean(Present):
    """Divides by another number where `present` is given."""

    def join(self, inputs, present=None):
        joined = super().join(inputs, present)
        return joined if present is None else 2 * joined

    __doc__ += Picky.__doc__


class Spread(Present):
    """Divides by a spread that one modality does not have."""

    def join(self, inputs, present=None):
        joined = super().join(inputs, present)
        if present is None or present.shape[1] == 1:
            return joined
        alone = present.sum(dim=1, keepdim=True) == 1
        return torch.where(alone, joined / 0.0, joined)

    __doc__ += Picky.__doc__


class LeakyGradient(Present):
    """The value of the absent is cut, its gradient not."""

    def join(self, inputs, present=None):
        leak = sum(x - x.detach() for x in inputs.values())
        return super().join(inputs, present) + leak

    __doc__ += Picky.__doc__


class OneMaskForAll(Present):
    """What the batch has together, taken for every clip."""

    def masks(self, inputs, present):
        if present is not None and len(present) > 1:
            present = present | present.any(dim=0)[None]
        return super().masks(inputs, present)

    __doc__ += Picky.__doc__


class AbsentWeights(Present):
    """Shares of what is not there."""

    def modality_weights(self, inputs, present=None):
        return super().modality_weights(inputs)

    __doc__ += Picky.__doc__


class NoAnnotation(Plain):
    """A parameter without a type."""

    def __init__(self, dims, num_classes, *, rate=0.1):
        super().__init__(dims, num_classes)


class NoText(Plain):
    """A parameter that the docstring leaves out."""

    def __init__(self, dims, num_classes, *, rate: float = 0.1):
        super().__init__(dims, num_classes)


class NoDefault(Plain):
    """An argument that nobody passes."""

    def __init__(self, dims, num_classes, rate: float):
        super().__init__(dims, num_classes)


class WrongDefault(Plain):
    """A default of another type.

    Parameters
    ----------
    rate : float
        A rate.
    """

    def __init__(self, dims, num_classes, *, rate: float = None):  # noqa: RUF013
        super().__init__(dims, num_classes)


class Unheard(Plain):
    """A range for what is no parameter.

    Parameters
    ----------
    rate : float
        A rate.
    """

    space: ClassVar = {"rates": Uniform(0.0, 1.0)}

    def __init__(self, dims, num_classes, *, rate: float = 0.1):
        super().__init__(dims, num_classes)
        if rate >= 1:
            raise ParameterError("rate must be below 1.")


class TooWide(Unheard):
    __doc__ = Unheard.__doc__
    space: ClassVar = {"rate": Uniform(0.0, 1.0)}


class Named(Plain):
    """Not a name that can be typed."""

    name = "My Method"


class Numbered(Plain):
    """A version that is a number."""

    version = 2


class Reserved(Plain):
    """The name of a row in a run's table."""

    name = "chosen"


class Nameless(Plain):
    __doc__ = None


class Declares(Plain):
    """Tells its suite of what it does not know."""

    conformance: ClassVar = {"order_matters": "it does"}


class Taking(Plain):
    """A misspelling."""

    takes = "map"


# Plugin -> words of the message, and the checks that fail: the one meant for it goes first.
WRONG = {
    FactorsInAList: ("are no parameters", "everything_learned_is_registered", "state_dict"),
    ByPosition: ("change with the order of the dict", "order_of_the_inputs"),
    SoftmaxOverTheBatch: ("change with its neighbours", "clips_are_independent"),
    DeafToTheFirst: ("no gradient reaches the input voice", "gradients"),
    UnusedLayer: ("no gradient reaches spare.bias, spare.weight", "gradients"),
    BiasBeforeNorm: ("no gradient reaches mix.bias", "gradients"),
    AlwaysDropout: ("two evaluations of one batch differ", "evaluation_is_repeatable",
                    "clips_are_independent", "order_of_the_inputs", "pickle", "state_dict",
                    "same_seed_same_result"),
    Numpy: ("two trainings with one seed end apart, in head.bias", "same_seed_same_result"),
    InPlace: ("has other values afterwards", "inputs_are_left_alone"),
    Pops: ("the dict of inputs holds []", "inputs_are_left_alone"),
    Lambda: ("pickling raises", "pickle"),
    OneDtype: ("under bfloat16 autocast", "bfloat16_autocast"),
    Double: ("are torch.float64 for float32 inputs", "output"),
    OneDevice: ("forward mixes devices", "moves_to_a_device"),
    UnsavedMean: ("with the state dict of a trained one loaded", "state_dict"),
    OneClassTooMany: ("have shape (2, 6)", "output", "bfloat16_autocast", "zeros"),
    TwoOnly: ("not enough values to unpack", "output"),
    CosineOfNothing: ("all zero", "zeros"),
    SameSize: ("ParameterError from __init__", "unequal_sizes"),
    Sigmoids: ("rows of modality_weights do not sum to 1", "modality_weights"),
    Transposed: ("modality_weights has shape (1, 8)", "modality_weights"),
    WeightsByPosition: ("columns of modality_weights follow", "order_of_the_inputs"),
    DeclaresAbsence: ("accepts_missing is True, and forward takes (self, inputs)",
                      "accepts_missing", "all_present", "absent_values_do_not_count",
                      "one_modality_present", "no_gradient_reaches_the_absent",
                      "masks_of_a_batch"),
    SilentOnAbsence: ("forward takes `present`, and accepts_missing is False", "accepts_missing"),
    Unmasked: ("the scores change with the values of absent", "absent_values_do_not_count",
               "no_gradient_reaches_the_absent"),
    AnotherMean: ("a `present` that is all True differ", "all_present"),
    Spread: ("voice alone present", "one_modality_present", "absent_values_do_not_count",
             "masks_of_a_batch", "no_gradient_reaches_the_absent"),
    LeakyGradient: ("reaches face, voice of clips that lack it", "no_gradient_reaches_the_absent"),
    OneMaskForAll: ("with different modalities influence each other", "masks_of_a_batch",
                    "absent_values_do_not_count", "no_gradient_reaches_the_absent"),
    AbsentWeights: ("gives absent modalities a share", "absent_values_do_not_count"),
    NoAnnotation: ("without annotation", "parameters"),
    NoText: ("the docstring says nothing about it", "parameters"),
    NoDefault: ("takes 'rate', which has no default", "parameters"),
    WrongDefault: ("its default None is no float", "parameters"),
    Unheard: ("no parameter of Unheard 'rates'", "space"),
    TooWide: ("rate=1.0\n", "space"),
    Named: ("its name is 'My Method'", "name_and_version"),
    Numbered: ("its version is 2", "name_and_version"),
    Reserved: ("'chosen' is reserved", "name_and_version"),
    Nameless: ("it has no docstring", "description"),
    Declares: ("its `conformance` names 'order_matters'", "conformance_attribute"),
    Taking: ("`takes` is 'map'", "takes"),
}  # fmt: skip
# These can't be made or run at all, so nearly every check fails with them.
HOPELESS = {TwoOnly, SameSize, NoAnnotation, NoDefault, Taking}


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_broken_strategy_fails_the_check_meant_for_it(plugin):
    words, meant, *others = WRONG[plugin]
    only = {f"test_{meant}"} if plugin in HOPELESS else None
    found = failures(StrategySuite, plugin, only=only)
    assert words in found[f"test_{meant}"]
    assert "usual cause:" in found[f"test_{meant}"]
    if only is None:
        assert set(found) == {f"test_{name}" for name in (meant, *others)}, found


def test_every_check_has_a_plugin_that_fails_it():
    checks = {name for name in dir(StrategySuite) if name.startswith("test_")}
    # Below, and test_gpu on the CPU.
    elsewhere = {"test_calibrate", "test_adopt", "test_held_out_parameters", "test_gpu"}
    assert checks - elsewhere == {f"test_{meant}" for _, meant, *_ in WRONG.values()}


def test_a_refusal_of_unequal_sizes_is_fine_and_only_that():
    assert "3 modalities of size 16, 8, 24" not in map(str, suite_of(Picky).cases())
    assert "3 modalities of size 16, 8, 24" in map(str, suite_of(Plain).cases())

    class Refuses(Plain):
        """Refuses all."""

        def __init__(self, dims, num_classes):
            raise ParameterError("No.")

    assert "making it raises ParameterError: No." in failures(StrategySuite, Refuses)["test_output"]


def suite_of(plugin):
    return type("TestIt", (StrategySuite,), {"plugin": plugin})()


def test_parameters_that_do_not_exist():
    found = failures(StrategySuite, Plain, parameters={"rank": 3})
    assert "`parameters` names 'rank', which Plain does not have" in found["test_parameters"]


# -- strategies that choose, adopt -----------------------------------------------------------


class Chooses(Picky):
    """Right: weighs classes by the validation clips.

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
    """Does not say that it chooses."""

    reads_validation = False


class Forgets(Chooses):
    """Keeps what it chose where no checkpoint has it."""

    def calibrate(self, inputs, labels):
        self.extra = float(inputs[self.order[0]].mean())

    def forward(self, inputs):
        return super().forward(inputs) + getattr(self, "extra", 0.0)


class Trusts(Plain):
    """Right: a scale of the scores that is fitted to held-out clips."""

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
    """Does not say that it reads validation."""

    reads_validation = False


class Divides(Trusts):
    """Can't be at 0."""

    def forward(self, inputs):
        return super().forward(inputs) / self.trust


class Elsewhere(Trusts):
    """Names a parameter that it does not have."""

    def held_out_parameters(self):
        return (torch.nn.Parameter(torch.zeros(())),)


class Adopts(Plain):
    """Right: starts its head from the baselines' heads."""

    name = "adopts"
    needs_baselines = True

    @torch.no_grad()
    def adopt(self, baselines):
        heads = [self.head_of(baselines[m].model) for m in self.order]
        self.head.weight.copy_(torch.cat(heads, dim=1))

    def head_of(self, model):
        return model.strategy.linear.weight


class AdoptsInOrder(Adopts):
    """Takes the baselines as they come."""

    @torch.no_grad()
    def adopt(self, baselines):
        heads = [self.head_of(baseline.model) for baseline in baselines.values()]
        self.head.weight.copy_(torch.cat(heads, dim=1))


@pytest.mark.parametrize(
    ("plugin", "check", "words"),
    [
        (Chooses, "calibrate", ""),
        (Silent, "calibrate", "it has `calibrate`, and reads_validation is False"),
        (Forgets, "calibrate", "one that is given its state dict differ"),
        (Trusts, "calibrate", ""),
        (Trusts, "held out parameters", ""),
        (TrustsSilently, "calibrate", "it has `held_out_parameters`, and reads_validation is Fal"),
        (Divides, "held out parameters", "with held-out parameters of 0 the scores are not finite"),
        (Elsewhere, "held out parameters", "a value that is no parameter of the strategy"),
        (Adopts, "adopt", ""),
        (AdoptsInOrder, "adopt", "made to adopt the same baselines give scores that differ"),
    ],
)
def test_strategies_that_choose_and_adopt(plugin, check, words):
    group = group_of(suite_for("strategy", plugin), check)
    failed = group.of("failed")
    assert group.outcome == ("failed" if words else "passed"), failed
    assert not failed or words in failed[0].fault.failed


# -- on a GPU, the CPU in its place -----------------------------------------------------


def test_the_check_on_a_gpu_trains_and_compares(monkeypatch):
    monkeypatch.setattr(devices, "gpu", lambda: torch.device("cpu"))
    assert group_of(suite_for("strategy", Present), "gpu").outcome == "passed"

    class Unfilled(Plain):
        """On some devices its memory holds something else."""

        calls: ClassVar = []

        def forward(self, inputs):
            self.calls.append(1)
            return super().forward(inputs) + 100 * (len(self.calls) % 2)

    failed = group_of(suite_for("strategy", Unfilled), "gpu").of("failed")
    assert "differ from those on the CPU" in failed[0].fault.failed


# -- as a third party meets them -------------------------------------------------------

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


def test_three_lines_are_enough(tmp_path, capsys):
    said = pytest_says(
        capsys, tmp_path, FILE, "-k", "takes or zeros or unequal_sizes or modality_weights"
    )
    assert "FAILED test_mine.py::TestSum::test_unequal_sizes" in said
    assert "call fusion.core.contracts.equal_dims(dims, self.name)" in said
    # Words, not the suite's code.
    assert "def test_unequal_sizes" not in said
    # Once for `takes`, and for one, two and three modalities; unequal sizes were not refused.
    assert "6 failed" not in said and "passed" in said


def test_a_suite_without_a_plugin_says_so(tmp_path, capsys):
    said = pytest_says(capsys, tmp_path, FILE.replace("plugin = Sum", "pass"))
    assert "the line is missing: class TestSum(...): plugin = MyClass" in said
