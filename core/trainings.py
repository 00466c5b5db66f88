"""The trainings of a run, side by side in processes of one thread each.

On a CPU several single-threaded trainings are faster than one on several threads, which
would wait for each other at every small operation. A training reads what it needs from the
run directory and writes its results there, so that it can be killed and taken up again;
the parent follows by reading the files.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import torch

from ..cache import FeatureCache, Fingerprint
from ..cache.workers import available_cores
from . import parallel
from .balancing import make_balancers, needs_baselines
from .baselines import frozen
from .blame import guilt_of, relay, told
from .changes import check_unchanged
from .checkpoint import load_weights, save_weights
from .config import RunConfig
from .contracts import Baseline
from .device import choose_device, free_memory
from .engine import Trainer
from .errors import FusionError, RunError, TrainingError
from .extraction import fingerprint_of
from .features import Arrays, Features
from .inputs import input_statistics
from .memory import PeakMemory, keep_freed_memory
from .model import FusionModel, ModelSpec, build_model, count_parameters
from .pools import worker_pool
from .prepare import make_extractors
from .presence import Gapped
from .registry import Registry
from .run_dir import RunData, RunDirectory
from .search import Settings, search_of, tuned_config, tuned_spec
from .trace import during
from .tuning import WEIGHTS, rewind, tune

FUSED = "fused"

_MOST_ON_GPU = 4
_ROOM_ON_GPU = 3 * 1024**3  # of a training: the context of its process, features, activations


@dataclass(frozen=True, slots=True)
class Training:
    """One model on one fold.

    Attributes
    ----------
    fold : int
        Index into the splits.
    model : str
        A modality (its baseline), or ``"fused"``.
    """

    fold: int
    model: str

    @property
    def name(self) -> str:
        """Its folder in the run directory."""
        return f"fold{self.fold}/{self.model}"


def trainings_of(run: RunDirectory) -> list[Training]:
    """Every training of a run; the longest first, so that none is left over at the end."""
    info = run.info()
    models = [FUSED, *(b["modality"]["name"] for b in info["model"]["branches"])]
    return [Training(fold, m) for m in models for fold in range(info["split"]["folds"])]


def unfinished(run: RunDirectory) -> list[Training]:
    """The trainings of a run that are not done, in the same order."""
    return [training for training in trainings_of(run) if not run.finished(training.name)]


def spec_of(run: RunDirectory, training: Training) -> ModelSpec:
    """Description of the model that `training` trains, or has trained: with its own settings."""
    spec = ModelSpec.from_json(run.info()["model"])
    own = spec if training.model == FUSED else spec.single(training.model)
    return tuned_spec(own, settings_of(run, training))


def settings_of(run: RunDirectory, training: Training) -> Settings:
    """What tuning chose for a finished training, in place of the run's settings."""
    if not run.finished(training.name):
        return {}
    found: Settings = run.read_json(f"{training.name}/training.json").get("settings", {})
    return found


# -- in the parent -------------------------------------------------------------------


