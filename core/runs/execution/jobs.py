"""Execution of a single training: its features, its model, and the files that it writes.

A training reads its input from the run directory and writes its results there, so it can be
killed and resumed. ``scheduler`` runs several trainings in parallel.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, TypeVar

import torch

from ....cache import FeatureCache, Fingerprint
from ...contracts import Baseline, Modality
from ...contracts.errors import CacheError, RunError, ShardError
from ...contracts.train_config import TrainConfig
from ...data.adaptation import Moments, Population, adapted, run_moments, training_population
from ...data.dataset import RunData
from ...data.extraction import fingerprint_of
from ...data.features import Arrays, Features
from ...data.presence import Gapped
from ...registry.registry import Registry
from ...registry.trace import during
from ...toolkit.atomic import remove_unfinished
from ...toolkit.device import free_memory
from ...toolkit.run_files import check_inside, open_log
from ...toolkit.weights import load_weights, save_weights
from ...training.baselines import frozen
from ...training.hardware import distributed
from ...training.hardware.device import choose_device
from ...training.hardware.memory import PeakMemory, keep_freed_memory
from ...training.input_statistics import input_statistics
from ...training.model import FusionModel, ModelSpec, build_model, count_parameters
from ...training.trainer import Trainer
from ..balancing import (
    control_epochs,
    fused_settings,
    make_balancers,
    needs_baselines,
    starts_from_baselines,
)
from ..config import RunConfig
from ..feature_changes import check_unchanged
from ..plan import make_extractors
from ..run import WEIGHTS, Location, Run
from ..search_space import Settings, search_of, tuned_config, tuned_spec
from ..trainings import CONTROL, FUSED, Training, control_modality, settings_of, spec_of
from .tuning import rewind, tune

T = TypeVar("T")

# -- in a worker ---------------------------------------------------------------------


@lru_cache(maxsize=1)
def opened(location: Location) -> Run:
    """Open the run at `location`; the process keeps the last run open for its next trainings."""
    path, requests = location
    return Run.open(path, Registry(requests))


def in_worker(function: Callable[..., T], location: Location, *arguments: Any) -> T:
    """Call ``function(run, *arguments)`` in a worker, which receives only the run's location."""
    return function(opened(location), *arguments)


def features_of(
    run: Run, spec: ModelSpec, *, resident_bytes: int, fold: int, device: str | None = None
) -> Features:
    """Return the features of all clips that a model reads.

    `fold` matters only to a speaker-adapted run: the fold's training speakers are the population
    towards which speaker statistics are shrunk.

    Raises
    ------
    RunError
        If an installed extractor differs from the run's.
    """
    cache = FeatureCache(run.config.cache)
    extractors = make_extractors(run.config, run.registry)
    modalities = {b.modality.name: b.modality for b in spec.branches}
    for m in modalities:
        check_unchanged(extractors[m], run.record.features[m], run.path)
    arrays = {
        m: stored_arrays(cache, fingerprint_of(extractors[m]), m, run.data, run.config)
        for m in modalities
    }
    if run.config.adapt == "speaker":
        for m, modality in modalities.items():
            fingerprint = fingerprint_of(extractors[m])
            moments = speaker_moments(run.path, fingerprint, modality, arrays[m],
                                      run.data, run.config)  # fmt: skip
            arrays[m] = adapted(arrays[m], moments, run.data, fold, m)
    # A model of whole clips only needs no windows.
    divided = any(m in run.data.divided for m in modalities)
    return Features(
        modalities,
        {m: run.data.by_window(m, own) if divided else own for m, own in arrays.items()},
        run.data.targets,
        choose_device(device or run.config.device),
        resident_bytes=resident_bytes,
        absent=run.data.absent,
        rows=run.data.rows if divided else None,
    )


def stored_arrays(
    cache: FeatureCache, fingerprint: Fingerprint, modality: str, data: RunData, config: RunConfig
) -> Arrays:
    """Return the cached arrays of a modality for all clips; a clip without the array has zeros.

    If clips have windows, the arrays are those of :meth:`RunData.clips_of`.
    """
    try:
        arrays = cache.open(fingerprint, data.keys_of(modality), verify=config.verify)
    except ShardError:
        raise
    except CacheError as error:
        raise CacheError(
            error.message, hint=f"Compute them again: {config.build_command()}"
        ) from error
    absent = data.absent.get(modality)
    return arrays if absent is None else Gapped(arrays, absent[data.clips_of(modality)])


