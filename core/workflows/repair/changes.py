"""Configuration changes of a remedy, and the trainings that the changed run shares with others."""

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

_OF_FUSED = ("start", "finetune", "branch_rate")  # settings that only the fused model uses


def changed(config: RunConfig, offer: Prescription) -> RunConfig:
    """Return `config` with the changes of a remedy, without the settings of replaced methods.

    A run stores every parameter of its strategy, balancers and branches. If a remedy replaces a
    method or branch, the parameters of the old method or branch would not fit the new method.
    """
    strategy = offer.strategy or config.strategy
    balancers = config.balancers if offer.balancers is None else offer.balancers
    replaced = {config.strategy, *config.balancers} - {strategy, *balancers}
    replaced |= {
        f"branch.{m}" for m, name in offer.branches.items() if config.branches.get(m) != name
    }
    settings: dict[str, dict[str, Any]] = {
        owner: dict(values) for owner, values in config.settings.items() if owner not in replaced
    }
    for owner, values in offer.settings.items():
        settings[owner] = {**settings.get(owner, {}), **values}
    return replace(
        config,
        strategy=strategy,
        balancers=balancers,
        branches={**config.branches, **offer.branches},
        settings=settings,
    )


def words_for(before: RunConfig, after: RunConfig) -> list[str]:
    """Return the differences between two configurations as options of ``fusion run``."""
    words: list[str] = []
    if after.strategy != before.strategy:
        words.append(f"--strategy {after.strategy}")
    if after.balancers != before.balancers:
        words += [f"--balance {name}" for name in after.balancers or ("none",)]
    for m, name in after.branches.items():
        if before.branches.get(m) != name:
            words.append(f"--branch {m}={name}")
    for owner, values in after.settings.items():
        previous = before.settings.get(owner)
        for name, value in values.items():
            if (previous or {}).get(name) != value:
                words.append(f"--set {owner}.{name}={as_text(value)}")
    return words


def share_alike(target: Run, sources: Sequence[Run]) -> None:
    """Link finished single-modality trainings and controls that `target` also needs into `target`.

    All steps of a repair have the same clips and seed. The training of a modality is therefore
    the same if its branch and all training settings are the same. The control is the same if the
    trainings of all modalities are the same and both controls have the same number of epochs.
    """
    wanted = _recipes(target)
    for other in sources:
        recipes = _recipes(other)
        alike = {name for name, recipe in recipes.items() if wanted.get(name) == recipe}
        same_length = target.record.control == other.record.control
        if alike == set(wanted) == set(recipes) and same_length:
            alike.add(CONTROL)
        for training in all_trainings(other):
            if training.model in alike and other.finished(training.name):
                share_training(other, target, training.name)


def _recipes(run: Run) -> Mapping[str, Any]:
    """Return all settings that decide the weights of each single-modality model, by modality."""
    record = run.record
    training = {k: v for k, v in record.training.items() if k not in _OF_FUSED}
    return {
        branch.modality.name: (branch, training, record.model.dim)
        for branch in record.model.branches
        if branch.modality.name != FUSED
    }
