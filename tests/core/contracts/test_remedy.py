"""Remedies: what a run is known to have, and what is prescribed to it."""

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
    ("known", "expected"),
    [
        ({"train": {"lr": 0.001, "epochs": 10, "dim": 64}}, True),
        ({"train": {"lr": "0.001", "epochs": "10"}}, True),  # as typed on a command line
        ({"train": {"lr": 0.001}}, False),  # the other is not known
        ({"train": {"lr": 0.002, "epochs": 10}}, False),
        ({}, False),
    ],
)
def test_a_run_has_settings_where_all_of_them_are_known_and_equal(known, expected):
    assert patient(**known).has(Slower.settings) is expected


def test_every_run_has_no_settings_at_all():
    assert patient().has({}) and patient().has({"train": {}})


def test_what_is_always_the_same_is_prescribed_from_class_attributes():
    found = Mixed().prescribe(patient(balancers=("pmr", "ogm_ge")))
    # Behind the patient's own, in their order, none twice.
    assert found == Prescription(
        "sum", ("pmr", "ogm_ge", "gradscale"), {}, {"gradscale": {"mode": "norms"}}
    )


def test_balancers_that_the_patient_has_are_left_as_they_are():
    found = Mixed().prescribe(patient(balancers=("gradscale", "ogm_ge")))
    assert found.balancers is None and found.strategy == "sum"


def test_a_remedy_offers_nothing_to_a_run_that_has_it_all():
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
def test_one_thing_that_differs_is_enough(run):
    assert Mixed().prescribe(run) is not None


def test_settings_alone_leave_strategy_and_balancers():
    found = Slower().prescribe(patient(balancers=("pmr",)))
    assert (found.strategy, found.balancers, found.settings) == (None, None, Slower.settings)
