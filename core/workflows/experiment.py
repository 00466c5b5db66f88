"""Experiment in a run directory: extract features, then train, select and test models."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ...cache import FeatureCache
from ...cache.builds.journal import register_run
from ...cache.builds.progress import BuildReport, Progress
from ..analysis.diagnosis import FILE as DIAGNOSIS
from ..analysis.diagnosis import diagnose, recording_warnings
from ..analysis.report import REPORT, write_report
from ..contracts import Tracker
from ..contracts.errors import RunError
from ..data.absence import missing_modality_warning
from ..data.dataset import RunData
from ..data.extraction import failure_text
from ..data.intake import Intake, intake_of, passed_over_counts
from ..data.task import task_sentence, with_task
from ..data.windows import LongClips
from ..registry.compat import call
from ..registry.provenance import message_of
from ..registry.registry import Registry
from ..registry.trace import during
from ..runs.balancing import control_epochs, fused_settings, late_rules
from ..runs.bundle import write_bundle
from ..runs.config import RunConfig
from ..runs.execution.jobs import epochs_of
from ..runs.execution.scheduler import default_jobs, train_all
from ..runs.execution.worker_pools import same_processes
from ..runs.feature_build import Extracted, extract
from ..runs.outcome.predictions import test_all, validate_all
from ..runs.outcome.results import Probabilities, Results, evaluate
from ..runs.outcome.selection import FILE as SELECTION
from ..runs.outcome.selection import select
from ..runs.plan import Plan, make_plan, make_trackers
from ..runs.record import FORMAT, FeatureRecord, RunRecord, SplitRecord
from ..runs.result import RunResult as RunResult
from ..runs.run import RESULTS, Run
from ..runs.search_space import check_installed
from ..runs.trainings import Training, all_trainings, control_modality, controls_of, trainings_of
from ..toolkit.atomic import remove_unfinished

_LIBRARIES = ("modal-fusion", "torch", "numpy", "scipy", "librosa", "h5py")


class Observer:
    """Observer of an experiment: receives its progress. The default methods do nothing."""

    def planned(self, plan: Plan) -> None:
        """Handle the end of planning: the request is checked and the corpus is read."""

    def extracting(self, progress: Progress) -> None:
        """Handle the progress of the extraction: more feature arrays were computed."""

    def extracted(self, report: BuildReport) -> None:
        """Handle the end of the extraction; `report` lists the clips that failed."""

    def accounted(self, intakes: Sequence[Intake]) -> None:
        """Handle the account of the corpora after the extraction: clips used and left out."""

    def long_clips(self, counts: LongClips, clips: int) -> None:
        """Handle clips that are longer than what features represent, out of all `clips`."""

    def training(self, run: Path, epochs: Mapping[Training, int], trials: int = 1) -> None:
        """Handle the start of training; `epochs` holds the epochs of each training, per trial."""

    def epoch(self, training: Training, record: Mapping[str, Any]) -> None:
        """Handle the end of an epoch; with tuning, ``record["trial"]`` is the trial number."""

    def trained(self, training: Training, summary: Mapping[str, Any]) -> None:
        """Handle the end of a training."""

    def warned(self, message: str) -> None:
        """Handle a warning: a problem that does not stop the run."""

    def evaluating(self) -> None:
        """Handle the end of all trainings, before selection and test."""


def run_experiment(
    config: RunConfig,
    out: Path,
    registry: Registry,
    *,
    jobs: int | None = None,
    observer: Observer | None = None,
    report: bool = True,
) -> RunResult:
    """Carry out a whole experiment in a new run directory.

    Parameters
    ----------
    config : RunConfig
        Configuration of the run.
    out : Path
        Run directory to create. An existing directory must be empty.
    registry : Registry
        Plugins.
    jobs : int, optional
        Number of parallel processes for extraction and training; by default one per core (on a
        GPU, up to four trainings).
    observer : Observer, optional
        Observer that receives the progress.
    report : bool
        Whether to write ``report.html`` (:func:`fusion.core.analysis.report.write_report`).

    Raises
    ------
    UserError
        If the request is invalid; raised before features are extracted.
    TrainingError
        If a training fails; the run can be resumed.
    """
    plan = make_plan(config, registry)
    return run_plan(plan, out, registry, jobs=jobs, observer=observer, report=report)


def run_plan(
    plan: Plan,
    out: Path,
    registry: Registry,
    *,
    jobs: int | None = None,
    observer: Observer | None = None,
    report: bool = True,
) -> RunResult:
    """Carry out an experiment like :func:`run_experiment`, from an already checked request."""
    observer = observer or Observer()
    observer.planned(plan)
    for message in late_rules(plan.config, registry, fused_settings(plan.config, registry).epochs):
        observer.warned(message)
    with Run.create(out, registry) as run:
        prepare_run(run, plan, jobs=jobs, observer=observer)
        return _finish(run, plan.config, jobs, observer, report=report)


def prepare_run(
    run: Run, plan: Plan, *, jobs: int | None = None, observer: Observer | None = None
) -> None:
    """Extract the features of a checked request and fill its new run directory; train nothing."""
    observer = observer or Observer()
    register_run(FeatureCache(plan.config.cache), run.path)
    workers = None if jobs is None else max(1, jobs)
    extracted = extract(plan, jobs=workers, on_progress=observer.extracting)
    report_data(plan, extracted, [plan.config.strategy], run.registry, observer)
    begin_run(run, plan, extracted)


def report_data(
    plan: Plan,
    extracted: Extracted,
    strategies: Sequence[str],
    registry: Registry,
    observer: Observer,
) -> None:
    """Report the extraction and the account of the corpora, and warn of faults of the data."""
    observer.extracted(extracted.report)
    if extracted.long_clips is not None:
        observer.long_clips(extracted.long_clips, len(extracted.data.clips))
    observer.accounted(intake_of(plan.dataset, extracted.data.clips))
    warning = missing_modality_warning(extracted.data, strategies, registry)
    if warning is not None:
        observer.warned(warning)
    for line in recording_warnings(extracted.data, extracted.signals):
        observer.warned(line)


def begin_run(run: Run, plan: Plan, extracted: Extracted) -> None:
    """Write the files that trainings read: clips.csv, and the first version of run.json."""
    register_run(FeatureCache(plan.config.cache), run.path)
    run.begin(describe(plan, extracted, run.registry), extracted.data, extracted.signals)


def train_run(
    run: Run,
    *,
    jobs: int | None = None,
    observer: Observer | None = None,
) -> None:
    """Carry out the missing trainings of a run, except the controls; do not read test clips.

    The equal-steps controls take the longest, and only the comparison on test needs the controls.
    """
    observer = observer or Observer()
    trainings = trainings_of(run)
    if all(run.finished(training.name) for training in trainings):
        return
    if run.config.tune:
        check_installed()
    with run.locked():
        _announce(observer, run, trainings)
        train_all(
            run,
            jobs=_parallel_trainings(jobs, run.config),
            on_epoch=observer.epoch,
            on_done=observer.trained,
            controls=False,
        )


def _announce(observer: Observer, run: Run, trainings: Sequence[Training]) -> None:
    """Report the trainings to the observer, with the number of epochs of each training."""
    epochs = {training: epochs_of(run, training) for training in trainings}
    observer.training(run.path, epochs, max(1, run.config.tune))


def _parallel_trainings(jobs: int | None, config: RunConfig) -> int:
    """Return the number of parallel trainings: `jobs`, or the default of this machine if None."""
    return default_jobs(config.device, config.train.threads) if jobs is None else jobs


def resume_experiment(
    run: Run,
    confirmed: RunConfig | None = None,
    *,
    jobs: int | None = None,
    observer: Observer | None = None,
    report: bool = True,
) -> RunResult:
    """Resume a run: keep finished trainings, and continue others from their last epoch.

    Parameters
    ----------
    confirmed : RunConfig, optional
        Configuration with the remote cache and the trackers that the user confirmed; by default
        without a remote cache and without trackers that send results to another place
        (:mod:`fusion.core.runs.trust`).

    Raises
    ------
    RunError
        If another process works on the run.
    """
    confirmed = confirmed or run.config
    register_run(FeatureCache(run.config.cache), run.path)  # the run directory may have been moved
    if confirmed.cache != run.config.cache and not run.is_complete():
        _copy_features(run, FeatureCache(confirmed.cache))
    return _finish(run, confirmed, jobs, observer or Observer(), report=report)


def _copy_features(run: Run, cache: FeatureCache) -> None:
    """Copy the features of a run that are missing here from the cache of another machine."""
    for name, feature in run.record.features.items():
        fingerprint = feature.fingerprint(name)
        cache.fetch(fingerprint, cache.missing(fingerprint, run.data.keys_of(name)))


def _refuse_linked_folders(path: Path) -> None:
    """Raise if a folder in a run directory is a link: trackers and trainings write into folders.

    Raises
    ------
    RunError
        If the run directory has a link to a folder.
    """
    for entry in path.iterdir():
        if entry.is_symlink() and entry.is_dir():
            raise RunError(
                f"{entry} is a symbolic link; a run writes only inside its directory.",
                hint="Replace the link by the folder, or remove it.",
            )


def _finish(
    run: Run, config: RunConfig, jobs: int | None, observer: Observer, *, report: bool
) -> RunResult:
    """Finish a run, with the trackers of `config`."""
    if run.is_complete():
        result = RunResult.read(run)
    else:
        with run.locked():
            remove_unfinished(run.path)  # left by a killed process
            _refuse_linked_folders(run.path)
            result = _train_and_conclude(run, config, jobs, observer)
    _add_diagnosis_and_report(run, observer, report=report)
    return result


def _add_diagnosis_and_report(run: Run, observer: Observer, *, report: bool) -> None:
    """Write the diagnosis and the report of a finished run, unless they exist.

    An error here only causes a warning, because the run itself has succeeded.
    """
    wanted: list[tuple[str, str, Callable[[], object]]] = [
        ("diagnose", DIAGNOSIS, lambda: diagnose(run)),
    ]
    if report:
        wanted.append(("report", REPORT, lambda: write_report(run)))
    for command, file, make in wanted:
        if (run.path / file).is_file():
            continue
        try:
            with during(command):
                make()
        except Exception as error:
            observer.warned(
                f"{file} can't be written ({type(error).__name__}: {error}). The run is "
                f"complete otherwise. To try again: fusion {command} {run.path}"
            )


def _train_and_conclude(
    run: Run, config: RunConfig, jobs: int | None, observer: Observer
) -> RunResult:
    if config.tune:
        check_installed()
    workers = _parallel_trainings(jobs, config)
    started = time.perf_counter()
    _announce(observer, run, all_trainings(run))
    with closing(_Trackers(make_trackers(config, run.registry), observer)) as trackers:
        trackers.call("start", run.path, run.record.config.to_json())

        def on_epoch(training: Training, record: Mapping[str, Any]) -> None:
            observer.epoch(training, record)
            trackers.call("epoch", {"training": training.name, **record})

        with same_processes():
            train_all(run, jobs=workers, on_epoch=on_epoch, on_done=observer.trained)
            observer.evaluating()
            result = conclude(run, workers, seconds=time.perf_counter() - started)
        trackers.call("finish", result.results.to_json())
    return result


class _Trackers:
    """Caller of all trackers; a tracker that fails is dropped, and the run continues."""

    def __init__(self, trackers: list[Tracker], observer: Observer) -> None:
        self._trackers = trackers
        self._all = tuple(trackers)
        self._observer = observer

    def call(self, method: str, *args: Any) -> None:
        """Call a method of every tracker; drop each tracker that fails, with a warning."""
        for tracker in list(self._trackers):
            try:
                call(getattr(tracker, method), *args)
            except Exception as error:
                self._trackers.remove(tracker)
                self._observer.warned(
                    f"The tracker {tracker.name!r} failed in {method} and is left out: "
                    f"{message_of(error)}"
                )

    def close(self) -> None:
        """Close every tracker, dropped trackers included."""
        dropped = [tracker for tracker in self._all if tracker not in self._trackers]
        self.call("close")
        for tracker in dropped:
            with suppress(Exception):  # a warning has already reported the failure of this tracker
                tracker.close()


def conclude(run: Run, workers: int, *, seconds: float) -> RunResult:
    """Select models on validation and store the selection; afterwards, test the models.

    Parameters
    ----------
    workers : int
        Number of parallel processes; 0 means that the current process does the work.
    seconds : float
        Duration of training in seconds, stored in run.json.
    """
    data, config = run.data, run.config
    control = control_modality(run) if controls_of(run) else ""
    selection = select(data, run.record.modalities, validate_all(run, jobs=workers), control)
    run.write_json(SELECTION, selection.to_json())
    test = test_all(run, jobs=workers)
    results, scores = evaluate(data, selection, test, fused_label(config))
    results = replace(results, verdict=with_task(config.adapt, results.verdict))
    run.write_csv("predictions.csv", _prediction_rows(data, scores))
    run.write_csv("confusion.csv", _confusion_rows(data, results))
    members = write_bundle(run, selection)
    run.write_json(RESULTS, results.to_json())
    run.finish(members, seconds)  # written last, because this file marks the run as finished
    return RunResult(run, results)


def fused_label(config: RunConfig) -> str:
    """Return the label of the fused model: strategy and balancers, ``"gated + gradscale"``."""
    return " + ".join([config.strategy, *config.balancers])


# -- what is written -----------------------------------------------------------------


def _is_synthetic(plan: Plan, registry: Registry) -> bool:
    corpora = registry.corpora()
    return any(corpora[name].synthetic for name in plan.dataset.corpora)


def describe(plan: Plan, extracted: Extracted, registry: Registry) -> RunRecord:
    """Return the content of run.json before training."""
    config, data, report = plan.config, extracted.data, extracted.report
    splits = data.splits
    control = control_epochs(config, registry)
    return RunRecord(
        format=FORMAT,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=config,
        training=asdict(config.train),
        versions={"python": platform.python_version(), **_versions(config)},
        machine={"processor": platform.processor() or platform.machine()},
        classes=data.classes,
        task=task_sentence(config.adapt) or None,
        synthetic=_is_synthetic(plan, registry),
        corpora=tuple(plan.dataset.corpora),
        dropped_labels={c: dict(counts) for c, counts in plan.dataset.dropped.items()},
        passed_over=passed_over_counts(plan.dataset),
        columns=plan.dataset.columns,
        unreadable=extracted.unreadable,
        failures=[
            {"feature": f.feature, "recording": str(f.source), "reason": failure_text(f)}
            for f in report.failures
        ],
        absent={m: int(flags.sum()) for m, flags in data.absent.items()},
        long_clips=extracted.long_clips,
        features={m: FeatureRecord.of(f) for m, f in plan.fingerprints.items()},
        model=plan.spec,
        split=SplitRecord(
            mode=config.split,
            speaker_independent=splits[0].speaker_independent,
            folds=len(splits),
            digests=tuple(split.digest(data.clips) for split in splits),
            parts=[split.describe(data.clips) for split in splits],
        ),
        # Each model is trained on each fold in each trial. A control is trained once per fold.
        trainings=(len(plan.spec.branches) + 1) * len(splits) * max(1, config.tune)
        + (len(splits) if control else 0),
        control=control,
        seconds={"extraction": round(report.seconds, 1)},
    )


def _versions(config: RunConfig) -> dict[str, str]:
    libraries = (*_LIBRARIES, "optuna") if config.tune else _LIBRARIES
    return {name: version(name) for name in libraries}


def _prediction_rows(data: RunData, scores: Probabilities) -> Iterator[Sequence[Any]]:
    yield ["fold", "clip", "corpus", "speaker", "label", "model", "predicted",
           *(f"p_{name}" for name in data.classes)]  # fmt: skip
    for fold, split in enumerate(data.splits):
        for model, parts in scores.items():
            for index, row in zip(split.test, parts[fold], strict=True):
                clip = data.clips[index]
                yield [fold, clip.name, clip.corpus, clip.speaker, clip.label, model,
                       data.classes[int(np.argmax(row))], *(f"{p:.6f}" for p in row)]  # fmt: skip


def _confusion_rows(data: RunData, results: Results) -> Iterator[Sequence[Any]]:
    yield ["model", "truth", *data.classes]
    for model, matrix in results.confusions.items():
        for name, row in zip(data.classes, matrix, strict=True):
            yield [model, name, *row]


def new_run_path(config: RunConfig, parent: Path) -> Path:
    """Return the path of a new run directory, named after date, strategy and balancers.

    Raises
    ------
    RunError
        If the path exists.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    label = "-".join([config.strategy or "run", *config.balancers])
    path = parent / f"{stamp}-{label}"
    if path.exists():
        raise RunError(f"{path} already exists.", hint="Name another run directory: --out DIR")
    return path