def default_jobs(device: str) -> int:
    """Trainings at a time: one per core on a CPU; on a GPU, a few.

    One of these models leaves most of a GPU idle, so up to four share it, each fed by two cores,
    as far as they have room. How much that brings was not measured yet: benchmarks/gpu.py does.
    """
    where = choose_device(device)
    if where.type == "cpu":
        return available_cores()
    if where.type != "cuda":
        return 1
    return max(1, min(_MOST_ON_GPU, available_cores() // 2, free_memory(where) // _ROOM_ON_GPU))


@during("train")
def train_all(
    run: RunDirectory,
    *,
    jobs: int,
    on_epoch: Callable[[Training, Mapping[str, Any]], None],
    on_done: Callable[[Training, Mapping[str, Any]], None],
) -> None:
    """Train whatever the run directory does not hold yet.

    Parameters
    ----------
    jobs : int
        Processes at a time; 0 means this one.
    on_epoch : callable
        Receives every epoch of every training; those of a resumed run's past first.
    on_done : callable
        Receives the summary of every training when it is done, or was done before.

    Raises
    ------
    TrainingError
        From the first training that fails. The others keep their checkpoints.
    """
    trainings = trainings_of(run)
    todo = unfinished(run)
    for training in todo:
        rewind(run, training.name)  # a resumed training writes its past epochs again
    follower = _Follower(run, trainings, on_epoch, on_done)
    follower.poll()
    for phase in phases_of(run, todo):
        if parallel.launched():
            _train_together(run, phase, follower.poll)
        else:
            in_processes(train_one, run, phase, jobs, follower.poll)
    follower.poll()


def _train_together(
    run: RunDirectory, trainings: Sequence[Training], meanwhile: Callable[[], None]
) -> None:
    """One after the other, each by all the processes that torchrun started.

    Raises
    ------
    UserError
        For a run that is tuned: trials are not shared.
    """
    parallel.refuse_trials(RunConfig.from_json(run.info()["config"]).tune)
    for training in trainings:
        parallel.tell((run.path.absolute(), training))
        train_one(run.path, training, parallel.beside())
        meanwhile()


def follow() -> None:
    """Take part in the trainings of a run that another process leads, until it is done."""
    for path, training in parallel.orders():
        train_one(path, training, parallel.beside())


def phases_of(run: RunDirectory, todo: Sequence[Training]) -> list[list[Training]]:
    """What can be trained at a time: the fused models may have to wait for the baselines."""
    config = RunConfig.from_json(run.info()["config"])
    if not needs_baselines(config, Registry(config.plugins)):
        return [list(todo)] if todo else []
    baselines = [t for t in todo if t.model != FUSED]
    fused = [t for t in todo if t.model == FUSED]
    return [phase for phase in (baselines, fused) if phase]


def in_processes(
    function: Callable[[Path, Training, int], Any],
    run: RunDirectory,
    trainings: Sequence[Training],
    jobs: int,
    meanwhile: Callable[[], None],
) -> list[Any]:
    """What `function` returns for each training, `jobs` at a time; 0 means in this process."""
    if jobs == 0:
        found: list[Any] = []
        for training in trainings:
            found.append(function(run.path, training, 1))
            meanwhile()
        return found
    workers = min(jobs, len(trainings))
    with worker_pool(jobs) as pool:
        futures: dict[Future[Any], Training] = {
            pool.submit(relay, function, run.path, training, workers): training
            for training in trainings
        }
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
            meanwhile()
            for future in done:
                raise_failure(future, futures[future], run)
        return [future.result() for future in futures]


def raise_failure(
    future: Future[Any], training: Training, run: RunDirectory, *, resume: str | None = None
) -> None:
    """Raise what a training raised, if it did.

    `resume` is the command, after ``fusion``, that goes on with all of the work.
    """
    resume = resume or f"run --resume {run.path}"
    try:
        future.result()
    except BrokenProcessPool:
        raise TrainingError(
            "A training's process was killed from outside, for instance because memory ran out.",
            hint=f"Fewer at a time need less memory: fusion {resume} --jobs 1",
        ) from None
    except TrainingError as error:
        hint = error.hint or "Other settings need a new run; the features stay in the cache."
        raise TrainingError(error.message, hint=hint) from error
    except (FusionError, OSError):
        raise
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"{training.name}: memory ran out: {str(error).splitlines()[0]}",
            hint="A new run with a smaller --batch-size needs less.",
        ) from error
    except Exception as error:
        guilt = guilt_of(error)
        where = f"Where: fusion --debug {resume}"
        raise TrainingError(
            f"{training.name} failed: {told(error)}",
            hint=f"{where}. {guilt.source.remedy()}" if guilt else where,
        ) from error


class _Follower:
    """Reads the epochs that trainings write, as they write them."""

    def __init__(
        self,
        run: RunDirectory,
        trainings: Sequence[Training],
        on_epoch: Callable[[Training, Mapping[str, Any]], None],
        on_done: Callable[[Training, Mapping[str, Any]], None],
    ) -> None:
        self._run = run
        self._offsets = dict.fromkeys(trainings, 0)
        self._on_epoch = on_epoch
        self._on_done = on_done

    def poll(self) -> None:
        for training in list(self._offsets):
            # Asked first: a training that is done by now has written all its epochs.
            done = self._run.finished(training.name)
            path = self._run.training(training.name) / "epochs.jsonl"
            for line in self._new_lines(training, path):
                self._on_epoch(training, json.loads(line))
            if done:
                self._on_done(training, self._run.read_json(f"{training.name}/training.json"))
                del self._offsets[training]

    def _new_lines(self, training: Training, path: Path) -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                file.seek(self._offsets[training])
                text = file.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]  # the last line may be half written
        self._offsets[training] += len(whole)
        yield from whole.splitlines()


