"""Findings: order, JSON, and invalid files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fusion.core.analysis.diagnosis.findings import TITLES, Diagnosis, Finding
from fusion.core.contracts.errors import RunError


def finding(fault: str = "dead_branch", severity: Any = "severe", **more: Any) -> Finding:
    return Finding(fault, severity, "It is constant.", "rank < 0.05", **more)


def diagnosis(*findings: Finding) -> Diagnosis:
    return Diagnosis(findings, {"a": {"norm": 1.5}, "": {"update": 0.1}}, {"dead_rank": 0.05})


def test_findings_are_sorted_by_severity_then_cause() -> None:
    passed = [
        finding("branch_imbalance", "mild"),
        finding("label_noise"),
        finding("branch_imbalance"),
        finding("dead_branch", "moderate"),
        finding("scale_mismatch"),
    ]
    ranked = sorted(passed, key=lambda f: f.rank)
    assert [(f.fault, f.severity) for f in ranked] == [
        ("scale_mismatch", "severe"),
        ("branch_imbalance", "severe"),
        ("label_noise", "severe"),
        ("dead_branch", "moderate"),
        ("branch_imbalance", "mild"),
    ]


def test_a_remedy_is_added_and_nothing_else_changes() -> None:
    before = finding(modality="b", numbers={"rank": 1.2}, items=("x",))
    after = before.with_remedy("Look at it.", "fusion repair runs/x")
    assert (after.remedy, after.command) == ("Look at it.", "fusion repair runs/x")
    assert after.with_remedy("", None) == before
    assert after.to_json()["title"] == "Dead branch"


def test_faults_are_listed_once_in_order() -> None:
    twice = diagnosis(finding("label_noise"), finding(modality="a"), finding(modality="b"))
    assert twice.faults == ["label_noise", "dead_branch"]
    assert diagnosis().faults == []


def test_every_fault_is_listed_as_checked() -> None:
    assert diagnosis().to_json()["checked"] == list(TITLES)
    assert diagnosis().to_json()["findings"] == []


@pytest.mark.parametrize(
    ("field", "value"), [("severity", "awful"), ("numbers", [1]), ("says", None), ("items", "x")]
)
def test_an_invalid_field_is_refused_by_name(field: str, value: Any) -> None:
    data = diagnosis(finding(items=("x",))).to_json()
    assert Diagnosis.from_json(data, Path("diagnosis.json")) == diagnosis(finding(items=("x",)))
    data["findings"][0][field] = value
    with pytest.raises(RunError, match=rf"diagnosis\.json.*{field}"):
        Diagnosis.from_json(data, Path("diagnosis.json"))
    del data["findings"]
    with pytest.raises(RunError, match="findings"):
        Diagnosis.from_json(data, Path("diagnosis.json"))
