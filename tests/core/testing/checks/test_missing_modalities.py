"""Checks of strategies that accept missing modalities."""

import pytest
import torch
from right_plugins import Picky, Plain, Present
from suites import fails_only, own_checks

from fusion.core.testing.checks.missing_modalities import MissingModalityChecks
from fusion.core.testing.runner import run, suite_for
from fusion.testing import StrategySuite


@pytest.mark.parametrize(("plugin", "outcome"), [(Present, "passed"), (Plain, "skipped")])
def test_checks_run_if_missing_modalities_are_accepted(plugin, outcome):
    outcomes = {group.name: group.outcome for group in run(suite_for("strategy", plugin))}
    checks = {check[5:].replace("_", " ") for check in own_checks(MissingModalityChecks)}
    assert outcomes["accepts missing"] == "passed"
    assert {outcomes[check] for check in checks - {"accepts missing"}} == {outcome}


class DeclaresAbsence(Plain):
    """Declares `accepts_missing`, without the argument in forward."""

    accepts_missing = True

    def forward(self, inputs):
        return super().forward(inputs)


class SilentOnAbsence(Present):
    """Takes `present`, but does not declare it."""

    accepts_missing = False
    __doc__ += Picky.__doc__


class Unmasked(Present):
    """Takes `present` and ignores it."""

    def join(self, inputs, present=None):
        return super().join(inputs)

    __doc__ += Picky.__doc__


class AnotherMean(Present):
    """Another divisor if `present` is given."""

    def join(self, inputs, present=None):
        joined = super().join(inputs, present)
        return joined if present is None else 2 * joined

    __doc__ += Picky.__doc__


class Spread(Present):
    """Divides by the spread, which is zero for one modality."""

    def join(self, inputs, present=None):
        joined = super().join(inputs, present)
        if present is None or present.shape[1] == 1:
            return joined
        alone = present.sum(dim=1, keepdim=True) == 1
        return torch.where(alone, joined / 0.0, joined)

    __doc__ += Picky.__doc__


class LeakyGradient(Present):
    """Cuts the value of an absent modality, but not its gradient."""

    def join(self, inputs, present=None):
        leak = sum(x - x.detach() for x in inputs.values())
        return super().join(inputs, present) + leak

    __doc__ += Picky.__doc__


class OneMaskForAll(Present):
    """The modalities present in the batch, used for every clip."""

    def masks(self, inputs, present):
        if present is not None and len(present) > 1:
            present = present | present.any(dim=0)[None]
        return super().masks(inputs, present)

    __doc__ += Picky.__doc__


class AbsentWeights(Present):
    """Weights of absent modalities."""

    def modality_weights(self, inputs, present=None):
        return super().modality_weights(inputs)

    __doc__ += Picky.__doc__


# Plugin -> words of the message, and the checks that fail, first the corresponding one.
WRONG = {
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
    LeakyGradient: ("reaches face, voice of clips that lack th", "no_gradient_reaches_the_absent"),
    OneMaskForAll: ("lack different modalities change with the batch", "masks_of_a_batch",
                    "absent_values_do_not_count", "no_gradient_reaches_the_absent"),
    AbsentWeights: ("gives absent modalities a weight", "absent_values_do_not_count"),
}  # fmt: skip


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_broken_strategy_fails_its_check(plugin):
    words, *intended = WRONG[plugin]
    fails_only(StrategySuite, plugin, words, *intended, alone=False)


def test_every_check_has_a_plugin_that_fails_it():
    assert own_checks(MissingModalityChecks) == {
        f"test_{intended}" for _, intended, *_ in WRONG.values()
    }
