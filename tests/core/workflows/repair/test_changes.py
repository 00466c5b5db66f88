"""Prescriptions applied to configurations, trainings that runs share, and the order of remedies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from run_records import model_of, record_of

from fusion.core.analysis.diagnosis.findings import TITLES
from fusion.core.analysis.diagnosis.remedies import patient_of, prescriptions
from fusion.core.contracts import Modality, Patient, Prescription, Remedy
from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.run import Run
from fusion.core.runs.trainings import CONTROL, FUSED
from fusion.core.training.model import BranchSpec, ModelSpec
from fusion.core.workflows.repair.changes import changed, share_alike, words_for

# A run stores every parameter of everything in use.
STORED = RunConfig(
    ("demo",),
    features=("mel", "persistence"),
    strategy="gated",
    balancers=("gradscale",),
    settings={
        "gated": {"hidden": 32},
        "gradscale": {"alpha": 0.5},
        "train": {"lr": 3e-3, "epochs": 80},
        "branch.mel": {"blocks": 7},
    },
)


def test_settings_of_removed_plugins_are_removed() -> None:
    after = changed(STORED, Prescription("normalised", (), settings={"normalised": {"hidden": 8}}))
    assert (after.strategy, after.balancers) == ("normalised", ())
    assert set(after.settings) == {"train", "branch.mel", "normalised"}
    assert STORED.settings["gated"] == {"hidden": 32}  # the stored configuration is unchanged


def test_another_branch_has_its_own_defaults() -> None:
    after = changed(STORED, Prescription(branches={"mel": "crnn"}))
    assert after.branches == {"mel": "crnn"} and "branch.mel" not in after.settings


def test_settings_are_added_to_existing_ones() -> None:
    after = changed(STORED, Prescription(settings={"train": {"normalise": "feature"}}))
    assert after.settings["train"] == {"lr": 3e-3, "epochs": 80, "normalise": "feature"}


def test_differences_are_shown_as_options() -> None:
    offer = Prescription("residual", ("lr",), {"mel": "crnn"}, {"lr": {"branch": 0.1}})
    assert words_for(STORED, changed(STORED, offer)) == [
        "--strategy residual",
        "--balance lr",
        "--branch mel=crnn",
        "--set lr.branch=0.1",
    ]
    assert words_for(STORED, STORED) == []
    assert words_for(STORED, changed(STORED, Prescription(balancers=()))) == ["--balance none"]


# -- order of remedies -----------------------------------------------------------------


@dataclass
class Found:
    fault: str
    modality: str | None = None


def patient(*faults: Found, **passed) -> Patient:  # type: ignore[no-untyped-def]
    plain = {"strategy": "concat", "balancers": (), "branches": {"mel": "cnn"},
             "preferred": {"mel": "cnn"}}  # fmt: skip
    return Patient(**{**plain, **passed}, faults=faults)


def ladder(*faults: Found, **passed) -> list[str]:  # type: ignore[no-untyped-def]
    return list(prescriptions(patient(*faults, **passed), Registry()))


def test_the_ladder_without_a_finding() -> None:
    assert ladder() == [
        "started", "adaptive", "pretrained", "levelled", "balanced", "joined", "corrected",
        "averaged",
    ]  # fmt: skip


def test_starting_from_baselines_is_not_offered_to_a_run_that_does() -> None:
    assert ladder(from_baselines=True) == [
        "adaptive", "levelled", "joined", "corrected", "averaged",
    ]  # fmt: skip
    assert not {"started", "pretrained"} & set(ladder(balancers=("pretrain",)))
    offers = prescriptions(patient(from_baselines=True), Registry())
    assert offers["corrected"] == Prescription("residual")  # branches learn slowly already


def test_other_modes_of_gate_and_balancing_are_replaced() -> None:
    stored = {"gated": {"gate": "trained", "hidden": 32}, "gradscale": {"mode": "norms"}}
    old = {"strategy": "gated", "balancers": ("gradscale",), "settings": stored}
    offers = prescriptions(patient(from_baselines=True, **old), Registry())
    assert offers["adaptive"].settings == {"gated": {"gate": "held_out"}}
    assert offers["balanced"].settings == {"gradscale": {"mode": "progress"}}


def test_the_start_of_a_run_is_read_from_its_configuration() -> None:
    spec = ModelSpec((BranchSpec(Modality("mel", (1, 8, 8)), "cnn"),), 4, 64, "gated")
    scratch = replace(STORED, settings={"train": {"start": "scratch"}})
    for config, begun in ((STORED, True), (scratch, False)):
        assert patient_of(config, spec, Registry(), ()).from_baselines is begun
    other = replace(STORED, branches={"mel": "crnn"})
    assert patient_of(other, spec, Registry(), ()).branches == {"mel": "crnn"}


def test_remedies_for_the_diagnosed_fault_come_first() -> None:
    for fault in ("held_back", "branch_imbalance"):
        assert ladder(Found(fault, "mel"))[:3] == ["started", "pretrained", "balanced"]
    assert ladder(Found("cold_start"))[:2] == ["started", "pretrained"]
    for fault in ("misplaced_trust", "memorised_head"):
        assert ladder(Found(fault))[:2] == ["adaptive", "averaged"]
    assert ladder(Found("unexplained"))[:2] == ["started", "adaptive"]
    assert ladder(Found("overfitting_head"), Found("cold_start"))[:3] == [
        "levelled", "corrected", "started",
    ]  # fmt: skip


def test_methods_in_use_are_not_offered() -> None:
    stored = {"gated": {"gate": "held_out"}, "gradscale": {"mode": "progress"}}
    passed = ladder(strategy="gated", balancers=("gradscale", "pretrain"), settings=stored)
    assert not {"adaptive", "balanced", "pretrained"} & set(passed)


def test_a_broken_branch_is_rebuilt_if_another_is_preferred() -> None:
    broken = Found("dead_branch", "mel")
    assert "rebuilt" not in ladder(broken)  # it is already the preferred branch
    offers = prescriptions(patient(broken, branches={"mel": "mlp"}), Registry())
    assert next(iter(offers)) == "rebuilt"
    assert offers["rebuilt"].branches == {"mel": "cnn"}
    assert "rebuilt" not in ladder(Found("dead_branch", "other"), branches={"mel": "mlp"})


@pytest.mark.parametrize("entry", Registry().entries("remedy"), ids=lambda entry: entry.name)
def test_every_remedy_names_existing_faults_and_methods(entry) -> None:  # type: ignore[no-untyped-def]
    remedy, registry = entry.cls, Registry()
    assert issubclass(remedy, Remedy) and set(remedy.mends) <= set(TITLES)
    if remedy.strategy:
        registry.strategy(remedy.strategy)
    for name in remedy.balancers:
        registry.balancer(name)
    assert set(remedy.settings) <= {"train", remedy.strategy, *remedy.balancers}
    assert remedy.__doc__


# -- shared trainings ----------------------------------------------------------------------


def begun(path: Path, **changes: Any) -> Run:
    """Write a run with two modalities and a control of three epochs."""
    run = Run(path)
    run.write_json("run.json", record_of(**{"control": 3, **changes}).to_json())
    return run


def trained(path: Path, **changes: Any) -> Run:
    run = begun(path, **changes)
    for name in ("a", "b", FUSED, CONTROL):
        run.write_json(f"fold0/{name}/training.json", {"from": path.name})
    return run


def shared(target: Run) -> set[str]:
    return {folder.name for folder in target.path.glob("fold0/*")}


SLOWER = replace(model_of(), branches=(model_of().branches[0], BranchSpec(
    Modality("b", (4,), ()), "mlp", {"hidden": 3})))  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({}, {"a", "b", CONTROL}),
        ({"training": {"start": "scratch", "finetune": 0.5}}, {"a", "b", CONTROL}),
        ({"training": {"lr": 0.1}}, set()),
        ({"model": SLOWER}, {"a"}),
        ({"model": model_of(dim=16)}, set()),
        ({"model": model_of(("a",))}, {"a"}),
        ({"control": 4}, {"a", "b"}),
    ],
)
def test_equal_trainings_are_shared_except_the_fused_one(
    tmp_path: Path, changes: dict[str, Any], alike: set[str]
) -> None:
    target = begun(tmp_path / "target")
    share_alike(target, [trained(tmp_path / "other", **changes)])
    assert shared(target) == alike


def test_only_finished_trainings_are_shared_and_the_first_is_used(tmp_path: Path) -> None:
    one, other = trained(tmp_path / "one"), trained(tmp_path / "other")
    (one.training("fold0/b") / "training.json").unlink()
    target = begun(tmp_path / "target")
    share_alike(target, [one, other])
    assert target.summary("fold0/a") == {"from": "one"}
    assert target.summary("fold0/b") == {"from": "other"}