def speaker_moments(
    run: Path,
    fingerprint: Fingerprint,
    modality: Modality,
    arrays: Arrays,
    data: RunData,
    config: RunConfig,
) -> Moments:
    """Return the statistics of a run's speakers in one modality, which the run directory stores."""
    return run_moments(run, fingerprint.id, modality, config.train.normalise, arrays, data)


def populations_of(run: Run, spec: ModelSpec, fold: int) -> dict[str, Population]:
    """Return the training population of a fold, for each modality of a model."""
    cache = FeatureCache(run.config.cache)
    extractors = make_extractors(run.config, run.registry)
    populations: dict[str, Population] = {}
    for m, modality in ((b.modality.name, b.modality) for b in spec.branches):
        fingerprint = fingerprint_of(extractors[m])
        arrays = stored_arrays(cache, fingerprint, m, run.data, run.config)
        moments = speaker_moments(run.path, fingerprint, modality, arrays, run.data, run.config)
        populations[m] = training_population(moments, run.data, fold)
    return populations


def _seed(run: Run, training: Training) -> int:
    """Return the seed of a fold; all models of the fold share the seed, so they are comparable."""
    return run.config.seed * 1000 + training.fold


def train_one(run: Run, training: Training, workers: int) -> None:
    """Train one model of a run in this process, while up to `workers` trainings run in parallel."""
    with during(f"train {training.name}"), _worker_resources(run.config):
        _train_one(run, training, workers)


