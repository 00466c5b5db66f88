"""Which remedies there are for what was found, and in what order to try them."""

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

# What no training mends: the clips themselves have to be looked at.
_BY_HAND = {
    "not_finite": "Mend the extractor, or the table that the features were imported from.",
    "leaked_speakers": "Divide the clips by speaker: --split speaker, and speakers named rightly.",
    "duplicates": "Keep one copy of every recording, under one label and one speaker.",
    "mispaired": "Make sure that each modality's array is that of the clip's own recording; a "
    "repair can only leave the modality out.",
    "label_noise": "Listen to the clips that are named, and correct their labels.",
    "dead_branch": "Look for what makes the branch's output constant (its inputs, an activation "
    "that never opens, a weight of 0).",
    "frozen_branch": "Let the weights be trained: requires_grad, a learning rate above 0.",
}


def with_remedies(
    findings: Sequence[Finding], run: str, config: RunConfig, spec: ModelSpec, registry: Registry
) -> tuple[Finding, ...]:
    """The findings with what to do about each; `run` is the run directory as a user types it."""
    patient = patient_of(config, spec, registry, findings)
    offers = prescriptions(patient, registry)
    completed: list[Finding] = []
    for finding in findings:
        steps = [name for name in offers if finding.fault in registry.remedy(name).mends]
        texts = [_BY_HAND.get(finding.fault, "")]
        texts += [_first_line(registry.remedy(name)) for name in steps[:1]]
        command = f"fusion repair {shlex.quote(run)} --steps {','.join(steps)}" if steps else None
        completed.append(finding.with_remedy(" ".join(t for t in texts if t), command))
    return tuple(completed)


def _first_line(remedy: type[Remedy]) -> str:
    return (remedy.__doc__ or remedy.name).strip().splitlines()[0]


def patient_of(
    config: RunConfig, spec: ModelSpec, registry: Registry, faults: Sequence[Fault]
) -> Patient:
    """What remedies may know of a run."""
    preferred: dict[str, str] = {}
    for branch in spec.branches:
        modality = branch.modality.name
        try:
            cls = registry.extractor(modality)
            name = make_extractor(cls, config.settings.get(modality, {})).default_branch
        except FusionError:  # an imported feature, or one that can't be made here any more
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
        {owner: dict(given) for owner, given in config.settings.items()},
        decided or starts_from_baselines(config, registry),
    )


def prescriptions(patient: Patient, registry: Registry) -> Mapping[str, Prescription]:
    """Remedy -> what it would change, in the order in which to try them.

    First those for what was found, the most important finding first; then the rest of the
    ladder. Those with nothing to offer are not in it.
    """
    remedies: list[type[Remedy]] = sorted(
        (registry.remedy(entry.name) for entry in registry.entries("remedy")),
        key=lambda remedy: remedy.order,
    )
    meant = [r for fault in patient.faults for r in remedies if fault.fault in r.mends]
    found: dict[str, Prescription] = {}
    for remedy in dict.fromkeys([*meant, *remedies]):
        offer = remedy().prescribe(patient)
        if offer is not None:
            found[remedy.name] = offer
    return found
