"""What a diagnosis says: findings, each with its numbers, its rule and its remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...toolkit.run_files import as_type

Severity = Literal["severe", "moderate", "mild"]
SEVERITIES: tuple[Severity, ...] = ("severe", "moderate", "mild")

TITLES = {
    "not_finite": "Input that is no number",
    "leaked_speakers": "Leaked speakers",
    "duplicates": "Duplicated clips",
    "scale_mismatch": "Scale mismatch",
    "swamping_bias": "A bias that swamps",
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
"""Every fault there is a rule for. Causes stand before what they lead to."""


@dataclass(frozen=True)
class Finding:
    """One fault that was seen.

    Attributes
    ----------
    fault : str
        A key of :data:`TITLES`.
    severity : {"severe", "moderate", "mild"}
        A severe one can explain a fused model below the best single modality by itself; a mild
        one is worth knowing.
    says : str
        One sentence with the numbers.
    rule : str
        The rule that made it say so, with its threshold.
    modality : str or None
        Whose fault it is, where it is one's.
    numbers : dict
        What the rule looked at, by name.
    items : tuple of str
        Clips, speakers or layers that are meant, the first few.
    remedy : str
        What to do.
    command : str or None
        The same as a command line, where one command does it.
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
        return TITLES[self.fault]

    @property
    def rank(self) -> tuple[int, int]:
        """Sorts findings: the severest first, and causes before what they lead to."""
        return SEVERITIES.index(self.severity), list(TITLES).index(self.fault)

    def with_remedy(self, remedy: str, command: str | None) -> Finding:
        return replace(self, remedy=remedy, command=command)

    def to_json(self) -> dict[str, Any]:
        return {"title": self.title, **asdict(self)}


@dataclass(frozen=True)
class Diagnosis:
    """What was found in one run.

    Attributes
    ----------
    findings : tuple of Finding
        The most important first; empty when nothing is wrong.
    signs : dict
        Modality -> name -> what was measured, means over folds; under ``""`` of the fused model.
    thresholds : dict
        What the rules compared with.
    caveats : tuple of str
        What could not be judged, and why.
    """

    findings: tuple[Finding, ...]
    signs: Mapping[str, Mapping[str, float]]
    thresholds: Mapping[str, float]
    caveats: tuple[str, ...] = ()

    @property
    def faults(self) -> list[str]:
        """Names of what was found, each once, the most important first."""
        return list(dict.fromkeys(finding.fault for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
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
        """Read what :meth:`to_json` wrote to `file`.

        Raises
        ------
        RunError
            If a field is missing or wrong, naming it.
        """
        return as_type(data, cls, file)