@contextmanager
def _worker_resources(config: RunConfig) -> Iterator[None]:
    """Set the threads and the memory allocation of a worker process on a CPU.

    Do nothing in the main process or on another device.
    """
    if parent_process() is None or choose_device(config.device).type != "cpu":
        yield
        return
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(config.train.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train_one(run: Run, training: Training, workers: int) -> None:
    config = run.config
    folder = run.training(training.name)
    if not distributed.leads():
        _help_train(run, training, workers)
        return
    check_inside(run.path, f"{training.name}/x")
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    rewind(run, training.name)
    spec = spec_of(run, training)
    # Parallel trainings share half of the free memory.
    budget = free_memory(choose_device(config.device)) // (2 * workers)
    features = features_of(run, spec, resident_bytes=budget, fold=training.fold)
    with open_log(folder / "epochs.jsonl", "a") as epochs:
        if config.tune and training.model != CONTROL:

            def fit(number: int, settings: Settings, checkpoint: Path) -> Fitted:
                def report(record: Mapping[str, Any]) -> None:
                    _write_line(epochs, {"trial": number, **record})

                return _fit(run, training, features, checkpoint, report, settings)

            base = _baseline_settings(run, training)
            search = search_of(config, spec, seed=_seed(run, training), base=base)
            summary = tune(run, training.name, search, fit)
        else:
            checkpoint = folder / "checkpoint.pt"
            weights, summary = _fit(
                run,
                training,
                features,
                checkpoint,
                lambda record: _write_line(epochs, record),
                settings_of(run, training) if training.model == CONTROL else None,
            )
            save_weights(folder / WEIGHTS, weights, {"training": training.name})
    run.write_json(f"{training.name}/training.json", summary)
    (folder / "checkpoint.pt").unlink(missing_ok=True)


def _help_train(run: Run, training: Training, workers: int) -> None:
    """Take part in a training that another process leads, without writing files."""
    budget = free_memory(choose_device(run.config.device)) // (2 * workers)
    spec = spec_of(run, training)
    features = features_of(run, spec, resident_bytes=budget, fold=training.fold)
    checkpoint = run.training(training.name) / "checkpoint.pt"
    _fit(run, training, features, checkpoint, lambda record: None)


Fitted = tuple[Mapping[str, torch.Tensor], dict[str, Any]]
"""Weights of a trained model, and the content of its training.json."""


def _fit(
    run: Run,
    training: Training,
    features: Features,
    checkpoint: Path,
    on_epoch: Callable[[Mapping[str, Any]], None],
    settings: Settings | None = None,
) -> Fitted:
    """Train a model once; `settings` override the run's settings."""
    config = tuned_config(run.config, settings or {})
    spec = tuned_spec(spec_of(run, training), settings or {})
    seed = _seed(run, training)
    model = build_model(spec, run.registry, seed).to(features.device)
    split = run.data.splits[training.fold]
    fused = training.model == FUSED
    starts = fused and starts_from_baselines(config, run.registry)
    trainer = Trainer(
        model,
        features,
        # Leave out the clips that have none of the model's modalities.
        features.clips_with(split.train),
        features.clips_with(split.val),
        _budget(config, training, run.registry),
        balancers=make_balancers(config, run.registry) if fused else (),
        baselines=_baselines(run, training, features.device) if fused else None,
        from_baselines=starts,
        seed=seed,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    started = time.perf_counter()
    memory = PeakMemory(features.device)
    parameters = count_parameters(model)  # before fit(): a stage may freeze parameters
    progress = trainer.fit()
    summary = asdict(progress)
    del summary["history"]  # epochs.jsonl has the history
    if progress.start is None:
        del summary["start"]
    else:
        summary["start"] = _plain(progress.start)
    if training.model == CONTROL:
        summary["modality"] = control_modality(run)
    summary["parameters"] = parameters
    summary["wall_seconds"] = round(time.perf_counter() - started, 3)
    summary["peak_bytes"] = memory.bytes()
    summary["precision"] = str(trainer.precision).removeprefix("torch.")
    if trainer.stepper.graphs is not None:
        summary["graphs"] = trainer.stepper.graphs.summary()
    if fused:  # only the fused model reads every modality
        summary["inputs"] = input_statistics(features, split.train, model)
    return model.state_dict(), summary


def _budget(config: RunConfig, training: Training, registry: Registry) -> TrainConfig:
    """Return the training settings, with `epochs` set for this training."""
    if training.model == FUSED:
        return fused_settings(config, registry)
    if training.model == CONTROL:
        return replace(config.train, epochs=control_epochs(config, registry))
    return config.train


def epochs_of(run: Run, training: Training) -> int:
    """Return the largest number of epochs that `training` may take."""
    return _budget(run.config, training, run.registry).epochs


def _baseline_settings(run: Run, training: Training) -> Settings:
    """Return the branch settings that a fused model takes from the tuned baselines.

    A baseline's weights fit only branches with the same settings. The returned mapping is empty if
    the model is not fused or needs no baselines.
    """
    config = run.config
    if training.model != FUSED or not needs_baselines(config, run.registry):
        return {}
    owners = {f"branch.{m}": Training(training.fold, m) for m in config.features}
    return {o: dict(settings_of(run, t).get(o, {})) for o, t in owners.items()}


def _baselines(run: Run, training: Training, device: torch.device) -> dict[str, Baseline]:
    """Load the fold's single-modality models; return an empty dict if the model needs none."""
    if not needs_baselines(run.config, run.registry):
        return {}
    baselines: dict[str, Baseline] = {}
    for branch in spec_of(run, training).branches:
        m = branch.modality.name
        single = Training(training.fold, m)
        uar = run.summary(single.name)["best_uar"]
        model = trained_model(run, single).to(device)
        baselines[m] = frozen(m, model, uar)
    return baselines


def _write_line(file: Any, record: Mapping[str, Any]) -> None:
    file.write(json.dumps(_plain(record)) + "\n")


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """Replace NaN and infinity, which JSON lacks, by None."""
    return {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()
    }


def trained_model(run: Run, training: Training) -> FusionModel:
    """Load the model of a finished training on the CPU, with the weights of its best epoch.

    Raises
    ------
    RunError
        If the stored weights do not fit the model.
    """
    path = run.training(training.name) / WEIGHTS
    try:
        model = build_model(spec_of(run, training), run.registry)
        model.load_state_dict(load_weights(path))
    except (RuntimeError, MemoryError) as error:
        raise RunError(
            f"{path} holds the weights of another model.",
            hint=f"Delete the folder {path.parent}: fusion run --resume then trains again.",
        ) from error
    return model
