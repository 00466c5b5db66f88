"""Suite for balancers: each broken balancer fails the corresponding check."""

import random
from typing import ClassVar

import numpy as np
import pytest
import torch
from right_balancers import UNCHANGED, Adapting, Distant, Fine, NoMaps
from suites import failures, group_of, own_checks, pytest_says

from fusion import Balancer, Pass, Stage
from fusion.core.contracts import Uniform
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.declarations import PluginSuite
from fusion.core.testing.runner import suite_for
from fusion.core.testing.suites import balancers as balancer_suite
from fusion.testing import BalancerSuite


@pytest.mark.slow
def test_valid_balancers_pass():
    assert failures(BalancerSuite, Fine, **UNCHANGED) == {}
    assert failures(BalancerSuite, Distant, single_unchanged=True) == {}
    assert failures(BalancerSuite, Adapting) == {}
    assert failures(BalancerSuite, NoMaps, only={"test_adapt", "test_trains"}) == {}


# -- balancers with one fault each -----------------------------------------------------


class UnknownDomain(Fine):
    """A misspelt domain."""

    takes_over = ("stage",)


class DomainInText(Fine):
    """A string instead of a tuple."""

    takes_over = "stages"


class SilentStages(Fine):
    """Decides stages without declaring it."""

    def stage(self, epoch):
        return Stage("all")


class SilentPasses(Fine):
    """Decides passes without declaring it."""

    def passes(self, step):
        return [Pass(), Pass()]


class TwoOnly(Fine):
    """Supports two modalities only, as in the paper."""

    def factor(self, scores, m):
        a, b = scores.values()
        return b / a if m == next(iter(scores)) else a / b


class MeanOfOthers(Fine):
    """The mean over the other modalities, of which a single modality has none."""

    def factor(self, scores, m):
        rest = [score for other, score in scores.items() if other != m]
        return torch.tensor(rest).mean() / scores[m]


class EmbeddingsOnly(Fine):
    """Embeddings only; maps have additional axes."""

    def representations(self, representations, step):
        return {m: x * x.new_ones(len(x), 6) for m, x in representations.items()}


class LogOfZero(Fine):
    """An infinite weight."""

    def step_end(self, step):
        with torch.no_grad():
            for parameter in step.model.strategy.parameters():
                parameter.flatten()[0] += torch.log(torch.zeros(()))


class Half(Fine):
    """A product of float32 and bfloat16."""

    def losses(self, losses, step):
        total = [(z @ torch.ones(6, 1)).square().mean() for z in step.embeddings.values()]
        return {**losses, "fine.size": 1e-3 * torch.stack(total).sum()}


class OddLoss(Fine):
    """A loss without the balancer's name."""

    def losses(self, losses, step):
        return {**losses, "aux": 0.0 * step.fused_loss}


class LossPerClip(Fine):
    """A loss of shape (1,) instead of a scalar."""

    def losses(self, losses, step):
        return {**losses, "fine.clips": step.logits.square().sum()[None]}


class MetricWithoutName(Fine):
    """A metric without the balancer's name."""

    def metrics(self):
        return {"factor": 1.0}


class MetricTensor(Fine):
    """A tensor instead of a float, which can't be written to the run directory."""

    def metrics(self):
        return {f"fine.{m}": torch.ones(()) for m in self.factors}


class MetricNan(Fine):
    """A metric that is NaN."""

    def metrics(self):
        return {"fine.mean": float("nan")}


class Unseeded(Fine):
    """Noise from its own generator."""

    def gradients(self, gradients, step):
        generator = torch.Generator()
        generator.seed()
        for m in gradients.modalities:
            for g in gradients[m]:
                g.add_(torch.randn(g.shape, generator=generator), alpha=1e-3)


class KeptInTheClass(Fine):
    """State that all instances share."""

    seen = []  # noqa: RUF012

    def factor(self, scores, m):
        self.seen.append(m)
        return 1 + 1e-3 * len(self.seen)


class Numpy(Fine):
    """Random numbers that are independent of the training's seed."""

    def factor(self, scores, m):
        return 0.5 + np.random.rand()


class Python(Fine):
    """Random numbers of Python that are independent of the training's seed."""

    def inputs(self, inputs, step):
        return {m: x * random.uniform(0.9, 1.1) for m, x in inputs.items()}


class Forgets(Fine):
    """A running mean that is missing in checkpoints."""

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class LoadsNothing(Fine):
    """A state that is saved and not loaded."""

    def load_state_dict(self, state):
        pass


class ObjectState(Fine):
    """A numpy array in the state."""

    def state_dict(self):
        return {**super().state_dict(), "count": np.zeros(3)}


class NeverAfresh(Fine):
    """State that __init__ sets and setup does not reset."""

    def __init__(self):
        self.mean = {}

    def setup(self, context):
        self.factors = {}


class CountsFromTheCheck(NeverAfresh):
    """State that setup itself changes."""

    def __init__(self):
        super().__init__()
        self.times = 0

    def setup(self, context):
        super().setup(context)
        self.mean = {}
        self.times += 1

    def factor(self, scores, m):
        return 1 / self.times


class AsksEarly(Fine):
    """Requests clips in setup, before any exist."""

    def setup(self, context):
        super().setup(context)
        context.outputs("train")


class TeachesProbes(Fine):
    """Replaces the loss of a probe."""

    def losses(self, losses, step):
        for m, z in step.embeddings.items():
            losses[f"unimodal.{m}"] = step.cross_entropy(step.model.probes[m](z))
        return losses


