"""Why a fusion fails: what trainings left behind, judged by rules with thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace

from ...data.task import task_sentence
from ...runs.run import Run
from . import data_rules, fusion_rules, training_rules
from .evidence import Evidence, gather
from .findings import SEVERITIES, Diagnosis, Finding
from .remedies import with_remedies
from .thresholds import Thresholds

__all__ = ["FILE", "Diagnosis", "Evidence", "Finding", "Thresholds", "diagnose", "judge"]

FILE = "diagnosis.json"

Rule = Callable[[Evidence, Thresholds], Iterable[Finding]]
DATA_RULES: tuple[Rule, ...] = (
    data_rules.not_finite,
    data_rules.leaked_speakers,
    data_rules.duplicates,
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
# What is wrong with a modality itself explains what else is seen of it.
_CAUSES = {"not_finite", "dead_branch", "frozen_branch", "mispaired", "swamping_bias",
           "scale_mismatch"}  # fmt: skip
_EFFECTS = {"cold_start", "branch_imbalance", "architecture_imbalance", "overfitting_head",
            "label_noise", "held_back", "misplaced_trust", "memorised_head"}  # fmt: skip
# A branch that fits too little of its training clips knows little of validation clips as well.
_SLOW = {"cold_start", "branch_imbalance"}
_STILL = {"branch_imbalance", "held_back"}
# These say nothing about a fused model that is below its best modality.
_NO_REASONS = {"leaked_speakers", "duplicates", "label_noise"}


def diagnose(
    run: Run,
    thresholds: Thresholds | None = None,
    *,
    jobs: int = 0,
) -> Diagnosis:
    """Judge a run whose trainings are done, and write ``diagnosis.json`` into it.

    Validation and training clips are looked at, test never is: a run may be diagnosed and
    mended as often as one likes.

    Parameters
    ----------
    run : Run
        The run directory.
    thresholds : Thresholds, optional
        Where the rules draw their lines.
    jobs : int
        Processes for predictions on validation that were not made yet; 0 means this one.

    Raises
    ------
    RunError
        If a training is not finished.
    """
    evidence = gather(run, jobs=jobs)
    found = judge(evidence, thresholds or Thresholds())
    mended = with_remedies(found.findings, str(run.path), run.config, evidence.spec, run.registry)
    found = replace(found, findings=mended)
    run.write_json(FILE, found.to_json())
    return found


def judge(evidence: Evidence, thresholds: Thresholds) -> Diagnosis:
    """What the rules say of the evidence, the most important first; without remedies."""
    rules = [*DATA_RULES, *TRAINING_RULES]
    caveats = [sentence] if (sentence := task_sentence(evidence.config.adapt)) else []
    steps = evidence.steps
    if steps < thresholds.fewest_steps:
        rules = [*DATA_RULES]
        caveats.append(
            f"The trainings took {steps:.0f} steps: too few to judge the branches by "
            f"(diagnosis.fewest_steps = {thresholds.fewest_steps:g})."
        )
    if evidence.data.absent:
        names = " and ".join(evidence.data.absent)
        caveats.append(
            f"Some clips have no {names}: its figures here are of the clips that have it, those of "
            "the fused scores of all."
        )
    if evidence.missing:
        caveats.append(
            f"The features can't be read, so that nothing was judged by them: {evidence.missing}"
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


def _follows(finding: Finding, others: Sequence[Finding]) -> bool:
    """Whether a finding may be the effect of another one.

    What is wrong with a modality explains what else is seen of it, and what is seen of all
    together; a head far too large explains what the branches did not learn.
    """
    causes = {f.modality for f in others if f.fault in _CAUSES and f.severity != "mild"}
    if finding.fault in _EFFECTS and causes and finding.modality in {None, *causes}:
        return True
    # Beside a branch that stands still, one that learns has embeddings many times as large.
    still = {f.modality for f in others if f.fault in _STILL and f.severity != "mild"}
    if finding.fault == "scale_mismatch" and finding.numbers["learned"]:
        return bool(still - {finding.modality})
    # Embeddings far too large saturate a branch; one that is dead for itself has small ones.
    large = {f.modality for f in others if f.fault == "scale_mismatch" and f.severity != "mild"}
    if finding.fault == "dead_branch" and finding.modality in large:
        return True
    slow = [f.modality for f in others if f.fault in _SLOW and f.severity != "mild"]
    if finding.fault == "held_back" and {None, finding.modality} & set(slow):
        return True
    too_large = any(f.fault == "overfitting_head" and f.numbers["too_large"] for f in others)
    return too_large and finding.fault in {
        "cold_start",
        "branch_imbalance",
        "held_back",
        "misplaced_trust",
        "memorised_head",
    }


def _milder(finding: Finding) -> Finding:
    severity = SEVERITIES[min(SEVERITIES.index(finding.severity) + 1, len(SEVERITIES) - 1)]
    says = finding.says + " This may follow from the fault above."
    return replace(finding, severity=severity, says=says)
