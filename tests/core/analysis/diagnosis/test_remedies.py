"""Remedies for findings: selection, order and texts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from run_by_hand import evidence

from fusion.core.analysis.diagnosis.findings import Finding
from fusion.core.analysis.diagnosis.remedies import patient_of, prescriptions, with_remedies
from fusion.core.contracts import Modality
from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.training.model import BranchSpec

PLUGIN = """
from fusion import Remedy, hookimpl
from fusion.core.contracts import Prescription


class Early(Remedy):
    '''Offer something whatever is found.

    More of it.
    '''

    name = "early"
    order = -1
    mends = ("dead_branch",)

    def prescribe(self, patient):
        return Prescription(strategy="sum")


class Silent(Early):
    '''Offer nothing.'''

    name = "silent"

    def prescribe(self, patient):
        return None


@hookimpl
def fusion_remedies():
    return [Early, Silent]
"""
CONFIG = RunConfig(("made",), strategy="concat")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    file = tmp_path_factory.mktemp("remedies") / "mine.py"
    file.write_text(PLUGIN)
    return Registry([str(file)])


def finding(fault, modality=None):
    return Finding(fault, "severe", "It is so.", "rule", modality)


def prescribed(registry, *faults, config=CONFIG):
    spec = evidence().spec
    return prescriptions(patient_of(config, spec, registry, [finding(f) for f in faults]), registry)


def test_remedies_for_the_findings_come_before_the_ladder(registry):
    ladder = list(prescribed(registry))
    assert ladder[0] == "early" and "silent" not in ladder
    orders = [registry.remedy(name).order for name in ladder]
    assert orders == sorted(orders)
    fault = next(f for name in ladder[1:] for f in registry.remedy(name).mends
                 if f not in ("dead_branch",))  # fmt: skip
    result = list(prescribed(registry, fault, "dead_branch"))
    assert fault in registry.remedy(result[0]).mends
    assert sorted(result) == sorted(set(result))
    intended = [fault in registry.remedy(name).mends for name in result]
    first_of_rest = result.index("early")
    assert all(intended[:first_of_rest])


def test_a_finding_gets_a_text_and_a_command(registry):
    (result,) = with_remedies(
        [finding("dead_branch", "a")], "runs/my run", CONFIG, evidence().spec, registry
    )
    assert result.remedy.startswith("Find out why the output of the branch is constant")
    assert result.remedy.endswith(" Offer something whatever is found.")
    assert result.command.startswith("fusion repair 'runs/my run' --steps early")
    assert "silent" not in result.command


def test_a_fault_that_training_cannot_repair_has_no_command(registry):
    (result,) = with_remedies([finding("duplicates")], "r", CONFIG, evidence().spec, registry)
    assert result.remedy == "Keep one copy of every recording, with one label and one speaker."
    assert result.command is None


def test_no_finding_needs_no_remedy(registry):
    assert with_remedies([], "r", CONFIG, evidence().spec, registry) == ()


def test_a_patient_has_its_branches_and_those_that_extractors_prefer(registry):
    spec = evidence().spec
    mel = BranchSpec(Modality("mel", (1, 16, 32), ()), "mlp")
    spec = replace(spec, branches=(*spec.branches, mel))
    config = replace(CONFIG, branches={"a": "cnn"}, settings={"concat": {"x": 1}})
    patient = patient_of(config, spec, registry, [finding("dead_branch")])
    assert patient.branches == {"a": "cnn", "b": "mlp", "mel": "mlp"}
    assert patient.preferred == {"mel": "cnn"}  # a and b have no extractor
    assert patient.strategy == "concat" and patient.settings == {"concat": {"x": 1}}
    assert [fault.fault for fault in patient.faults] == ["dead_branch"]
