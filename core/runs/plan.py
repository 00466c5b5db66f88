"""Plan of a run: the clips, features, split and models that a configuration requests.

Planning detects every error in a request that can be detected before extraction and training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...cache.fingerprint import Fingerprint
from ..contracts import Balancer, ColumnChoice, Extractor, Modality, Tracker
from ..contracts.errors import ParameterError, SplitError, UnknownNameError
from ..data.corpora import Dataset, load_dataset
from ..data.extraction import fingerprint_of, make_extractor, without_added
from ..data.imported_features import find_imported
from ..data.sources import parse_sources
from ..data.speakers import merged_text
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

EVERY = "*"  # key in RunConfig.dtypes for all features that have no key


@dataclass(frozen=True)
class Plan:
    """Checked request, with plugins found by name, parameters bound and models described."""

    config: RunConfig
    dataset: Dataset
    extractors: Mapping[str, Extractor]
    fingerprints: Mapping[str, Fingerprint]
    splits: tuple[Split, ...]
    spec: ModelSpec


def make_plan(config: RunConfig, registry: Registry, *, like: Plan | None = None) -> Plan:
    """Check `config` as far as possible without computing features or training.

    Parameters
    ----------
    like : Plan, optional
        Plan with the same clips, features and split; the new plan takes the three from `like`.

    Raises
    ------
    UserError
        If an option is wrong; the message names the option.
    """
    plan = plan_without_split(config, registry, like=like)
    return divide(plan) if like is None else plan


@during("check")
def plan_without_split(config: RunConfig, registry: Registry, *, like: Plan | None = None) -> Plan:
    """Make a plan like :func:`make_plan`, with the split of `like` or without a split."""
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
    """Return the plan with the split that its configuration requests.

    Raises
    ------
    SplitError
        If the clips can't be divided as the configuration requests.
    """
    config, dataset = plan.config, plan.dataset
    try:
        splits = make_splits(
            dataset.clips,
            dataset.classes,
            mode=config.split,
            folds=config.folds,
            seed=config.seed if config.split_seed is None else config.split_seed,
            shared=dataset.shared_recordings,
        )
    except SplitError as error:
        merged = merged_text(dataset.merged_speakers)
        if not merged:
            raise
        hint = f"{error.hint or ''} By name or recording, {merged}.".strip()
        raise SplitError(error.message, hint=hint) from error
    return replace(plan, splits=tuple(splits))


def with_defaults(config: RunConfig, registry: Registry) -> RunConfig:
    """Fill in default plugins where the user chose none, and make the cache path absolute."""
    strategy = config.strategy or next(iter(registry.defaults("strategy")), "")
    if not strategy:
        raise ParameterError(
            "No strategy was chosen, and the default strategy is blocked or broken.",
            hint="Choose a strategy: --strategy NAME (fusion plugins list shows the names).",
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
    """Return an absolute cache path, so that a run finds its features from any folder."""
    if cache == "":
        raise ParameterError(
            "The name of the cache folder is empty.",
            hint="Name a folder: --cache DIR; or leave --cache out to use the user's cache.",
        )
    if cache is None or "://" in cache:
        return cache
    return str(Path(cache).expanduser().absolute())


def check_owners(config: RunConfig, registry: Registry) -> None:
    """Raise if ``--set``, ``--dtype`` or ``--branch`` has a name that is unknown or not in use.

    Raises
    ------
    UnknownNameError
        If a name does not exist.
    ParameterError
        If ``--set`` names a plugin that the run does not use.
    """
    _ = config.train  # bind train.* first, so that a mistyped train.* is reported first
    used = {*config.features, config.strategy, *config.balancers}
    used |= set(tracker_names(config, registry))
    used |= set(registry.corpora())  # the corpus that reads a path is chosen later
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
    """Make one extractor per modality, with bound parameters."""
    if len(set(config.features)) != len(config.features):
        raise ParameterError(f"A feature is named twice: {', '.join(config.features)}.")
    return {name: _make_extractor(name, config, registry) for name in config.features}


def _make_extractor(name: str, config: RunConfig, registry: Registry) -> Extractor:
    """Make the extractor called `name`, or the substitute for an imported feature."""
    settings = config.settings.get(name, {})
    try:
        cls = registry.extractor(name)
    except UnknownNameError as unknown:
        imported = find_imported(unknown, name, settings, registry, config.cache)
        if name in config.dtypes:
            raise ParameterError(
                f"The feature {name!r} was imported as {imported.dtype}; its dtype can't be "
                "changed.",
                hint=f"Import it again: fusion cache import {name} SOURCE --version NAME "
                f"--dtype {config.dtypes[name]}",
            ) from None
        return imported
    return make_extractor(cls, settings, storage_dtype(config, name))


def storage_dtype(config: RunConfig, feature: str) -> str | None:
    """Return the storage dtype that the user chose; None if the extractor decides."""
    return config.dtypes.get(feature, config.dtypes.get(EVERY))


def read_dataset(config: RunConfig, registry: Registry) -> Dataset:
    """Read the labelled clips of all sources."""
    corpora = registry.corpora()
    sources = [source for text in config.data for source in parse_sources(text, corpora)]
    parameters = {name: config.settings[name] for name in corpora if name in config.settings}
    return load_dataset(
        sources,
        corpora,
        labels=config.labels,
        parameters=parameters,
        columns=ColumnChoice(config.columns, config.ignored_columns),
        label_map=config.label_map,
    )


def make_spec(
    config: RunConfig,
    registry: Registry,
    extractors: Mapping[str, Extractor],
    num_classes: int,
) -> ModelSpec:
    """Describe the fused model; the descriptions of the baselines are derived from the result."""
    branches: list[BranchSpec] = []
    for name, extractor in extractors.items():
        modality = Modality(name, extractor.shape, tuple(extractor.axes))
        chosen = config.branches.get(name)
        branch = chosen or default_branch(modality, extractor.default_branch, registry)
        # The extractor recommends parameters for its own default branch only.
        recommended = (
            extractor.default_branch_parameters if branch == extractor.default_branch else {}
        )
        settings = {**recommended, **config.settings.get(f"branch.{name}", {})}
        bound = bind(registry.branch(branch), settings, owner=f"branch.{name}")
        bound.pop("dim", None)  # train.dim sets one size for all branches
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
    """Return every parameter of every plugin in use, with defaults filled in.

    A run stores these values, so an update that changes a default does not change the run. A
    parameter that a later version of an extractor added is left out if the parameter has its
    default value. A request stored by an older version then equals the same request today.
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
    corpora = {
        name: dict(parameters) for name, parameters in config.settings.items() if name not in bound
    }
    return {**corpora, **bound}


def make_trackers(config: RunConfig, registry: Registry) -> list[Tracker]:
    """Make the default and the requested trackers, with bound parameters."""
    trackers: list[Tracker] = []
    for name in tracker_names(config, registry):
        cls = registry.tracker(name)
        trackers.append(make(cls, settings=config.settings.get(name, {}), owner=name))
    return trackers


def tracker_names(config: RunConfig, registry: Registry) -> list[str]:
    """Return the names of a run's trackers without duplicates, default trackers first."""
    return list(dict.fromkeys([*registry.defaults("tracker"), *config.trackers]))