# -- in a worker ---------------------------------------------------------------------


@dataclass(frozen=True)
class RunContext:
    """What all trainings of one run share within a process."""

    run: RunDirectory
    config: RunConfig
    registry: Registry
    data: RunData


@lru_cache(maxsize=1)
def training_context(path: Path) -> RunContext:
    """What the trainings of the run at `path` share; remembered, one at a time."""
    run = RunDirectory.existing(path)
    config = RunConfig.from_json(run.info()["config"])
    return RunContext(run, config, Registry(config.plugins), run.read_clips())


def features_of(context: RunContext, spec: ModelSpec, *, resident_bytes: int) -> Features:
    """What the model of `spec` reads, of all clips."""
    cache = FeatureCache(context.config.cache)
    extractors = make_extractors(context.config, context.registry)
    modalities = {b.modality.name: b.modality for b in spec.branches}
    for m in modalities:
        check_unchanged(extractors[m], context.run.info()["features"][m], context.run.path)
    arrays = {
        m: stored_arrays(cache, fingerprint_of(extractors[m]), m, context.data, context.config)
        for m in modalities
    }
    device = choose_device(context.config.device)
    return Features(
        modalities,
        arrays,
        context.data.targets,
        device,
        resident_bytes=resident_bytes,
        absent=context.data.absent,
    )


def stored_arrays(
    cache: FeatureCache, fingerprint: Fingerprint, modality: str, data: RunData, config: RunConfig
) -> Arrays:
    """A modality of all clips, blank for those that lack it."""
    arrays = cache.open(fingerprint, data.keys_of(modality), verify=config.verify)
    absent = data.absent.get(modality)
    return arrays if absent is None else Gapped(arrays, absent)


def _seed(context: RunContext, training: Training) -> int:
    """The same for all models of a fold: they differ in what they are, not in their luck."""
    return context.config.seed * 1000 + training.fold


def train_one(path: Path, training: Training, workers: int) -> None:
    """Train one model of a run, in this process, beside `workers` - 1 others."""
    with during(f"train {training.name}"):
        _train_one(path, training, workers)


def _train_one(path: Path, training: Training, workers: int) -> None:
    context = training_context(path)
    run, config = context.run, context.config
    if parent_process() is not None and choose_device(config.device).type == "cpu":
        keep_freed_memory()
    folder = run.training(training.name)
    if not parallel.leads():
        _help_train(context, training, workers)
        return
    folder.mkdir(parents=True, exist_ok=True)
    rewind(run, training.name)
    spec = spec_of(run, training)
    # Half of what is free, shared by the trainings that run beside each other.
    budget = free_memory(choose_device(config.device)) // (2 * workers)
    features = features_of(context, spec, resident_bytes=budget)
    with (folder / "epochs.jsonl").open("a", encoding="utf-8", buffering=1) as epochs:
        if config.tune:

            def fit(number: int, settings: Settings, checkpoint: Path) -> Fitted:
                def report(record: Mapping[str, Any]) -> None:
                    _write_line(epochs, {"trial": number, **record})

                return _fit(context, training, features, checkpoint, report, settings)

            base = _adopted(context, training)
            search = search_of(config, spec, seed=_seed(context, training), base=base)
            summary = tune(run, training.name, search, fit)
        else:
            checkpoint = folder / "checkpoint.pt"
            weights, summary = _fit(
                context, training, features, checkpoint, lambda record: _write_line(epochs, record)
            )
            save_weights(folder / WEIGHTS, weights, {"training": training.name})
    run.write_json(f"{training.name}/training.json", summary)
    (folder / "checkpoint.pt").unlink(missing_ok=True)


