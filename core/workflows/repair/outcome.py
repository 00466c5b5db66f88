"""Request, steps and outcome of a repair."""

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
    """Step of a repair: one remedy, and the scores of its run.

    Attributes
    ----------
    name : str
        Name of the remedy, or ``"base"``.
    path : str
        Run directory; empty if the step has no run.
    words : tuple of str
        Changes to the base run, as options of ``fusion run``.
    val_uar : dict
        Validation UAR of each candidate (modalities, ensemble, fused model), mean over folds.
    best : float
        Validation UAR of the best candidate of each fold, mean over folds.
    gain : float
        Validation UAR of the fused model minus that of the base run's fused model.
    kept : bool
        Whether later steps build on this step.
    refused : str
        Reason why the step could not be trained; empty for a trained step.
    seconds : float
        Duration of the step.
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
        """Validation UAR of the fused model; minus infinity if the step was not trained."""
        return self.val_uar.get(FUSED, float("-inf"))

    @property
    def single(self) -> float:
        """Validation UAR of the best single modality; minus infinity without a training."""
        singles = [x for name, x in self.val_uar.items() if name not in (FUSED, ENSEMBLE)]
        return max(singles, default=float("-inf"))


@dataclass(frozen=True)
class RepairRequest:
    """Request for a repair.

    Attributes
    ----------
    target : Target
        Score at which to stop.
    steps : tuple of str
        Remedies to try, in this order. Empty means the remedies of the diagnosed faults, followed
        by all other remedies.
    minutes : float or None
        Time limit in minutes. After this time, no further step starts.
    """

    target: Target = field(default_factory=Target)
    steps: tuple[str, ...] = ()
    minutes: float | None = None


@dataclass(frozen=True)
class Repair:
    """Outcome of a repair.

    Attributes
    ----------
    path : Path
        Folder of the repair.
    diagnosis : Diagnosis
        Diagnosis of the base run.
    steps : tuple of Step
        Steps in order, the base run first.
    best_single : str
        Best single modality of the base run on validation.
    goal : float
        Validation UAR to reach, computed from the best single modality of all steps.
    reached : bool
        Whether the fused model of a step reached `goal`.
    chosen : Step
        Step whose models are chosen.
    result : RunResult
        Result of the chosen step, test included.
    before : RunResult
        Result of the base run; its test clips were read after the selection.
    against_base : Comparison
        UAR of the chosen model minus UAR of `best_single` in the base run, on test. `result` lacks
        this difference, because a step may also change the models of the single modalities.
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
        """Return the outcome as plain values."""
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
    """Observer of a repair and of its runs. The default methods do nothing."""

    def diagnosed(self, diagnosis: Diagnosis, base: Step, goal: float) -> None:
        """Handle the diagnosis of the base run, whose trainings are finished."""

    def trying(self, name: str, words: Sequence[str]) -> None:
        """Handle the start of a step, with its changes as options of ``fusion run``."""

    def stepped(self, step: Step, best: Step) -> None:
        """Handle the end of a step; `best` is the best step so far."""
