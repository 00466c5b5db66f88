"""Repair: try remedies one by one until the fused model reaches a target on validation.

::

    OUT/
      repair.json           the request, the gain of every step, and the chosen step
      0-base/               run to repair, if the user named no run
      1-levelled/           one run directory per tried remedy

Steps share features and the trainings of single modalities. Test clips are read once, after the
selection, for the chosen step and the base run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

from ....cache.builds.progress import BuildReport
from ...analysis.diagnosis import Diagnosis, Thresholds, diagnose
from ...analysis.diagnosis.remedies import patient_of, prescriptions
from ...contracts import Patient, Prescription
from ...contracts.errors import ParameterError, PluginError, RunError, TrainingError
from ...data.absence import missing_modality_warning
from ...data.corpora import Dataset
from ...data.extraction import fingerprint_of
from ...data.intake import unnamed_items
from ...registry.registry import Registry
from ...runs.config import RunConfig
from ...runs.feature_build import Extracted
from ...runs.outcome.predictions import validate_all
from ...runs.outcome.results import CHOSEN
from ...runs.outcome.selection import select
from ...runs.outcome.test_predictions import SavedPredictions
from ...runs.plan import Plan, make_extractors, make_plan
from ...runs.record import with_earlier_settings
from ...runs.run import OutputFolder, Run
from ...runs.trainings import trainings_of
from ...toolkit.intervals import Comparison, paired_comparison
from ..experiment import begin_run, prepare_run, resume_experiment, train_run
from .changes import changed, share_alike, words_for
from .outcome import Repair, RepairObserver, RepairRequest, Step
from .target import Target

__all__ = ["FILE", "Repair", "RepairObserver", "RepairRequest", "Step", "Target", "repair"]

FILE = "repair.json"
BASE = "base"


def repair(
    source: Run | Plan,
    out: Path,
    registry: Registry,
    request: RepairRequest,
    *,
    thresholds: Thresholds | None = None,
    jobs: int | None = None,
    observer: RepairObserver | None = None,
) -> Repair:
    """Improve the fused model of a run, or of a planned run, by trying remedies.

    The chosen model is never worse on validation than the best single modality. In every fold,
    the best candidate on validation is chosen among fused model, ensemble and single modalities.

    Parameters
    ----------
    source : Run or Plan
        Run to repair, or the plan of a new run. Missing trainings of the run are done first.
    out : Path
        New folder. If `out` holds the same repair, the repair is resumed.
    registry : Registry
        Plugins.
    request : RepairRequest
        Target, remedies and time limit.
    thresholds : Thresholds, optional
        Thresholds of the diagnosis.
    jobs : int, optional
        Number of parallel processes.
    observer : RepairObserver, optional
        Observer that receives the progress.

    Raises
    ------
    UserError
        If the request is invalid; raised before training starts.
    TrainingError
        If the base run can't be trained. A step that can't be trained is left out.
    """
    for name in request.steps:
        registry.remedy(name)
    work = _Work(source, out, registry, request, jobs, observer or RepairObserver())
    return work.climb(diagnose(work.base_run, thresholds))


class _Work:
    """Repair in progress: the base run, and the runs and configurations tried so far."""

    def __init__(
        self,
        source: Run | Plan,
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
        if isinstance(source, Run):
            self.base_run = source
        else:
            self.base_run = self._base_of(source)
        train_run(self.base_run, jobs=jobs, observer=observer)
        self.config = self.base_run.config
        self.spec = self.base_run.record.model
        self.data = self.base_run.data
        self.runs = {BASE: self.base_run}
        self.tried = [self.config]

    def _base_of(self, plan: Plan) -> Run:
        """Open the base run of `plan` in the folder of the repair, or create it."""
        path = self.folder.path / f"0-{BASE}"
        if Run.exists(path):
            return Run.open(path, self.registry)
        self.observer.planned(plan)
        with Run.create(path, self.registry) as run:
            prepare_run(run, plan, jobs=self.jobs, observer=self.observer)
        return run

    def climb(self, diagnosis: Diagnosis) -> Repair:
        """Try remedies until the target or the time limit is reached; test the chosen step."""
        base = self._concluded(Step(BASE, str(self.base_run.path), kept=True), self.base_run)
        steps, best, config = [base], base, self.config
        self.observer.diagnosed(diagnosis, base, self._goal(steps))
        for name in self._offers(diagnosis):
            if best.fused >= self._goal(steps) or self._late():
                break
            outcome = self._step(len(steps), name, diagnosis, config, base)
            if outcome is None:
                continue
            step, tried = outcome
            if step.fused > best.fused:
                step, config = replace(step, kept=True), tried
                best = step
            steps.append(step)
            self.observer.stepped(step, best)
        goal = self._goal(steps)
        reached = best.fused >= goal
        chosen = best if reached else max(steps, key=lambda step: (step.best, step.fused))
        self.observer.evaluating()
        before = resume_experiment(self.base_run, jobs=self.jobs)
        share_alike(self.runs[chosen.name], [self.base_run])  # shares the control just trained
        result = resume_experiment(self.runs[chosen.name], jobs=self.jobs)
        single = max(self._modalities, key=lambda m: base.val_uar[m])
        repaired = Repair(
            self.folder.path,
            diagnosis,
            tuple(steps),
            single,
            goal,
            reached,
            chosen,
            result,
            before,
            self._against_base(chosen, single),
        )
        stored = self.folder.read_json(FILE)
        self.folder.write_json(FILE, {**stored, **repaired.to_json()})
        return repaired

    def _against_base(self, chosen: Step, single: str) -> Comparison:
        """Return a paired test of the chosen model against the base run's best modality."""
        after, before = (SavedPredictions.read(self.runs[name]) for name in (chosen.name, BASE))
        return paired_comparison(after.confusions(CHOSEN), before.confusions(single))

    def _goal(self, steps: Sequence[Step]) -> float:
        return self.request.target.goal(max(step.single for step in steps))

    @property
    def _modalities(self) -> list[str]:
        return self.spec.modalities

    def _offers(self, diagnosis: Diagnosis) -> list[str]:
        """Return the names of the remedies that prescribe changes for the base run, in order."""
        offers = prescriptions(self._patient(self.config, diagnosis), self.registry)
        if not self.request.steps:
            return list(offers)
        return [name for name in self.request.steps if name in offers]

    def _patient(self, config: RunConfig, diagnosis: Diagnosis) -> Patient:
        return patient_of(config, self.spec, self.registry, diagnosis.findings)

    def _late(self) -> bool:
        minutes = self.request.minutes
        return minutes is not None and time.monotonic() - self.started > 60 * minutes

    # -- one step ----------------------------------------------------------------------

    def _step(
        self, number: int, name: str, diagnosis: Diagnosis, config: RunConfig, base: Step
    ) -> tuple[Step, RunConfig] | None:
        """Try a remedy on top of `config`; if that is invalid, on the base run alone.

        Returns
        -------
        (Step, RunConfig) or None
            The step and its configuration. None if the remedy prescribes no change, or if its
            configuration was trained already.
        """
        started = time.monotonic()
        reason = ""
        for before in (config, self.config):
            offer = self.registry.remedy(name)().prescribe(self._patient(before, diagnosis))
            if offer is None:  # for example if an earlier step made the same change
                continue
            tried = changed(before, _added(offer, before))
            if tried in self.tried:
                continue
            words = tuple(words_for(self.config, tried))
            try:
                plan = make_plan(tried, self.registry, like=self._like)
            except (ParameterError, PluginError) as error:
                reason = reason or error.message
                continue
            self.observer.trying(name, words)
            run = self._step_run(plan, f"{number}-{name}")
            self.tried.append(tried)
            try:
                train_run(run, jobs=self.jobs, observer=self.observer)
            except TrainingError as error:
                return Step(name, str(run.path), words, refused=error.message), tried
            self.runs[name] = run
            step = self._concluded(Step(name, str(run.path), words), run)
            seconds = round(time.monotonic() - started, 1)
            return replace(step, gain=step.fused - base.fused, seconds=seconds), tried
        return (Step(name, refused=reason), config) if reason else None

    @cached_property
    def _like(self) -> Plan:
        """Plan of the base run, whose clips and split all steps use."""
        record, data = self.base_run.record, self.data
        dropped = {corpus: dict(counts) for corpus, counts in record.dropped_labels.items()}
        extractors = make_extractors(self.config, self.registry)
        return Plan(
            self.config,
            Dataset(
                data.clips,
                data.classes,
                dropped,
                record.corpora,
                unnamed_items(record.passed_over),  # run.json holds their numbers only
                {corpus: dict(roles) for corpus, roles in record.columns.items()},
            ),
            extractors,
            {m: fingerprint_of(extractor) for m, extractor in extractors.items()},
            data.splits,
            self.spec,
        )

    def _step_run(self, plan: Plan, name: str) -> Run:
        """Open the run directory of a step, or create it with the clips of the base run."""
        path = self.folder.path / name
        if Run.exists(path):
            run = Run.open(path, self.registry)
        else:
            warning = missing_modality_warning(self.data, [plan.config.strategy], self.registry)
            if warning is not None:
                self.observer.warned(warning)
            nothing_new = BuildReport(computed=0, present=0, failures=[], seconds=0.0)
            with Run.create(path, self.registry) as run:
                base = self.base_run.record
                extracted = Extracted(
                    self.data, nothing_new, self.base_run.signals, base.unreadable, base.long_clips
                )
                begin_run(run, plan, extracted)
        if any(not run.finished(training.name) for training in trainings_of(run)):
            share_alike(run, list(self.runs.values()))
        return run

    def _concluded(self, step: Step, run: Run) -> Step:
        """Return `step` with the validation scores of its models."""
        selection = select(self.data, self._modalities, validate_all(run, jobs=0))
        best = [fold.val_uar[fold.chosen] for fold in selection.folds]
        val_uar = {name: selection.mean_val_uar(name) for name in selection.candidates}
        return replace(step, val_uar=val_uar, best=sum(best) / len(best))


