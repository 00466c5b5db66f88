"""From what was asked to everything that trainings need: clips, features, split, models.

Whatever can be wrong with a request is found here, before the long work starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..cache import FeatureCache, Workers, open_workers
from ..cache.builder import BuildReport, build
from ..cache.executors import Kind
from ..cache.fingerprint import Fingerprint, digest_many
from ..cache.journal import Purpose
from ..cache.progress import Progress
from ..cache.work import FileState, Item
from .balancing import check_training
from .config import RunConfig
from .contracts import Balancer, Clip, Extractor, Modality, Tracker
from .corpora import Dataset, load_dataset, parse_source
from .device import choose_device
from .errors import (
    CorpusError,
    ParameterError,
    PluginError,
    SplitError,
    UnknownNameError,
)
from .extraction import computation_of, failure_text, fingerprint_of, make_extractor, origin_of
from .features import Indices
from .imported import find_imported
from .model import BranchSpec, ModelSpec, default_branch
from .parameters import bind, make
from .registry import HOOKS, Registry
from .run_dir import RunData
from .search import search_space
from .splits import Split, check_classes, make_splits

OnProgress = Callable[[Progress], None]
EVERY = "*"  # in RunConfig.dtypes: all features that are not named


@dataclass(frozen=True)
class Plan:
    """A request that has been checked: names resolved, parameters bound, models described."""

    config: RunConfig
    dataset: Dataset
    extractors: Mapping[str, Extractor]
    fingerprints: Mapping[str, Fingerprint]
    splits: tuple[Split, ...]
    spec: ModelSpec


def make_plan(config: RunConfig, registry: Registry, *, like: Plan | None = None) -> Plan:
    """Check everything about `config` that can be checked without computing anything.

    Parameters
    ----------
    like : Plan, optional
        One of the same clips, features and split, whose answers to these hold here too.

    Raises
    ------
    UserError
        Naming the option that is wrong.
    """
    plan = plan_without_split(config, registry, like=like)
    return divide(plan) if like is None else plan


def plan_without_split(config: RunConfig, registry: Registry, *, like: Plan | None = None) -> Plan:
    """:func:`make_plan`, but for the split: that of `like`, or none yet."""
    config = with_defaults(config, registry)
    check_owners(config, registry)
    choose_device(config.device)
    extractors = make_extractors(config, registry)
    dataset = read_dataset(config, registry) if like is None else like.dataset
    spec = make_spec(config, registry, extractors, len(dataset.classes))
    space = search_space(config, registry, spec)
    settings = bound_settings(config, registry, extractors, spec)
    config = replace(config, settings=settings, space=space)
    check_training(config, registry, spec)
    make_trackers(config, registry)
    if like is not None:
        return replace(like, config=config, spec=spec)
    fingerprints = {m: fingerprint_of(e) for m, e in extractors.items()}
    return Plan(config, dataset, extractors, fingerprints, (), spec)


def divide(plan: Plan) -> Plan:
    """The plan with the split that its configuration asks for.

    Raises
    ------
    SplitError
        If the clips can't be divided so.
    """
    config, dataset = plan.config, plan.dataset
    splits = make_splits(
        dataset.clips,
        dataset.classes,
        mode=config.split,
        folds=config.folds,
        seed=config.seed if config.split_seed is None else config.split_seed,
    )
    return replace(plan, splits=tuple(splits))


def with_defaults(config: RunConfig, registry: Registry) -> RunConfig:
    """Fill in what the user left open with the plugins that call themselves default."""
    strategy = config.strategy or next(iter(registry.defaults("strategy")), "")
    if not strategy:
        raise ParameterError(
            "No strategy is named, and the default one is not there (blocked, or broken).",
            hint="Name one: --strategy NAME (fusion plugins list shows them).",
        )
    return replace(
        config,
        data=config.data or tuple(registry.defaults("corpus")[:1]),
        features=config.features or tuple(registry.defaults("extractor")),
        strategy=strategy,
        cache=_absolute(config.cache),
        balancers=tuple(b for b in config.balancers if b != "none"),
    )


def _absolute(cache: str | None) -> str | None:
    """So that a run finds its features from any folder."""
    if cache == "":
        raise ParameterError(
            "The name of the cache folder is empty.",
            hint="Name one: --cache DIR; or leave --cache out for the user's cache.",
        )
    if cache is None or "://" in cache:
        return cache
    return str(Path(cache).expanduser().absolute())


def check_owners(config: RunConfig, registry: Registry) -> None:
    """Every owner in ``--set OWNER.NAME=VALUE`` and ``--branch`` must exist and be in use."""
    _ = config.train  # bound here, so that a mistyped train.* is found first
    used = {*config.features, config.strategy, *config.balancers}
    used |= set(tracker_names(config, registry))
    used |= set(registry.corpora())  # which of them reads a path is found out later
    used |= {f"branch.{modality}" for modality in config.features} | {"train"}
    everything = used | {entry.name for kind in HOOKS for entry in registry.entries(kind)}
    for owner in config.settings:
        if owner not in everything:
            raise UnknownNameError("plugin to set a parameter of", owner, everything)
        if owner not in used:
            raise ParameterError(
                f"--set {owner}.…: {owner!r} takes no part in this run.",
                hint=f"This run uses: {', '.join(sorted(used))}.",
            )
    for feature in config.dtypes:
        if feature not in (EVERY, *config.features):
            raise UnknownNameError("feature to choose a dtype for", feature, config.features)
    for modality in config.branches:
        if modality not in config.features:
            raise UnknownNameError("modality to choose a branch for", modality, config.features)


def make_extractors(config: RunConfig, registry: Registry) -> dict[str, Extractor]:
    """One extractor per modality, parameters bound."""
    if len(set(config.features)) != len(config.features):
        raise ParameterError(f"A feature is named twice: {', '.join(config.features)}.")
    return {name: _make_extractor(name, config, registry) for name in config.features}


def _make_extractor(name: str, config: RunConfig, registry: Registry) -> Extractor:
    """The plugin of that name, or the stand-in for a feature that was imported."""
    given = config.settings.get(name, {})
    try:
        cls = registry.extractor(name)
    except UnknownNameError as unknown:
        imported = find_imported(unknown, name, given, registry, config.cache)
        if name in config.dtypes:
            raise ParameterError(
                f"The feature {name!r} was imported as {imported.dtype}: it stays as it is.",
                hint=f"Import it again: fusion cache import {name} SOURCE --version NAME "
                f"--dtype {config.dtypes[name]}",
            ) from None
        return imported
    return make_extractor(cls, given, storage_dtype(config, name))


def storage_dtype(config: RunConfig, feature: str) -> str | None:
    """What the user wants a feature to be stored as; None leaves it to the extractor."""
    return config.dtypes.get(feature, config.dtypes.get(EVERY))


def read_dataset(config: RunConfig, registry: Registry) -> Dataset:
    """The labelled clips of all sources."""
    corpora = registry.corpora()
    sources = [parse_source(text, corpora) for text in config.data]
    parameters = {name: config.settings[name] for name in corpora if name in config.settings}
    return load_dataset(sources, corpora, labels=config.labels, parameters=parameters)


def make_spec(
    config: RunConfig,
    registry: Registry,
    extractors: Mapping[str, Extractor],
    num_classes: int,
) -> ModelSpec:
    """Describe the fused model; the baselines follow from it."""
    branches: list[BranchSpec] = []
    for name, extractor in extractors.items():
        modality = Modality(name, extractor.shape, tuple(extractor.axes))
        chosen = config.branches.get(name)
        branch = chosen or default_branch(modality, extractor.default_branch, registry)
        # The extractor's advice on parameters is for its own default branch only.
        advice = extractor.default_branch_parameters if branch == extractor.default_branch else {}
        given = {**advice, **config.settings.get(f"branch.{name}", {})}
        bound = bind(registry.branch(branch), given, owner=f"branch.{name}")
        bound.pop("dim", None)  # of the training settings: one size for all branches
        branches.append(BranchSpec(modality, branch, bound))
    cls = registry.strategy(config.strategy)
    parameters = bind(cls, config.settings.get(config.strategy, {}), owner=config.strategy)
    adapters: list[tuple[str, Mapping[str, Any]]] = []
    for name in config.balancers:
        balancer = registry.balancer(name)
        if balancer.adapt is not Balancer.adapt:
            adapters.append((name, bind(balancer, config.settings.get(name, {}), owner=name)))
    return ModelSpec(
        tuple(branches),
        num_classes,
        config.train.dim,
        config.strategy,
        parameters,
        tuple(adapters),
    )


def bound_settings(
    config: RunConfig,
    registry: Registry,
    extractors: Mapping[str, Extractor],
    spec: ModelSpec,
) -> dict[str, dict[str, Any]]:
    """Every parameter of everything in use, defaults filled in.

    This is what a run stores: resumed or used after an update that changed a default, it
    still is what it was.
    """
    classes: list[tuple[str, type]] = [
        (config.strategy, registry.strategy(config.strategy)),
        *((name, registry.balancer(name)) for name in config.balancers),
        *((name, registry.tracker(name)) for name in tracker_names(config, registry)),
    ]
    bound = {name: dict(extractor.parameters) for name, extractor in extractors.items()}
    bound |= {name: bind(cls, config.settings.get(name, {}), owner=name) for name, cls in classes}
    bound |= {f"branch.{b.modality.name}": dict(b.parameters) for b in spec.branches}
    bound["train"] = asdict(config.train)
    corpora = {name: dict(given) for name, given in config.settings.items() if name not in bound}
    return {**corpora, **bound}


def make_trackers(config: RunConfig, registry: Registry) -> list[Tracker]:
    """The trackers that are always on, and those named, parameters bound."""
    made: list[Tracker] = []
    for name in tracker_names(config, registry):
        cls = registry.tracker(name)
        made.append(make(cls, given=config.settings.get(name, {}), owner=name))
    return made


def tracker_names(config: RunConfig, registry: Registry) -> list[str]:
    """Trackers of a run, each once."""
    return list(dict.fromkeys([*registry.defaults("tracker"), *config.trackers]))


@dataclass(frozen=True)
class Extracted:
    """What extraction left: the clips that have every feature, and what went wrong."""

    data: RunData
    report: BuildReport


def extract(
    plan: Plan, *, jobs: int | None = None, on_progress: OnProgress | None = None
) -> Extracted:
    """Make sure that every clip has every feature in the cache; leave out clips that can't.

    Raises
    ------
    CorpusError
        If no clip is left, or one failed and the configuration is strict.
    """
    clips = plan.dataset.clips
    with open_workers(jobs=jobs) as on:
        keys, report = build_features(
            plan.config,
            plan.extractors,
            clips,
            on=on,
            purpose="run",
            on_progress=on_progress,
        )
    failed = {failure.key for failure in report.failures}
    kept = [i for i, key in enumerate(keys) if key not in failed]
    splits = [_keep(split, set(kept)) for split in plan.splits]
    if report.failures:
        for split in splits:
            _check_parts(split, plan.dataset, report)
    data = RunData(
        tuple(clips[i] for i in kept),
        tuple(keys[i] for i in kept),
        plan.dataset.targets()[kept],
        plan.dataset.classes,
        tuple(_renumber(split, kept) for split in splits),
    )
    return Extracted(data, report)


def build_cache(
    config: RunConfig,
    registry: Registry,
    *,
    jobs: int | None = None,
    executor: Kind = "processes",
    scheduler: str | None = None,
    part: tuple[int, int] = (1, 1),
    on_progress: OnProgress | None = None,
) -> BuildReport:
    """Precompute the features of a corpus; needs no split and no model.

    Parameters
    ----------
    jobs, executor, scheduler
        Where to compute: see :func:`fusion.cache.open_workers`.
    part : (int, int)
        The i-th of n parts of the corpus, i from 1.

    Raises
    ------
    UserError
        For anything wrong with the request.
    """
    config = with_defaults(config, registry)
    check_owners(config, registry)
    extractors = make_extractors(config, registry)
    clips = read_dataset(config, registry).clips
    with open_workers(executor, jobs=jobs, scheduler=scheduler) as on:
        return build_features(config, extractors, clips, on=on, part=part, on_progress=on_progress)[
            1
        ]


def build_features(
    config: RunConfig,
    extractors: Mapping[str, Extractor],
    clips: Sequence[Clip],
    *,
    on: Workers,
    part: tuple[int, int] = (1, 1),
    purpose: Purpose = "build",
    on_progress: OnProgress | None,
) -> tuple[list[str], BuildReport]:
    """Compute what is missing in the cache. Returns each clip's key, and the report."""
    recordings = [clip.recording for clip in clips]
    states = [FileState.of(r.path) for r in recordings]  # before they are read
    keys = digest_many([(r.path, r.start, r.end) for r in recordings])
    items = [
        Item(key, clip.recording, origin_of(clip.recording), clip.corpus, state)
        for key, clip, state in zip(keys, clips, states, strict=True)
    ]
    work = [(computation_of(extractor), items) for extractor in extractors.values()]
    cache = FeatureCache(config.cache)
    report = build(
        cache,
        work,
        on=on,
        part=part,
        purpose=purpose,
        on_progress=on_progress,
        strict=config.strict,
    )
    for failure in report.failures:
        if failure.reason.startswith(PluginError.__name__):  # no fault of the recording
            raise PluginError(failure.reason.partition(": ")[2])
    if report.failures and len({f.key for f in report.failures}) == len(set(keys)):
        raise CorpusError(
            f"No recording could be read. The first: {failure_text(report.failures[0])}"
        )
    return keys, report


def _check_parts(split: Split, dataset: Dataset, report: BuildReport) -> None:
    """A split that was fine can lose what it needs with the recordings that can't be read."""
    try:
        check_classes(split, dataset.clips, dataset.classes)
    except SplitError as error:
        raise SplitError(
            f"{len(report.failures)} recordings can't be read, and without them: {error.message}",
            hint=f"The first: {failure_text(report.failures[0])}",
        ) from error


def _keep(split: Split, kept: set[int]) -> Split:
    """The split without the clips that are not in `kept`."""

    def part(indices: Indices) -> Indices:
        return np.array([i for i in indices if int(i) in kept], dtype=np.int64)

    return replace(split, train=part(split.train), val=part(split.val), test=part(split.test))


def _renumber(split: Split, kept: Sequence[int]) -> Split:
    """The split over the clips `kept` alone, by their position there."""
    number = {clip: position for position, clip in enumerate(kept)}

    def part(indices: Indices) -> Indices:
        return np.array([number[int(i)] for i in indices], dtype=np.int64)

    return replace(split, train=part(split.train), val=part(split.val), test=part(split.test))
