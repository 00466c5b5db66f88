"""The repair: climb the ladder of remedies until the fused model is as good as it should be.

::

    OUT/
      repair.json           what was asked, every step and what it gained, what is handed out
      0-base/               the run to be mended, where it was not given
      1-levelled/           one run directory per remedy tried; the best is tested in the end

Steps share features and the trainings of single modalities. Test is read once, of what is
handed out, when validation has chosen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config import RunConfig
from ..contracts import Prescription
from ..diagnosis import Diagnosis, Thresholds, diagnose
from ..diagnosis.remedies import patient_of, prescriptions
from ..errors import (
    ParameterError,
    PluginError,
    RunError,
    TrainingError,
    UnknownNameError,
)
from ..experiment import Observer, RunResult, prepare_run, resume_experiment, train_run
from ..fold_predictions import validate_all
from ..model import ModelSpec
from ..prepare import Plan, make_plan
from ..registry import Registry
from ..results import finite
from ..run_dir import RunDirectory
from ..selection import ENSEMBLE, select
from ..trainings import FUSED
from .changes import changed, share_alike, words_for
from .target import Target

__all__ = ["FILE", "Repair", "RepairObserver", "RepairRequest", "Step", "Target", "repair"]

FILE = "repair.json"
BASE = "base"


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
    """

    path: Path
    diagnosis: Diagnosis
    steps: tuple[Step, ...]
    best_single: str
    goal: float
    reached: bool
    chosen: Step
    result: RunResult

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
        }


class RepairObserver(Observer):
    """Follows a repair; and the runs that it makes."""

    def diagnosed(self, diagnosis: Diagnosis, base: Step, goal: float) -> None:
        """The base is trained and judged."""

    def trying(self, name: str, words: Sequence[str]) -> None:
        """A step begins."""

    def stepped(self, step: Step, best: Step) -> None:
        """A step is over; `best` is the best so far."""


def repair(
    source: RunDirectory | Plan,
    out: Path,
    registry: Registry,
    request: RepairRequest,
    *,
    thresholds: Thresholds | None = None,
    jobs: int | None = None,
    observer: RepairObserver | None = None,
) -> Repair:
    """Mend a run, or what a plan would make.

    What is handed out is never worse on validation than the best single modality: of every
    fold, it is the best there of fused model, ensemble and single modalities.

    Parameters
    ----------
    source : RunDirectory or Plan
        A run whose trainings may be done or not, or a request that was checked.
    out : Path
        A new folder, or that of the same repair, which then goes on.
    registry : Registry
        Plugins.
    request : RepairRequest
        When to stop, and what to try.
    thresholds : Thresholds, optional
        Of the diagnosis.
    jobs : int, optional
        Processes at a time.
    observer : RepairObserver, optional
        Told what happens.

    Raises
    ------
    UserError
        For anything wrong with the request, before the long work starts.
    TrainingError
        When the base can't be trained. A step that can't is left out.
    """
    for name in request.steps:
        registry.remedy(name)
    work = _Work(source, out, registry, request, jobs, observer or RepairObserver())
    found = diagnose(work.base_run.path, thresholds, registry)
    return work.climb(found)


