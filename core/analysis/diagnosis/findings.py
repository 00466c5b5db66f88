"""Findings of a diagnosis, each with its numbers, its rule and its remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...toolkit.run_files import as_type

Severity = Literal["severe", "moderate", "mild"]
SEVERITIES: tuple[Severity, ...] = ("severe", "moderate", "mild")

TITLES = {
    "not_finite": "Non-finite input",
    "silent": "Silent or constant recordings",
    "leaked_speakers": "Leaked speakers",
    "duplicates": "Duplicated clips",
    "constant_parts": "Constant parts",
    "clipped": "Clipped recordings",
    "scale_mismatch": "Scale mismatch",
    "swamping_bias": "Swamping bias",
    "dead_branch": "Dead branch",
    "frozen_branch": "Frozen branch",
    "mispaired": "Mispaired modalities",
    "cold_start": "Cold start",
    "overfitting_head": "Over-fitting fusion head",
    "branch_imbalance": "Branch imbalance",
    "held_back": "Branch held back",
    "misplaced_trust": "Misplaced trust",
    "memorised_head": "Memorised head",
    "architecture_imbalance": "Architecture imbalance",
    "label_noise": "Label noise",
    "unexplained": "Unexplained loss",
}
"""Title of every fault that has a rule. Causes come before their effects."""


@dataclass(frozen=True)
class Finding:
    """One fault that a rule detected in a run.

    Attributes
    ----------
    fault : str
        A key of :data:`TITLES`.
    severity : {"severe", "moderate", "mild"}
        A severe fault alone can explain a fused model below the best single modality. A mild
        fault is reported for information.
    says : str
        The finding in one to three sentences, with the numbers.
    rule : str
        The rule that `numbers` satisfy, with its threshold.
    modality : str or None
        The modality that has the fault; None for a fault of the fused model or the data.
    numbers : dict
        Figures that the rule compared, by name.
    items : tuple of str
        Names of the first few clips, speakers or layers to which the finding refers.
    remedy : str
        Advice in one or two sentences; empty if no advice exists.
    command : str or None
        Command line that applies the remedies; None if no remedy for the fault is available.
    """

    fault: str
    severity: Severity
    says: str
    rule: str
    modality: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    items: tuple[str, ...] = ()
    remedy: str = ""
    command: str | None = None

    @property
    def title(self) -> str:
        """Title of the fault, for headings."""
        return TITLES[self.fault]

    @property
    def rank(self) -> tuple[int, int]:
        """Sort key that puts severe findings first, and causes before their effects."""
        return SEVERITIES.index(self.severity), list(TITLES).index(self.fault)

    def with_remedy(self, remedy: str, command: str | None) -> Finding:
        """Return a copy with a remedy and a command."""
        return replace(self, remedy=remedy, command=command)

    def to_json(self) -> dict[str, Any]:
        """Return the fields and the title, ready for ``json.dump``."""
        return {"title": self.title, **asdict(self)}


@dataclass(frozen=True)
class Diagnosis:
    """Findings of one run, with the measurements and thresholds that the rules compared.

    Attributes
    ----------
    findings : tuple of Finding
        Most important first; empty if no rule detected a fault.
    signs : dict
        Mean over folds, by modality and figure name. The key ``""`` holds the fused model.
    thresholds : dict
        Value that the rules compared with, by threshold name.
    caveats : tuple of str
        Sentences to read with the findings: on the task, missing modalities and skipped rules.
    """

    findings: tuple[Finding, ...]
    signs: Mapping[str, Mapping[str, float]]
    thresholds: Mapping[str, float]
    caveats: tuple[str, ...] = ()

    @property
    def faults(self) -> list[str]:
        """Names of the detected faults without repetition, most important first."""
        return list(dict.fromkeys(finding.fault for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
        """Return the contents of ``diagnosis.json``."""
        return {
            "format": 1,
            "checked": list(TITLES),
            "findings": [finding.to_json() for finding in self.findings],
            "signs": {m: dict(signs) for m, signs in self.signs.items()},
            "thresholds": dict(self.thresholds),
            "caveats": list(self.caveats),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], file: Path) -> Diagnosis:
        """Create a diagnosis from the contents of ``diagnosis.json``.

        Parameters
        ----------
        data : mapping
            Result of :meth:`to_json`.
        file : Path
            File that `data` was read from, for error messages.

        Raises
        ------
        RunError
            If a field is missing or has the wrong type; the message names the field.
        """
        return as_type(data, cls, file)
