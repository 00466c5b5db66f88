"""Suite for remedies: each broken remedy fails the corresponding check."""

import random
from typing import ClassVar

import pytest
from suites import failures

from fusion import Prescription, Remedy
from fusion.testing import RemedySuite

CHECKS = {name for name in dir(RemedySuite) if name.startswith("test_")}


class Fine(Remedy):
    """Valid: another strategy, with settings."""

    name = "fine"
    mends = ("overfitting_head",)
    strategy = "normalised"
    settings: ClassVar = {"train": {"lr": 1e-4}, "normalised": {"dropout": 0.5}}


class Branches(Remedy):
    """Valid: the preferred branch for modalities with a dead branch."""

    name = "branches"
    mends = ("dead_branch",)

    def prescribe(self, patient):
        broken = {f.modality for f in patient.faults if f.fault == "dead_branch"}
        changed = {
            m: name
            for m, name in patient.preferred.items()
            if m in broken and patient.branches[m] != name
        }
        return Prescription(branches=changed) if changed else None


def test_valid_remedies_pass():
    assert failures(RemedySuite, Fine) == {}
    assert failures(RemedySuite, Branches) == {}


class MendsText(Fine):
    mends = "dead_branch"


class MendsNothing(Fine):
    mends = ("dead_brunch",)


class OrderText(Fine):
    order = "first"


class NamesOnly(Fine):
    def prescribe(self, patient):
        return "concat"


class TwoModalities(Fine):
    def prescribe(self, patient):
        _, _ = patient.branches
        return super().prescribe(patient)


class Dice(Fine):
    def prescribe(self, patient):
        return Prescription(settings={"train": {"lr": random.random()}})


class Treats(Fine):
    def prescribe(self, patient):
        patient.branches.update(voice="another")
        return super().prescribe(patient)


class Again(Fine):
    settings: ClassVar = {}

    def prescribe(self, patient):
        return Prescription(strategy=self.strategy)


class NoStrategy(Fine):
    strategy = "conct"
    settings: ClassVar = {}


class BalancerText(Fine):
    def prescribe(self, patient):
        return Prescription(balancers="gradscale")


class OtherModality(Fine):
    def prescribe(self, patient):
        return Prescription(branches={"mel": "cnn"})


class ForAnother(Fine):
    settings: ClassVar = {"gated": {"hidden": 8}}


class NoParameter(Fine):
    settings: ClassVar = {"normalised": {"dropuot": 0.5}}


class WrongValue(Fine):
    settings: ClassVar = {"train": {"epochs": "many"}}


# Plugin -> the check that it fails, and words of the message.
WRONG = {
    MendsText: ("mends", "`mends` is 'dead_branch'"),
    MendsNothing: ("mends", "names 'dead_brunch', which no diagnosis finds"),
    OrderText: ("order", "`order` is 'first'"),
    NamesOnly: ("prescribes", "prescribe returns 'concat'"),
    TwoModalities: ("prescribes", "prescribe raises ValueError"),
    Dice: ("prescribes", "two calls of prescribe for the same run return different"),
    Treats: ("patient_is_left_alone", "prescribe changes the patient"),
    Again: ("changes_something", "the prescription does not change the run"),
    NoStrategy: ("names", "the strategy 'conct', which does not exist"),
    BalancerText: ("names", "the balancer 'g', which does not exist"),
    OtherModality: ("names", "the remedy prescribes a branch for mel"),
    ForAnother: ("settings", "the remedy prescribes settings for 'gated'"),
    NoParameter: ("settings", "no parameter of normalised 'dropuot'"),
    WrongValue: ("settings", "train.epochs must be int"),
}


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_broken_remedy_fails_its_check(plugin):
    intended, words = WRONG[plugin]
    result = failures(RemedySuite, plugin)
    assert words in result[f"test_{intended}"], result
    assert "usual cause:" in result[f"test_{intended}"]


@pytest.mark.parametrize("plugin", [MendsNothing, Again, NoStrategy, ForAnother, WrongValue])
def test_a_broken_remedy_fails_no_other_check(plugin):
    class Documented(plugin):
        """Has a docstring."""

    intended, _ = WRONG[plugin]
    assert set(failures(RemedySuite, Documented)) == {f"test_{intended}"}


def test_every_check_has_a_remedy_that_fails_it():
    general = {"name_and_version", "description", "conformance_attribute", "parameters", "space"}
    assert {f"test_{n}" for n in {intended for intended, _ in WRONG.values()} | general} == CHECKS
