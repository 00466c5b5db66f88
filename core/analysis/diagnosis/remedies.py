"""Remedies for the findings of a diagnosis, in the order in which a repair tries them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from ...contracts import Fault, Patient, Prescription, Remedy
from ...contracts.errors import FusionError
from ...data.extraction import make_extractor
from ...registry.registry import Registry
from ...runs.balancing import starts_from_baselines
from ...runs.config import RunConfig
from ...training.model import ModelSpec
from .findings import Finding

# Advice for faults that a different training does not repair: the user has to act.
_BY_HAND = {
    "not_finite": "Correct the extractor, or the table that the features were imported from.",
    "leaked_speakers": "Split the clips by speaker (--split speaker), and check the speaker names.",
    "duplicates": "Keep one copy of every recording, with one label and one speaker.",
    "silent": "Listen to these recordings; convert or record them again, or remove them from the "
    "corpus.",
    "constant_parts": "Cut digital silence off, and check whether samples were lost when the "
    "recordings were converted.",
    "clipped": "Use recordings made at a lower level; a lower volume afterwards does not restore "
    "the samples that were cut off.",
    "mispaired": "Make sure that the array of each modality comes from the clip's own recording. "
    "A repair can only leave the modality out.",
    "label_noise": "Listen to the clips listed here, and correct their labels.",
    "dead_branch": "Find out why the output of the branch is constant (its inputs, an activation "
    "that is never above zero, a weight of 0).",
    "frozen_branch": "Make the weights trainable: check requires_grad, and set a learning rate "
    "above 0.",
}


def by_hand(fault: str) -> str:
    """Return advice for a fault that the user has to repair; empty for other faults."""
    return _BY_HAND.get(fault, "")


def with_remedies(
    findings: Sequence[Finding], run: str, config: RunConfig, spec: ModelSpec, registry: Registry
) -> tuple[Finding, ...]:
    """Return the findings with a remedy and a command for each.

    Parameters
    ----------
    findings : sequence of Finding
        Most important first.
    run : str
        The run directory as a user would type it, for the command line.
    config, spec
        Configuration and model specification of the run.
    registry : Registry
        Source of the available remedies.
    """
    patient = patient_of(config, spec, registry, findings)
    offers = prescriptions(patient, registry)
    completed: list[Finding] = []
    for finding in findings:
        steps = [name for name in offers if finding.fault in registry.remedy(name).mends]
        texts = [by_hand(finding.fault)]
        texts += [_first_line(registry.remedy(name)) for name in steps[:1]]
        command = f"fusion repair {shlex.quote(run)} --steps {','.join(steps)}" if steps else None
        completed.append(finding.with_remedy(" ".join(t for t in texts if t), command))
    return tuple(completed)


def _first_line(remedy: type[Remedy]) -> str:
    return (remedy.__doc__ or remedy.name).strip().splitlines()[0]


def patient_of(
    config: RunConfig, spec: ModelSpec, registry: Registry, faults: Sequence[Fault]
) -> Patient:
    """Return the description of a run from which remedies derive their changes."""
    preferred: dict[str, str] = {}
    for branch in spec.branches:
        modality = branch.modality.name
        try:
            cls = registry.extractor(modality)
            name = make_extractor(cls, config.settings.get(modality, {})).default_branch
        except FusionError:  # an imported feature, or an extractor that is not available here
            name = None
        if name is not None:
            preferred[modality] = name
    decided = any("start" in registry.balancer(b).takes_over for b in config.balancers)
    branches = {branch.modality.name: branch.branch for branch in spec.branches}
    return Patient(
        config.strategy,
        config.balancers,
        {m: config.branches.get(m, branch) for m, branch in branches.items()},
        preferred,
        faults,
        {owner: dict(settings) for owner, settings in config.settings.items()},
        decided or starts_from_baselines(config, registry),
    )


def prescriptions(patient: Patient, registry: Registry) -> Mapping[str, Prescription]:
    """Return the changes that each remedy prescribes, by name, in the order in which to try them.

    Remedies for the detected faults come first, sorted by the importance of the finding. The
    other remedies follow, sorted by `Remedy.order`. Remedies that change nothing are left out.
    """
    remedies: list[type[Remedy]] = sorted(
        (registry.remedy(entry.name) for entry in registry.entries("remedy")),
        key=lambda remedy: remedy.order,
    )
    targeted = [r for fault in patient.faults for r in remedies if fault.fault in r.mends]
    offers: dict[str, Prescription] = {}
    for remedy in dict.fromkeys([*targeted, *remedies]):
        offer = remedy().prescribe(patient)
        if offer is not None:
            offers[remedy.name] = offer
    return offers