def _help_train(context: RunContext, training: Training, workers: int) -> None:
    """The same beside the process that leads: nothing is written."""
    budget = free_memory(choose_device(context.config.device)) // (2 * workers)
    features = features_of(context, spec_of(context.run, training), resident_bytes=budget)
    checkpoint = context.run.training(training.name) / "checkpoint.pt"
    _fit(context, training, features, checkpoint, lambda record: None)


Fitted = tuple[Mapping[str, torch.Tensor], dict[str, Any]]
"""Weights, and what training.json says of them."""


def _fit(
    context: RunContext,
    training: Training,
    features: Features,
    checkpoint: Path,
    on_epoch: Callable[[Mapping[str, Any]], None],
    settings: Settings | None = None,
) -> Fitted:
    """Train once; with `settings` in place of the run's."""
    config = tuned_config(context.config, settings or {})
    spec = tuned_spec(spec_of(context.run, training), settings or {})
    seed = _seed(context, training)
    model = build_model(spec, context.registry, seed).to(features.device)
    split = context.data.splits[training.fold]
    fused = training.model == FUSED
    trainer = Trainer(
        model,
        features,
        # Of clips that have none of its modalities it can learn nothing.
        features.known(split.train),
        features.known(split.val),
        config.train,
        balancers=make_balancers(config, context.registry) if fused else (),
        baselines=_baselines(context, training, features.device) if fused else None,
        seed=seed,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    started = time.perf_counter()
    memory = PeakMemory(features.device)
    parameters = count_parameters(model)  # a stage may leave some of them standing still
    progress = trainer.fit()
    summary = asdict(progress)
    del summary["history"]  # epochs.jsonl has it
    summary["parameters"] = parameters
    summary["wall_seconds"] = round(time.perf_counter() - started, 3)
    summary["peak_bytes"] = memory.bytes()
    summary["precision"] = str(trainer.precision).removeprefix("torch.")
    if fused:  # it has every modality
        summary["inputs"] = input_statistics(features, split.train, model)
    return model.state_dict(), summary


def _adopted(context: RunContext, training: Training) -> Settings:
    """Settings of the branches that a fused model starts from: those of the tuned baselines.

    Their weights fit no other branches; so wherever the baselines are read.
    """
    config = context.config
    if training.model != FUSED or not needs_baselines(config, context.registry):
        return {}
    owners = {f"branch.{m}": Training(training.fold, m) for m in config.features}
    return {o: dict(settings_of(context.run, t).get(o, {})) for o, t in owners.items()}


def _baselines(
    context: RunContext, training: Training, device: torch.device
) -> dict[str, Baseline]:
    """The fold's single-modality models, where the fused one needs them."""
    if not needs_baselines(context.config, context.registry):
        return {}
    found: dict[str, Baseline] = {}
    for branch in spec_of(context.run, training).branches:
        m = branch.modality.name
        single = Training(training.fold, m)
        uar = context.run.read_json(f"{single.name}/training.json")["best_uar"]
        model = trained_model(context.run, single, context.registry).to(device)
        found[m] = frozen(m, model, uar)
    return found


def _write_line(file: Any, record: Mapping[str, Any]) -> None:
    # JSON has neither NaN nor infinity: an undefined figure is null.
    plain = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()
    }
    file.write(json.dumps(plain) + "\n")


def trained_model(run: RunDirectory, training: Training, registry: Registry) -> FusionModel:
    """The model of a finished training, with its best epoch's weights, on the CPU."""
    model = build_model(spec_of(run, training), registry)
    path = run.training(training.name) / WEIGHTS
    try:
        model.load_state_dict(load_weights(path))
    except RuntimeError as error:
        raise RunError(
            f"{path} holds the weights of another model.",
            hint=f"Delete the folder {path.parent}; fusion run --resume then trains it again.",
        ) from error
    return model