class Named(Fine):
    """A name that can't be typed on the command line."""

    name = "My Method"


class Nameless(Fine):
    __doc__ = None


class TooWide(Fine):
    """A range with an end that the balancer refuses.

    Parameters
    ----------
    rate : float
        A rate.
    """

    space: ClassVar = {"rate": Uniform(0.0, 1.0)}

    def __init__(self, *, rate: float = 0.1):
        if rate >= 1:
            raise ParameterError("rate must be below 1.")


class NoText(Fine):
    """A parameter that the docstring does not describe."""

    def __init__(self, *, rate: float = 0.1):
        pass


class Ranged(Fine):
    """A range of a parameter that does not exist."""

    space = {"rate": Uniform(0.0, 1.0)}  # noqa: RUF012


# Plugin -> the check that it fails, and words of the message.
WRONG = {
    UnknownDomain: ("takes_over", "`takes_over` is ('stage',)"),
    DomainInText: ("takes_over", "`takes_over` is 'stages'"),
    SilentStages: ("takes_over", "`stage` decides, but `takes_over` does not have 'stages'"),
    SilentPasses: ("takes_over", "`passes` decides, but `takes_over` does not have 'passes'"),
    TwoOnly: ("trains", "1 modality, a strategy of embeddings, adamw"),
    MeanOfOthers: ("trains", "1 modality, a strategy of embeddings, adamw"),
    EmbeddingsOnly: ("trains", "a strategy of maps"),
    LogOfZero: ("trains", "The loss was no longer finite"),
    Half: ("bfloat16", "training under bfloat16 autocast raises RuntimeError"),
    OddLoss: ("losses", "`losses` returns a loss called 'aux'"),
    LossPerClip: ("trains", "shape (1,) for the loss 'fine.clips' from losses"),
    MetricWithoutName: ("metrics", "`metrics` has the key 'factor'"),
    MetricTensor: ("metrics", "a tensor of shape () for 'fine.voice' from metrics"),
    MetricNan: ("metrics", "the metric 'fine.mean' is nan"),
    Unseeded: ("same_seed_same_result", "two trainings with the same seed differ in the weights"),
    KeptInTheClass: ("same_seed_same_result", "stored in the class instead of the instance"),
    Numpy: ("random_numbers", "generators, the training differs in the weights"),
    Python: ("random_numbers", "generators, the training differs in the weights"),
    Forgets: ("resumes", "stopped and resumed differs in the weights"),
    LoadsNothing: ("resumes", "missing in state_dict or load_state_dict"),
    ObjectState: ("resumes", "stopping and resuming a training raises RunError"),
    NeverAfresh: ("setup_starts_afresh", "a second training with the same balancer instance"),
    CountsFromTheCheck: (
        "setup_starts_afresh",
        "a second training with the same balancer instance",
    ),
    AsksEarly: ("setup_while_checking", "may not ask for clips in setup"),
    TeachesProbes: ("probes_learn_from_their_own_loss", "the gradient of the probe of 'voice'"),
    Named: ("name_and_version", "`name` is 'My Method'"),
    Nameless: ("description", "the class has no docstring"),
    Ranged: ("space", "`space` is not valid"),
    NoText: ("parameters", "the docstring does not describe this parameter"),
    TooWide: ("space", "rate=1.0\n"),
}


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_broken_balancer_fails_its_check(plugin):
    check, words = WRONG[plugin]
    result = failures(BalancerSuite, plugin, only=[f"test_{check}"])
    assert words in result[f"test_{check}"]
    assert "usual cause:" in result[f"test_{check}"]


def test_every_check_has_a_balancer_that_fails_it():
    checks = own_checks(BalancerSuite) | own_checks(PluginSuite)
    # These are tested below and in test_declarations.py.
    elsewhere = {"test_gpu", "test_conformance_attribute"}
    assert checks - elsewhere == {f"test_{check}" for check, _ in WRONG.values()}


def test_the_gpu_check_trains_balancers(monkeypatch):
    monkeypatch.setattr(balancer_suite, "gpu", lambda: torch.device("cpu"))

    class Idle(Balancer):
        """Does nothing."""

        name = "idle"

    class OnlyCPU(Idle):
        """Fails on every device."""

        def losses(self, losses, step):
            raise RuntimeError("Expected all tensors to be on the same device")

    assert group_of(suite_for("balancer", Idle), "gpu").outcome == "passed"
    failed = group_of(suite_for("balancer", OnlyCPU), "gpu").of("failed")
    assert "on cpu" in failed[0].fault.where
    assert "a tensor made without device=" in failed[0].fault.cause
    assert "test_gpu" in dir(BalancerSuite)


FILE = '''
from fusion import Balancer
from fusion.testing import BalancerSuite

class Calm(Balancer):
    """Does nothing, and counts on two modalities."""
    name = "calm"

    def setup(self, context):
        one, two = context.modalities

class TestCalm(BalancerSuite):
    plugin = Calm
'''


def test_a_suite_needs_three_lines(tmp_path, capsys):
    output = pytest_says(capsys, tmp_path, FILE, "-rs", "-k", "trains or takes_over or equal")
    assert "test_trains[1 modality, a strategy of embeddings, adamw]" in output
    assert "not enough values to unpack (expected 2, got 1)" in output
    assert "equal_unchanged is False" in output  # skipped, with the reason
