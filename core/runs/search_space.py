"""What tuning tries: which parameters, in which ranges, and the settings of the next trial.

What a trial tries depends on the trials before it and on the seed alone: taken up again, or
repeated, a run makes the same ones. How trials are made and kept is in
:mod:`fusion.core.runs.execution.tuning`.
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
"""Owner -> parameter -> value."""

_FAILED = -1.0  # what the sampler is told of a trial that failed: worse than any other


# -- before the long work ------------------------------------------------------------


def check_installed() -> None:
    """
    Raises
    ------
    ParameterError
        If the optimiser is not there.
    """
    _optuna()


def _optuna() -> Any:
    return required("optuna", extra="tune", by="--tune")


def search_space(
    config: RunConfig, registry: Registry, spec: ModelSpec
) -> dict[str, dict[str, Any]] | None:
    """What the trials of a run choose from, as :attr:`RunConfig.space` stores it.

    Parameters
    ----------
    config : RunConfig
        With the settings that the user gave, and no others: what is given is not searched.

    Raises
    ------
    UserError
        If the request makes no sense, or the optimiser is not installed.
    """
    if config.tune == 0:
        return None
    if config.tune < 2:
        raise ParameterError(
            f"--tune takes 2 trials or more, and was given {config.tune}.",
            hint="The first trial has the settings as given.",
        )
    check_installed()
    classes = _owners(config, registry, spec)
    if config.space is not None:
        space = {o: _given_space(o, classes, given) for o, given in config.space.items()}
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
            space[owner].pop("dim", None)  # of the training settings: one size for all branches
    if not any(space.values()):
        raise ParameterError(
            "--tune has nothing to try: --set fixes every parameter that may be searched.",
            hint="fusion plugins show NAME (and train) shows which may.",
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
    owner: str, classes: Mapping[str, type[Any]], given: Mapping[str, Any]
) -> dict[str, Any]:
    if owner not in classes:
        raise UnknownNameError("owner of parameters to tune", owner, classes)
    ranges = {
        name: values if isinstance(values, Space) else space_from_json(values)
        for name, values in given.items()
    }
    check_space(classes[owner], ranges, owner=owner)
    return {name: values.to_json() for name, values in ranges.items()}


# -- settings of a trial -------------------------------------------------------------


def tuned_config(config: RunConfig, settings: Settings) -> RunConfig:
    """`config` with a trial's settings in place of its own."""
    return replace(config, settings=_over(config.settings, settings)) if settings else config


def tuned_spec(spec: ModelSpec, settings: Settings) -> ModelSpec:
    """The model that `spec` describes, with a trial's settings."""

    def of(owner: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**given, **settings.get(owner, {})}

    return replace(
        spec,
        branches=tuple(
            replace(b, parameters=of(f"branch.{b.modality.name}", b.parameters))
            for b in spec.branches
        ),
        dim=settings.get("train", {}).get("dim", spec.dim),
        parameters=of(spec.strategy, spec.parameters) if spec.strategy else spec.parameters,
        adapters=tuple((name, of(name, given)) for name, given in spec.adapters),
    )


def _over(settings: Settings, others: Settings) -> dict[str, dict[str, Any]]:
    """`settings`, and where `others` say something, that."""
    owners = dict.fromkeys([*settings, *others])
    return {o: {**settings.get(o, {}), **others.get(o, {})} for o in owners}


# -- trials --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial that is over.

    Attributes
    ----------
    number : int
        From 0.
    settings : mapping
        What it had in place of the settings as given.
    summary : mapping
        How its training went; empty where it failed.
    error : str or None
        Why it failed.
    """

    number: int
    settings: Settings
    summary: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def score(self) -> float:
        """Validation UAR as the training chose its best epoch by it: a mean of some epochs."""
        return float(self.summary.get("best_score", _FAILED))

    @property
    def rank(self) -> tuple[float, float]:
        """The highest is the best: by score, among equals by validation loss."""
        return (self.score, -float(self.summary.get("best_loss", math.inf)))

    def to_json(self) -> dict[str, Any]:
        error = {} if self.error is None else {"error": self.error}
        return {"trial": self.number, "settings": self.settings, **self.summary, **error}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:
        own = ("trial", "settings", "error")
        summary = {name: value for name, value in data.items() if name not in own}
        return cls(data["trial"], data["settings"], summary, data.get("error"))


@dataclass(frozen=True, slots=True)
class Search:
    """What is tried for one training.

    Attributes
    ----------
    trials : int
        How many.
    space : mapping
        (owner, parameter) -> range.
    given : mapping
        (owner, parameter) -> its value in trial 0.
    base : mapping
        Settings that every trial has.
    seed : int
        Of what is tried.
    """

    trials: int
    space: Mapping[tuple[str, str], Space]
    given: Mapping[tuple[str, str], Any]
    base: Settings = field(default_factory=dict)
    seed: int = 0


def search_of(
    config: RunConfig, spec: ModelSpec, *, seed: int, base: Settings | None = None
) -> Search:
    """The search for the model `spec`: of what takes part in it, and `base` does not settle."""
    base = base or {}
    fused = [config.strategy, *config.balancers] if spec.strategy else []
    owners = ["train", *(f"branch.{b.modality.name}" for b in spec.branches), *fused]
    space = {
        (owner, name): space_from_json(values)
        for owner in owners
        if owner not in base
        for name, values in (config.space or {}).get(owner, {}).items()
    }
    given = {(owner, name): config.settings[owner][name] for owner, name in space}
    return Search(config.tune, space, given, base, seed)


def propose(search: Search, trials: Sequence[Trial]) -> dict[str, dict[str, Any]]:
    """Settings of the next trial after `trials`; the same for the same arguments.

    Optuna's tree-structured Parzen estimator (Bergstra et al. 2011): random at first, then
    mostly where earlier trials went well.
    """
    if not trials or not search.space:
        chosen: Mapping[tuple[str, str], Any] = search.given
    else:
        chosen = _sampled(search, trials)
    found: dict[str, dict[str, Any]] = {o: dict(s) for o, s in search.base.items()}
    for (owner, name), value in chosen.items():
        found.setdefault(owner, {})[name] = value
    return found


def _sampled(search: Search, trials: Sequence[Trial]) -> dict[tuple[str, str], Any]:
    optuna = _optuna()
    # A sampler of its own for every trial: where one left off needs not be stored.
    sequence = np.random.SeedSequence([search.seed, len(trials)])
    sampler = optuna.samplers.TPESampler(seed=int(sequence.generate_state(1)[0]))
    distributions = {".".join(key): _distribution(s) for key, s in search.space.items()}
    with _silent(optuna):
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for trial in trials:
            values = {
                (owner, name): trial.settings[owner][name]
                for (owner, name), s in search.space.items()
                if s.contains(trial.settings[owner][name])  # what was given may lie outside
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