def _added(offer: Prescription, before: RunConfig) -> Prescription:
    """Return the prescription `offer`, with the balancers of `before` placed before its own."""
    if offer.balancers is None:
        return offer
    more = [name for name in before.balancers if name not in offer.balancers]
    return replace(offer, balancers=(*more, *offer.balancers))


def _folder(out: Path, source: Run | Plan, request: RepairRequest) -> OutputFolder:
    """Create the folder of a repair, or open it if it holds the same request."""
    values = {
        "source": str(source.path.resolve()) if isinstance(source, Run) else "",
        "config": None if isinstance(source, Run) else source.config.to_json(),
        "request": asdict(request),
    }
    values = json.loads(json.dumps(values))
    if (out / FILE).is_file():
        folder = OutputFolder(out)
        stored = folder.read_json(FILE).get("asked") or {}
        if stored.get("config"):
            # Older versions lack `adapt` and used only the middle of long clips.
            stored["config"] = with_earlier_settings({"adapt": "none", **stored["config"]})
        if stored != values:
            raise RunError(
                f"{out} holds the repair of another request.",
                hint="Name another folder: --out DIR. A repair of version 0.2 and before is "
                "resumed with --set train.windows=middle.",
            )
        return folder
    with OutputFolder.create(out) as folder:
        folder.write_json(FILE, {"format": 1, "asked": values})
    return folder
