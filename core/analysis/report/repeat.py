"""Section on reproducing a run: command line, versions, seeds and digests."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ...contracts.errors import FusionError
from ...contracts.train_config import TrainConfig
from ...registry.parameters import as_text, bind
from ...registry.registry import HOOKS, Registry
from ...runs.config import RunConfig
from .run_data import ReadRun

_SHORT = {"epochs": "--epochs", "batch_size": "--batch-size", "lr": "--lr"}  # for train.NAME


def facts(run: ReadRun) -> list[list[str]]:
    """Return rows of versions, seeds, digests and fingerprints: name and value."""
    record, config = run.record, run.config
    split_seed = config.seed if config.split_seed is None else config.split_seed
    return [
        ["run directory", str(run.path.absolute())],
        ["created", record.created],
        ["seed of weights and batch order", str(config.seed)],
        ["seed of the split", str(split_seed)],
        *([f"split, fold {fold}", digest] for fold, digest in enumerate(record.split.digests)),
        *([f"feature {m}", feature.id] for m, feature in record.features.items()),
        *([name, number] for name, number in record.versions.items()),
        *([name, value] for name, value in record.machine.items()),
    ]


def command_line(run: ReadRun, registry: Registry | None) -> str:
    """Return the command that reproduces a run, without settings that have their default value.

    If a plugin can't be loaded, its defaults are unknown, and the command contains all settings of
    the plugin.
    """
    config = run.config
    arguments = ["fusion", "run"]
    for flag, values in (
        ("-p", config.plugins),
        ("--data", config.data),
        ("--balance", config.balancers),
        ("--branch", [f"{m}={branch}" for m, branch in config.branches.items()]),
        ("--dtype", [d if f == "*" else f"{f}={d}" for f, d in config.dtypes.items()]),
        ("--tracker", config.trackers),
        ("--column", [f"{role}={name}" for role, name in config.columns.items()]),
        ("--ignore-column", config.ignored_columns),
        ("--map-label", [f"{own}={new}" for own, new in config.label_map.items()]),
    ):
        for value in values:
            arguments += [flag, value]
    arguments += ["--features", ",".join(config.features), "--strategy", config.strategy]
    plain = RunConfig(())
    for name in ("labels", "split", "folds", "seed", "device", "cache", "verify", "adapt"):
        if getattr(config, name) != getattr(plain, name):
            arguments += [f"--{name}", str(getattr(config, name))]
    arguments += ["--strict"] if config.strict else []
    arguments += ["--tune", str(config.tune)] if config.tune else []
    for owner, settings in config.settings.items():
        default = _defaults(run, owner, registry)
        for name, value in settings.items():
            if name not in default or as_text(default[name]) != as_text(value):
                arguments += _setting(owner, name, as_text(value))
    return shlex.join(arguments)


def _setting(owner: str, name: str, value: str) -> list[str]:
    """Return the command-line arguments that set a parameter."""
    if owner == "train" and name in _SHORT:
        return [_SHORT[name], value]
    return ["--set", f"{owner}.{name}={value}"]


def _defaults(run: ReadRun, owner: str, registry: Registry | None) -> Mapping[str, Any]:
    """Return the default parameters of a plugin, a branch or ``train``; empty if unknown."""
    if owner == "train":
        return asdict(TrainConfig())
    if registry is None:
        return {}
    try:
        if owner.startswith("branch."):
            return _branch_defaults(run, owner.removeprefix("branch."), registry)
        kinds = [entry for kind in HOOKS for entry in registry.entries(kind)]
        cls = next((entry.cls for entry in kinds if entry.name == owner), None)
        return {} if cls is None else bind(cls, {}, owner=owner)
    except FusionError:
        return {}


def _branch_defaults(run: ReadRun, modality: str, registry: Registry) -> Mapping[str, Any]:
    """Return a branch's default parameters, with the values that the extractor recommends."""
    branches = run.record.model.branches
    branch = next(b.branch for b in branches if b.modality.name == modality)
    extractor = registry.extractor(modality)
    advice = extractor.default_branch_parameters if branch == extractor.default_branch else {}
    return bind(registry.branch(branch), advice, owner=f"branch.{modality}")
