"""What a repair is asked for, what it tries, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...analysis.diagnosis import Diagnosis
from ...runs.outcome.results import finite
from ...runs.outcome.selection import ENSEMBLE
from ...runs.trainings import FUSED
from ...toolkit.intervals import Comparison
from ..experiment import Observer, RunResult
from .target import Target


@dataclass(frozen=True)
class Step:
    """One configuration that was trained, or why it was not.

    Attributes
    ----------
    name : str
        The remedy, or ``"base"``.
    path : str
        Its run directory; empty where there is none.
    words : tuple of str
        What it changed, as options of ``fusion run``.
    val_uar : dict
        Candidate -> UAR on validation, mean over folds: modalities, ensemble, fused.
    best : float
        The same of what would be handed out: in every fold the best candidate.
    gain : float
        Fused on validation less the base's.
    kept : bool
        Whether later steps build on it.
    refused : str
        Why it could not be trained; empty where it was.
    seconds : float
        What it took.
    """

    name: str
    path: str = ""
    words: tuple[str, ...] = ()
    val_uar: Mapping[str, float] = field(default_factory=dict)
    best: float = 0.0
    gain: float = 0.0
    kept: bool = False
    refused: str = ""
    seconds: float = 0.0

    @property
    def fused(self) -> float:
        return self.val_uar.get(FUSED, float("-inf"))

    @property
    def single(self) -> float:
        """UAR on validation of its best single modality."""
        singles = [x for name, x in self.val_uar.items() if name not in (FUSED, ENSEMBLE)]
        return max(singles, default=float("-inf"))


@dataclass(frozen=True)
class RepairRequest:
    """What a repair was asked for.

    Attributes
    ----------
    target : Target
        When to stop.
    steps : tuple of str
        Remedies to try, in this order; empty for those that the diagnosis points to, then the
        rest of the ladder.
    minutes : float or None
        Begin no further step after so long.
    """

    target: Target = field(default_factory=Target)
    steps: tuple[str, ...] = ()
    minutes: float | None = None


@dataclass(frozen=True)
class Repair:
    """What a repair came to.

    Attributes
    ----------
    path : Path
        Where it lies.
    diagnosis : Diagnosis
        Of the base.
    steps : tuple of Step
        The base first.
    best_single : str
        The base's best modality on validation.
    goal : float
        UAR on validation at which it stops: of the best single modality of any step.
    reached : bool
        Whether the fused model of a step got there.
    chosen : Step
        Whose models are handed out.
    result : RunResult
        Of the chosen step, test read.
    before : RunResult
        Of the base, its test read when everything was chosen.
    against_base : Comparison
        On test: what is handed out minus the base's best single modality. A step may have
        changed the single modalities too, and its own result knows only those.
    """

    path: Path
    diagnosis: Diagnosis
    steps: tuple[Step, ...]
    best_single: str
    goal: float
    reached: bool
    chosen: Step
    result: RunResult
    before: RunResult
    against_base: Comparison

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "steps": [finite(asdict(step)) for step in self.steps],
            "best_single": self.best_single,
            "goal": self.goal,
            "reached": self.reached,
            "chosen": self.chosen.name,
            "handed_out": self.chosen.path,
            "findings": [finding.to_json() for finding in self.diagnosis.findings],
            "verdict": self.result.results.verdict,
            "against_base": finite(asdict(self.against_base)),
        }


class RepairObserver(Observer):
    """Follows a repair; and the runs that it makes."""

    def diagnosed(self, diagnosis: Diagnosis, base: Step, goal: float) -> None:
        """The base is trained and judged."""

    def trying(self, name: str, words: Sequence[str]) -> None:
        """A step begins."""

    def stepped(self, step: Step, best: Step) -> None:
        """A step is over; `best` is the best so far."""
