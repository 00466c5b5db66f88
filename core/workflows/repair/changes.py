"""A prescription carried out on a configuration, and what it shares with runs before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...contracts import Prescription
from ...registry.parameters import as_text
from ...runs.config import RunConfig
from ...runs.run import Run
from ...runs.trainings import CONTROL, FUSED, all_trainings
from ..shared_baselines import share_training

_OF_FUSED = ("start", "finetune", "branch_rate")  # settings of the fused model's training alone


def changed(config: RunConfig, offer: Prescription) -> RunConfig:
    """The configuration with what a remedy changes; settings of what is left out go with it.

    A run stores every parameter of everything in use; those of a branch or method that takes
    another's place are not its own.
    """
    strategy = offer.strategy or config.strategy
    balancers = config.balancers if offer.balancers is None else offer.balancers
    left = {config.strategy, *config.balancers} - {strategy, *balancers}
    left |= {f"branch.{m}" for m, name in offer.branches.items() if config.branches.get(m) != name}
    settings: dict[str, dict[str, Any]] = {
        owner: dict(given) for owner, given in config.settings.items() if owner not in left
    }
    for owner, given in offer.settings.items():
        settings[owner] = {**settings.get(owner, {}), **given}
    return replace(
        config,
        strategy=strategy,
        balancers=balancers,
        branches={**config.branches, **offer.branches},
        settings=settings,
    )


def words_for(before: RunConfig, after: RunConfig) -> list[str]:
    """What differs between two configurations, as options of ``fusion run``."""
    words: list[str] = []
    if after.strategy != before.strategy:
        words.append(f"--strategy {after.strategy}")
    if after.balancers != before.balancers:
        words += [f"--balance {name}" for name in after.balancers or ("none",)]
    for m, name in after.branches.items():
        if before.branches.get(m) != name:
            words.append(f"--branch {m}={name}")
    for owner, given in after.settings.items():
        known = before.settings.get(owner)
        for name, value in given.items():
            if (known or {}).get(name) != value:
                words.append(f"--set {owner}.{name}={as_text(value)}")
    return words


def share_alike(target: Run, others: Sequence[Run]) -> None:
    """Give `target` the finished single-modality trainings and controls that it would repeat.

    One of another run is the same when its branch and all settings of training are: the clips
    and the seed are those of all steps. Its control is the same when all modalities are, and it
    has as many epochs.
    """
    wanted = _recipes(target)
    for other in others:
        found = _recipes(other)
        alike = {name for name, recipe in found.items() if wanted.get(name) == recipe}
        same_length = target.record.control == other.record.control
        if alike == set(wanted) == set(found) and same_length:
            alike.add(CONTROL)
        for training in all_trainings(other):
            if training.model in alike and other.finished(training.name):
                share_training(other, target, training.name)


def _recipes(run: Run) -> Mapping[str, Any]:
    """Return modality -> everything that decides the weights of its single-modality model."""
    record = run.record
    training = {k: v for k, v in record.training.items() if k not in _OF_FUSED}
    return {
        branch.modality.name: (branch, training, record.model.dim)
        for branch in record.model.branches
        if branch.modality.name != FUSED
    }
