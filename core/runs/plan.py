"""From what was asked to everything that trainings need: clips, features, split, models.

Whatever can be wrong with a request is found here, before the long work starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...cache.fingerprint import Fingerprint
from ..contracts import Balancer, Extractor, Modality, Tracker
from ..contracts.errors import ParameterError, UnknownNameError
from ..data.corpora import Dataset, load_dataset, parse_source
from ..data.extraction import fingerprint_of, make_extractor, without_added
from ..data.imported_features import find_imported
from ..data.splits import Split, make_splits
from ..data.task import check_adapt
from ..registry.parameters import bind, make
from ..registry.registry import HOOKS, Registry
from ..registry.trace import during
from ..training.hardware.device import choose_device
from ..training.model import BranchSpec, ModelSpec, default_branch
from .balancing import check_training
from .config import RunConfig
from .search_space import search_space

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


@during("check")
def plan_without_split(config: RunConfig, registry: Registry, *, like: Plan | None = None) -> Plan:
    """:func:`make_plan`, but for the split: that of `like`, or none yet."""
    config = with_defaults(config, registry)
    check_owners(config, registry)
    choose_device(config.device)
    extractors = make_extractors(config, registry)
    dataset = read_dataset(config, registry) if like is None else like.dataset
    check_adapt(config.adapt, dataset.clips)
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
    still is what it was. Parameters of extractors that an update added are left out at their
    default, so that a request of an older version is the same request.
    """
    classes: list[tuple[str, type]] = [
        (config.strategy, registry.strategy(config.strategy)),
        *((name, registry.balancer(name)) for name in config.balancers),
        *((name, registry.tracker(name)) for name in tracker_names(config, registry)),
    ]
    bound = {name: dict(without_added(e, e.parameters)) for name, e in extractors.items()}
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
        made.append(make(cls, settings=config.settings.get(name, {}), owner=name))
    return made


def tracker_names(config: RunConfig, registry: Registry) -> list[str]:
    """Trackers of a run, each once."""
    return list(dict.fromkeys([*registry.defaults("tracker"), *config.trackers]))
