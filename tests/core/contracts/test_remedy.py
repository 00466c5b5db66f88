"""Remedies: known settings of a run, and prescriptions."""

from typing import ClassVar

import pytest

from fusion import Patient, Remedy
from fusion.core.contracts import Prescription


def patient(strategy="gated", balancers=(), **settings):
    return Patient(strategy, balancers, {"mel": "cnn"}, {}, settings=settings)


class Slower(Remedy):
    name = "slower"
    settings: ClassVar = {"train": {"lr": 1e-3, "epochs": 10}}


class Mixed(Remedy):
    name = "mixed"
    strategy = "sum"
    balancers = ("ogm_ge", "gradscale")
    settings: ClassVar = {"gradscale": {"mode": "norms"}}


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({"train": {"lr": 0.001, "epochs": 10, "dim": 64}}, True),
        ({"train": {"lr": "0.001", "epochs": "10"}}, True),  # as typed on a command line
        ({"train": {"lr": 0.001}}, False),  # the value of epochs is unknown
        ({"train": {"lr": 0.002, "epochs": 10}}, False),
        ({}, False),
    ],
)
def test_a_run_has_settings_if_all_are_known_and_equal(reference, expected):
    assert patient(**reference).has(Slower.settings) is expected


def test_every_run_has_empty_settings():
    assert patient().has({}) and patient().has({"train": {}})


def test_constant_prescriptions_are_class_attributes():
    result = Mixed().prescribe(patient(balancers=("pmr", "ogm_ge")))
    # Prescribed balancers follow the patient's own, in order and without repetition.
    assert result == Prescription(
        "sum", ("pmr", "ogm_ge", "gradscale"), {}, {"gradscale": {"mode": "norms"}}
    )


def test_balancers_that_the_patient_has_are_not_prescribed():
    result = Mixed().prescribe(patient(balancers=("gradscale", "ogm_ge")))
    assert result.balancers is None and result.strategy == "sum"


def test_a_run_that_has_everything_gets_no_prescription():
    everything = patient(
        "sum", ("gradscale", "ogm_ge"), gradscale={"mode": "norms"}, train={"lr": 1.0}
    )
    assert Mixed().prescribe(everything) is None
    assert Slower().prescribe(patient(train={"lr": 1e-3, "epochs": 10})) is None


@pytest.mark.parametrize(
    "run",
    [
        patient("concat", ("gradscale", "ogm_ge"), gradscale={"mode": "norms"}),
        patient("sum", ("gradscale",), gradscale={"mode": "norms"}),
        patient("sum", ("gradscale", "ogm_ge"), gradscale={"mode": "fixed"}),
        patient("sum", ("gradscale", "ogm_ge")),
    ],
)
def test_a_single_difference_suffices_for_a_prescription(run):
    assert Mixed().prescribe(run) is not None


def test_prescribed_settings_do_not_change_strategy_and_balancers():
    result = Slower().prescribe(patient(balancers=("pmr",)))
    assert (result.strategy, result.balancers, result.settings) == (None, None, Slower.settings)
