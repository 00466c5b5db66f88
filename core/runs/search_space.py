"""Search space of tuning, and the settings that the next trial tries.

The settings of a trial depend only on the seed and on the trials before it, so a resumed or
repeated run makes the same trials. :mod:`fusion.core.runs.execution.tuning` runs and stores the
trials.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contracts.errors import ParameterError, UnknownNameError
from ..contracts.space import Choice, Integer, LogInteger, LogUniform, Space, space_from_json
from ..contracts.train_config import TrainConfig
from ..registry.parameters import check_space, space_of
from ..toolkit.optional import required
from ..training.model import ModelSpec
from .config import RunConfig

if TYPE_CHECKING:
    from ..registry.registry import Registry

Settings = Mapping[str, Mapping[str, Any]]
"""Parameter values by owner and parameter."""

_FAILED = -1.0  # score of a failed trial for the sampler, lower than any UAR


# -- before the long work ------------------------------------------------------------


def check_installed() -> None:
    """Raise if Optuna is not installed.

    Raises
    ------
    ParameterError
        If Optuna is not installed.
    """
    _optuna()


def _optuna() -> Any:
    return required("optuna", extra="tune", by="--tune")


def search_space(
    config: RunConfig, registry: Registry, spec: ModelSpec
) -> dict[str, dict[str, Any]] | None:
    """Return the ranges from which trials choose, in the form of :attr:`RunConfig.space`.

    Parameters
    ----------
    config : RunConfig
        Configuration with only the settings that the user gave. Parameters with such a setting are
        not searched.

    Returns
    -------
    dict or None
        Range in JSON form by owner and parameter; None for a run without tuning.

    Raises
    ------
    UserError
        If ``--tune`` is 1, no parameter is left to search, the requested space is wrong, or
        Optuna is not installed.
    """
    if config.tune == 0:
        return None
    if config.tune < 2:
        raise ParameterError(
            f"--tune must be 2 or more, and is {config.tune}.",
            hint="The first trial uses the given settings, so a single trial has no alternative.",
        )
    check_installed()
    classes = _owners(config, registry, spec)
    if config.space is not None:
        space = {o: _given_space(o, classes, ranges) for o, ranges in config.space.items()}
    else:
        space = {
            owner: {
                name: values.to_json()
                for name, values in space_of(cls).items()
                if name not in config.settings.get(owner, {})
            }
            for owner, cls in classes.items()
        }
    for owner in space:
        if owner.startswith("branch."):
            space[owner].pop("dim", None)  # train.dim sets one size for all branches
    if not any(space.values()):
        raise ParameterError(
            "--tune has no parameter to search: --set fixes every parameter that can be searched.",
            hint="fusion plugins show NAME (and train) shows which parameters can be searched.",
        )
    return space


def _owners(config: RunConfig, registry: Registry, spec: ModelSpec) -> dict[str, type[Any]]:
    return {
        "train": TrainConfig,
        **{f"branch.{b.modality.name}": registry.branch(b.branch) for b in spec.branches},
        config.strategy: registry.strategy(config.strategy),
        **{name: registry.balancer(name) for name in config.balancers},
    }


def _given_space(
    owner: str, classes: Mapping[str, type[Any]], requested: Mapping[str, Any]
) -> dict[str, Any]:
    if owner not in classes:
        raise UnknownNameError("owner of parameters to tune", owner, classes)
    ranges = {
        name: values if isinstance(values, Space) else space_from_json(values)
        for name, values in requested.items()
    }
    check_space(classes[owner], ranges, owner=owner)
    return {name: values.to_json() for name, values in ranges.items()}


# -- settings of a trial -------------------------------------------------------------


def tuned_config(config: RunConfig, settings: Settings) -> RunConfig:
    """Return `config` with a trial's settings, which override the settings of `config`."""
    return replace(config, settings=_merged(config.settings, settings)) if settings else config


def tuned_spec(spec: ModelSpec, settings: Settings) -> ModelSpec:
    """Return the description `spec` of a model with a trial's settings."""

    def of(owner: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**parameters, **settings.get(owner, {})}

    return replace(
        spec,
        branches=tuple(
            replace(b, parameters=of(f"branch.{b.modality.name}", b.parameters))
            for b in spec.branches
        ),
        dim=settings.get("train", {}).get("dim", spec.dim),
        parameters=of(spec.strategy, spec.parameters) if spec.strategy else spec.parameters,
        adapters=tuple((name, of(name, parameters)) for name, parameters in spec.adapters),
    )


def _merged(settings: Settings, overriding: Settings) -> dict[str, dict[str, Any]]:
    """Merge two sets of settings; the settings in `overriding` take precedence."""
    owners = dict.fromkeys([*settings, *overriding])
    return {o: {**settings.get(o, {}), **overriding.get(o, {})} for o in owners}


