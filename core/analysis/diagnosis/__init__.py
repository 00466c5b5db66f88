"""Diagnosis of a finished run: rules with thresholds that explain why a fusion fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace

from ...data.task import task_sentence
from ...runs.run import Run
from . import data_rules, fusion_rules, training_rules
from .evidence import Evidence, gather
from .findings import SEVERITIES, Diagnosis, Finding
from .recording_rules import recording_warnings
from .remedies import with_remedies
from .thresholds import Thresholds

__all__ = [
    "FILE",
    "Diagnosis",
    "Evidence",
    "Finding",
    "Thresholds",
    "diagnose",
    "judge",
    "recording_warnings",
]

FILE = "diagnosis.json"

Rule = Callable[[Evidence, Thresholds], Iterable[Finding]]
DATA_RULES: tuple[Rule, ...] = (
    data_rules.not_finite,
    data_rules.leaked_speakers,
    data_rules.recordings,
    data_rules.mispaired,
)
TRAINING_RULES: tuple[Rule, ...] = (
    data_rules.architecture_imbalance,
    data_rules.label_noise,
    training_rules.dead_branch,
    training_rules.frozen_branch,
    training_rules.swamping_bias,
    training_rules.scale_mismatch,
    training_rules.cold_start,
    training_rules.branch_imbalance,
    training_rules.overfitting_head,
    fusion_rules.held_back,
    fusion_rules.misplaced_trust,
    fusion_rules.memorised_head,
)
# A fault of a modality itself (_CAUSES) explains the effects (_EFFECTS) that the rules detect in
# the same modality.
_CAUSES = {"not_finite", "dead_branch", "frozen_branch", "mispaired", "swamping_bias",
           "scale_mismatch"}  # fmt: skip
_EFFECTS = {"cold_start", "branch_imbalance", "architecture_imbalance", "overfitting_head",
            "label_noise", "held_back", "misplaced_trust", "memorised_head"}  # fmt: skip
# A branch that underfits its training clips also predicts validation clips badly.
_SLOW = {"cold_start", "branch_imbalance"}
_STILL = {"branch_imbalance", "held_back"}
# Faults that do not explain a fused model below its best single modality.
_NO_REASONS = {"leaked_speakers", "duplicates", "label_noise", "silent", "constant_parts",
               "clipped"}  # fmt: skip


def diagnose(
    run: Run,
    thresholds: Thresholds | None = None,
    *,
    jobs: int = 0,
) -> Diagnosis:
    """Diagnose a run whose trainings are finished, and write ``diagnosis.json`` into it.

    The rules use training and validation clips, never test clips. A run may therefore be
    diagnosed and repaired any number of times without biasing the test result.

    Parameters
    ----------
    run : Run
        The run directory.
    thresholds : Thresholds, optional
        Limits that the rules compare with.
    jobs : int
        Worker processes for validation predictions that do not exist yet; 0 computes them in this
        process.

    Raises
    ------
    RunError
        If a training is not finished.
    """
    evidence = gather(run, jobs=jobs)
    diagnosis = judge(evidence, thresholds or Thresholds())
    findings = with_remedies(
        diagnosis.findings, str(run.path), run.config, evidence.spec, run.registry
    )
    diagnosis = replace(diagnosis, findings=findings)
    run.write_json(FILE, diagnosis.to_json())
    return diagnosis


def judge(evidence: Evidence, thresholds: Thresholds) -> Diagnosis:
    """Apply the rules and return their findings, most important first, without remedies."""
    rules = [*DATA_RULES, *TRAINING_RULES]
    caveats = [sentence] if (sentence := task_sentence(evidence.config.adapt)) else []
    steps = evidence.steps
    if steps < thresholds.fewest_steps:
        rules = [*DATA_RULES]
        caveats.append(
            f"The trainings took {steps:.0f} steps, which is too few to judge the branches "
            f"(diagnosis.fewest_steps = {thresholds.fewest_steps:g})."
        )
    if evidence.data.absent:
        names = " and ".join(evidence.data.absent)
        caveats.append(
            f"Some clips have no {names}. Figures of a single modality are computed on the clips "
            "that have it, figures of the fused scores on all clips."
        )
    if evidence.missing:
        caveats.append(
            "The features can't be read, so the rules that need them were skipped: "
            f"{evidence.missing}"
        )
    findings = [f for rule in rules for f in rule(evidence, thresholds)]
    findings = [_milder(f) if _follows(f, findings) else f for f in findings]
    if all(f.severity == "mild" or f.fault in _NO_REASONS for f in findings):
        findings += fusion_rules.unexplained(evidence, thresholds)
    return Diagnosis(
        tuple(sorted(findings, key=lambda finding: finding.rank)),
        training_rules.measured(evidence),
        asdict(thresholds),
        tuple(caveats),
    )


def _follows(finding: Finding, findings: Sequence[Finding]) -> bool:
    """Return True if the fault of `finding` may be an effect of a fault in `findings`.

    A fault of a modality itself explains the effects seen in that modality and in the fused model
    as a whole. A far too large fusion head explains branches that did not learn.
    """
    causes = {f.modality for f in findings if f.fault in _CAUSES and f.severity != "mild"}
    if finding.fault in _EFFECTS and causes and finding.modality in {None, *causes}:
        return True
    # A branch that learns has far larger embeddings than a branch that does not learn.
    still = {f.modality for f in findings if f.fault in _STILL and f.severity != "mild"}
    if finding.fault == "scale_mismatch" and finding.numbers["learned"]:
        return bool(still - {finding.modality})
    # Far too large embeddings saturate a branch. A branch that died for another reason has small
    # embeddings.
    large = {f.modality for f in findings if f.fault == "scale_mismatch" and f.severity != "mild"}
    if finding.fault == "dead_branch" and finding.modality in large:
        return True
    slow = [f.modality for f in findings if f.fault in _SLOW and f.severity != "mild"]
    if finding.fault == "held_back" and {None, finding.modality} & set(slow):
        return True
    too_large = any(f.fault == "overfitting_head" and f.numbers["too_large"] for f in findings)
    return too_large and finding.fault in {
        "cold_start",
        "branch_imbalance",
        "held_back",
        "misplaced_trust",
        "memorised_head",
    }


def _milder(finding: Finding) -> Finding:
    severity = SEVERITIES[min(SEVERITIES.index(finding.severity) + 1, len(SEVERITIES) - 1)]
    says = finding.says + " This may be a consequence of the fault above."
    return replace(finding, severity=severity, says=says)