class _Work:
    """A repair as it goes on."""

    def __init__(
        self,
        source: RunDirectory | Plan,
        out: Path,
        registry: Registry,
        request: RepairRequest,
        jobs: int | None,
        observer: RepairObserver,
    ) -> None:
        self.registry = registry
        self.request = request
        self.jobs = jobs
        self.observer = observer
        self.started = time.monotonic()
        self.folder = _folder(out, source, request)
        if isinstance(source, RunDirectory):
            self.base_run = source
        else:
            self.base_run = self._run_of(source, f"0-{BASE}")
        train_run(self.base_run, registry, jobs=jobs, observer=observer)
        self.config = RunConfig.from_json(self.base_run.info()["config"])
        self.spec = ModelSpec.from_json(self.base_run.info()["model"])
        self.runs = {BASE: self.base_run}
        self.plan: Plan | None = source if isinstance(source, Plan) else None

    def climb(self, diagnosis: Diagnosis) -> Repair:
        base = self._concluded(Step(BASE, str(self.base_run.path), kept=True), self.base_run)
        steps, best, config = [base], base, self.config
        self.observer.diagnosed(diagnosis, base, self._goal(steps))
        for name, offer in self._offers(diagnosis).items():
            if best.fused >= self._goal(steps) or self._late():
                break
            step, tried = self._step(len(steps), name, offer, config, base)
            if step.fused > best.fused:
                step, config = replace(step, kept=True), tried
                best = step
            steps.append(step)
            self.observer.stepped(step, best)
        goal = self._goal(steps)
        reached = best.fused >= goal
        chosen = best if reached else max(steps, key=lambda step: (step.best, step.fused))
        self.observer.evaluating()
        result = resume_experiment(self.runs[chosen.name].path, jobs=self.jobs)
        single = max(self._modalities, key=lambda m: base.val_uar[m])
        done = Repair(
            self.folder.path, diagnosis, tuple(steps), single, goal, reached, chosen, result
        )
        known = self.folder.read_json(FILE)
        self.folder.write_json(FILE, {**known, **done.to_json()})
        return done

    def _goal(self, steps: Sequence[Step]) -> float:
        return self.request.target.goal(max(step.single for step in steps))

    @property
    def _modalities(self) -> list[str]:
        return [branch.modality.name for branch in self.spec.branches]

    def _offers(self, diagnosis: Diagnosis) -> Mapping[str, Prescription]:
        patient = patient_of(self.config, self.spec, self.registry, diagnosis.findings)
        offers = prescriptions(patient, self.registry)
        if not self.request.steps:
            return offers
        return {name: offers[name] for name in self.request.steps if name in offers}

    def _late(self) -> bool:
        minutes = self.request.minutes
        return minutes is not None and time.monotonic() - self.started > 60 * minutes

    # -- one step ----------------------------------------------------------------------

    def _step(
        self, number: int, name: str, offer: Prescription, config: RunConfig, base: Step
    ) -> tuple[Step, RunConfig]:
        """Try a remedy on top of what helped so far; alone, where the two do not go together."""
        started = time.monotonic()
        reason = ""
        for before in (config, self.config):
            tried = changed(before, _added(offer, before, self.config))
            words = tuple(words_for(self.config, tried))
            try:
                plan = make_plan(tried, self.registry, like=self._like())
            except UnknownNameError:
                raise
            except (ParameterError, PluginError) as error:
                reason = reason or error.message
                continue
            self.observer.trying(name, words)
            run = self._run_of(plan, f"{number}-{name}")
            try:
                train_run(run, self.registry, jobs=self.jobs, observer=self.observer)
            except TrainingError as error:
                return Step(name, str(run.path), words, refused=error.message), tried
            self.runs[name] = run
            step = self._concluded(Step(name, str(run.path), words), run)
            seconds = round(time.monotonic() - started, 1)
            return replace(step, gain=step.fused - base.fused, seconds=seconds), tried
        return Step(name, refused=reason), config

    def _like(self) -> Plan:
        """The base's plan: its clips and its split hold for all steps."""
        if self.plan is None:
            plan = make_plan(self.config, self.registry)
            data = self.base_run.read_clips()
            if [clip.name for clip in plan.dataset.clips] != [clip.name for clip in data.clips]:
                # Clips that could not be read were left out of the run.
                kept = {(clip.corpus, clip.name) for clip in data.clips}
                clips = tuple(c for c in plan.dataset.clips if (c.corpus, c.name) in kept)
                plan = replace(plan, dataset=replace(plan.dataset, clips=clips))
            self.plan = replace(plan, splits=data.splits)
        return self.plan

    def _run_of(self, plan: Plan, name: str) -> RunDirectory:
        """The run directory of a step, made where it is not there yet."""
        path = self.folder.path / name
        if (path / "run.json").is_file():
            run = RunDirectory.existing(path)
        else:
            run = prepare_run(plan, path, self.registry, jobs=self.jobs, observer=self.observer)
        share_alike(run, list(getattr(self, "runs", {}).values()))
        return run

    def _concluded(self, step: Step, run: RunDirectory) -> Step:
        """With what validation says of the step's models."""
        selection = select(run.read_clips(), self._modalities, validate_all(run, jobs=0))
        best = [fold.val_uar[fold.chosen] for fold in selection.folds]
        val_uar = {name: selection.mean_val_uar(name) for name in selection.candidates}
        return replace(step, val_uar=val_uar, best=sum(best) / len(best))


def _added(offer: Prescription, before: RunConfig, base: RunConfig) -> Prescription:
    """The offer, its balancers added to those that an earlier step has brought."""
    if offer.balancers is None:
        return offer
    more = [name for name in before.balancers if name not in offer.balancers]
    return replace(offer, balancers=(*more, *offer.balancers))


def _folder(out: Path, source: RunDirectory | Plan, request: RepairRequest) -> RunDirectory:
    """The folder of a repair: a new one, or one in which the same was begun."""
    asked = {
        "source": str(source.path.resolve()) if isinstance(source, RunDirectory) else "",
        "config": None if isinstance(source, RunDirectory) else source.config.to_json(),
        "request": asdict(request),
    }
    asked = json.loads(json.dumps(asked))
    if (out / FILE).is_file():
        folder = RunDirectory(out)
        if folder.read_json(FILE).get("asked") != asked:
            raise RunError(f"{out} holds another repair.", hint="Name another folder: --out DIR.")
        return folder
    folder = RunDirectory.create(out)
    folder.write_json(FILE, {"format": 1, "asked": asked})
    return folder