# -- trials --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trial:
    """Finished or failed trial of tuning.

    Attributes
    ----------
    number : int
        Number of the trial, from 0.
    settings : mapping
        Settings of the trial, which override the run's settings.
    summary : mapping
        Summary of the trial's training; empty if the trial failed.
    error : str or None
        Reason for the failure; None for a trial that finished.
    """

    number: int
    settings: Settings
    summary: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def score(self) -> float:
        """Score of the best epoch, a mean of recent validation UARs; -1 if the trial failed."""
        return float(self.summary.get("best_score", _FAILED))

    @property
    def rank(self) -> tuple[float, float]:
        """Sort key, highest for the best trial: the score, then the negative validation loss."""
        return (self.score, -float(self.summary.get("best_loss", math.inf)))

    def to_json(self) -> dict[str, Any]:
        """Return the trial as plain values, one line of trials.jsonl."""
        error = {} if self.error is None else {"error": self.error}
        return {"trial": self.number, "settings": self.settings, **self.summary, **error}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:
        """Make a trial from the values that :meth:`to_json` returned."""
        own = ("trial", "settings", "error")
        summary = {name: value for name, value in data.items() if name not in own}
        return cls(data["trial"], data["settings"], summary, data.get("error"))


@dataclass(frozen=True, slots=True)
class Search:
    """Hyper-parameter search for one training.

    Attributes
    ----------
    trials : int
        Number of trials.
    space : mapping
        Range by (owner, parameter).
    initial : mapping
        Value in trial 0 by (owner, parameter).
    base : mapping
        Settings that all trials share.
    seed : int
        Seed of the sampler.
    """

    trials: int
    space: Mapping[tuple[str, str], Space]
    initial: Mapping[tuple[str, str], Any]
    base: Settings = field(default_factory=dict)
    seed: int = 0


def search_of(
    config: RunConfig, spec: ModelSpec, *, seed: int, base: Settings | None = None
) -> Search:
    """Make the search for the model `spec`.

    The search covers ``train`` and the branches of the model, and for a fused model the strategy
    and the balancers. Owners with settings in `base` are left out.
    """
    base = base or {}
    fused = [config.strategy, *config.balancers] if spec.strategy else []
    owners = ["train", *(f"branch.{b.modality.name}" for b in spec.branches), *fused]
    space = {
        (owner, name): space_from_json(values)
        for owner in owners
        if owner not in base
        for name, values in (config.space or {}).get(owner, {}).items()
    }
    initial = {(owner, name): config.settings[owner][name] for owner, name in space}
    return Search(config.tune, space, initial, base, seed)


def propose(search: Search, trials: Sequence[Trial]) -> dict[str, dict[str, Any]]:
    """Return the settings of the trial that follows `trials`; equal arguments give equal settings.

    The first trial uses the initial settings. Optuna's tree-structured Parzen estimator (Bergstra
    et al. 2011) proposes the settings of later trials: random values at first, then mostly values
    near the settings of good trials.
    """
    if not trials or not search.space:
        chosen: Mapping[tuple[str, str], Any] = search.initial
    else:
        chosen = _sampled(search, trials)
    settings: dict[str, dict[str, Any]] = {o: dict(s) for o, s in search.base.items()}
    for (owner, name), value in chosen.items():
        settings.setdefault(owner, {})[name] = value
    return settings


def _sampled(search: Search, trials: Sequence[Trial]) -> dict[tuple[str, str], Any]:
    optuna = _optuna()
    # Make a new sampler for every trial, so that the run need not store the sampler's state.
    sequence = np.random.SeedSequence([search.seed, len(trials)])
    sampler = optuna.samplers.TPESampler(seed=int(sequence.generate_state(1)[0]))
    distributions = {".".join(key): _distribution(s) for key, s in search.space.items()}
    with _silent(optuna):
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for trial in trials:
            values = {
                (owner, name): trial.settings[owner][name]
                for (owner, name), s in search.space.items()
                if s.contains(trial.settings[owner][name])  # initial values may be out of range
            }
            study.add_trial(
                optuna.trial.create_trial(
                    params={".".join(key): value for key, value in values.items()},
                    distributions={".".join(key): distributions[".".join(key)] for key in values},
                    value=trial.score,
                )
            )
        chosen = study.ask(distributions).params
    return {key: chosen[".".join(key)] for key in search.space}


def _distribution(space: Space) -> Any:
    kinds = importlib.import_module("optuna.distributions")
    if isinstance(space, Choice):
        return kinds.CategoricalDistribution(space.options)
    whole = isinstance(space, Integer | LogInteger)
    kind = kinds.IntDistribution if whole else kinds.FloatDistribution
    low, high = space.ends()
    return kind(low, high, log=isinstance(space, LogInteger | LogUniform))


@contextmanager
def _silent(optuna: Any) -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
