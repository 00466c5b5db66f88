"""Grid of a comparison: methods (cells), seeds and budget."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..contracts.errors import ParameterError, PluginError
from ..registry.parameters import bind, make
from ..registry.registry import Registry
from ..runs.balancing import control_epochs, needs_baselines
from ..runs.config import RunConfig
from ..runs.plan import Plan, make_plan
from ..training.hardware.device import choose_device

RATE_CONTROL = 3.0  # factor on the learning rate in the control "3x lr"


@dataclass(frozen=True, slots=True)
class Cell:
    """One method of a comparison.

    Attributes
    ----------
    strategy : str
        Fusion strategy.
    balancers : tuple of str
        Balancers, in the order in which they act.
    rate : float
        Factor on the learning rate.
    control : bool
        Whether the cell is a control: a reference that the user did not request.
    """

    strategy: str
    balancers: tuple[str, ...] = ()
    rate: float = 1.0
    control: bool = False

    @property
    def balance(self) -> str:
        """Balancers and rate factor as text: ``"none"``, ``"pretrain+ogm_ge"``, ``"3x lr"``."""
        rate = [] if self.rate == 1 else [f"{self.rate:g}x lr"]
        return "+".join([*self.balancers, *rate]) or "none"

    @property
    def name(self) -> str:
        """Name of the method: ``"gated + ogm_ge"``; ``"gated"`` without a balancer."""
        return self.strategy if self.balance == "none" else f"{self.strategy} + {self.balance}"

    @property
    def folder(self) -> str:
        """Name of the cell's run directory in the folder of a seed."""
        return re.sub(r"[^A-Za-z0-9_.+-]+", "_", f"{self.strategy}+{self.balance}")

    @property
    def plain(self) -> bool:
        """True if the cell trains its strategy without balancers, at the usual learning rate."""
        return not self.balancers and self.rate == 1


@dataclass(frozen=True, slots=True)
class Budget:
    """Limit on the length of every training; without a limit, ``train.epochs`` applies.

    Attributes
    ----------
    steps : int or None
        Optimiser steps per training. A fused model that starts from its baselines takes
        ``train.finetune`` times as many steps.
    minutes : float or None
        Minutes for the whole comparison. Every training gets the same number of epochs.
    """

    steps: int | None = None
    minutes: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Return the budget of a text such as ``"600"``, ``"600 steps"``, ``"30min"`` or ``"2h"``.

        Raises
        ------
        ParameterError
            If the text is not a budget.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(steps?|min(?:utes?)?|m|h|hours?)?\s*", text)
        number = float(match[1]) if match else 0.0
        unit = (match[2] or "steps") if match else ""
        if number <= 0 or (unit.startswith("step") and number != int(number)):
            raise ParameterError(
                f"--budget must be steps per training or a total time, and is {text!r}.",
                hint="For example: --budget 600, --budget 30min, --budget 2h",
            )
        if unit.startswith("step"):
            return cls(steps=int(number))
        return cls(minutes=number * (60 if unit.startswith("h") else 1))


@dataclass(frozen=True)
class Request:
    """Request for a comparison.

    Attributes
    ----------
    config : RunConfig
        Configuration that all cells share. The strategy and balancers in `config` are ignored.
    cells : tuple of Cell
        Methods, controls included.
    seeds : tuple of int
        Seeds. Every cell is trained once per seed, on the same split.
    budget : Budget
        Length of every training.
    devices : tuple of str
        Devices. Cells are assigned to the devices in turn. Empty means the device of `config`.
    """

    config: RunConfig
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    budget: Budget = Budget()
    devices: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the request as plain values."""
        return {
            "config": self.config.to_json(),
            "cells": [asdict(cell) for cell in self.cells],
            "seeds": list(self.seeds),
            "budget": asdict(self.budget),
            "devices": list(self.devices),
        }


def make_cells(
    strategies: Sequence[str],
    balancers: Sequence[str],
    registry: Registry,
    *,
    controls: bool,
    tuned: bool = False,
) -> tuple[Cell, ...]:
    """Return the cells of every strategy with every choice of balancers, and the controls.

    Parameters
    ----------
    strategies : sequence of str
        Names of strategies.
    balancers : sequence of str
        Choices of balancers, each ``"none"``, a name, or several composed names as in
        ``"pretrain+ogm_ge"``.
    controls : bool
        Whether to add controls for each strategy: plain training, plain training at three times
        the learning rate, and every balancer whose class declares it a control.
    tuned : bool
        Whether learning rates are tuned. If so, the control at three times the learning rate is
        left out.

    Raises
    ------
    UnknownNameError
        If a strategy or balancer does not exist.
    ParameterError
        If strategies or balancers are empty, or one is named twice.
    """
    if not strategies or not balancers:
        raise ParameterError(
            "A comparison needs one or more strategies, and one or more choices of balancers."
        )
    chosen = [_composition(text, registry) for text in balancers]
    for kind, names in (("strategy", strategies), ("balancer", chosen)):
        for name in names:
            if list(names).count(name) > 1:
                shown = name if isinstance(name, str) else "+".join(name) or "none"
                raise ParameterError(f"The {kind} {shown!r} is named twice.")
    cells: list[Cell] = []
    for strategy in strategies:
        registry.strategy(strategy)
        requested = [Cell(strategy, names) for names in chosen]
        candidates = [Cell(strategy, control=True)]
        candidates += [] if tuned else [Cell(strategy, rate=RATE_CONTROL, control=True)]
        candidates += [
            Cell(strategy, (entry.name,), control=True)
            for entry in registry.entries("balancer")
            if getattr(entry.cls, "control", False)
        ]
        methods = {(cell.balancers, cell.rate) for cell in requested}
        more = [cell for cell in candidates if (cell.balancers, cell.rate) not in methods]
        cells += [*requested, *(more if controls else [])]
    return tuple(cells)


def _composition(text: str, registry: Registry) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split("+") if part.strip() not in ("", "none"))
    for name in names:
        registry.balancer(name)
    return names


@dataclass(frozen=True)
class PlannedGrid:
    """Cells that can be trained, and the reasons that exclude other cells.

    Attributes
    ----------
    plans : dict
        Plan of each cell that can be trained, for the first seed.
    refused : dict
        Message of the error that excluded a cell, by cell.
    """

    plans: dict[Cell, Plan]
    refused: dict[Cell, str]

    @property
    def first(self) -> Plan:
        """Plan of the first cell."""
        return next(iter(self.plans.values()))

    @property
    def plainest(self) -> Cell:
        """First cell of plain training; if no cell has plain training, the first cell."""
        return next((cell for cell in self.plans if cell.plain), next(iter(self.plans)))

    def alone(self, registry: Registry) -> Cell:
        """Return the cell whose configuration trains the baselines and the shared control.

        The plainest cell is returned if it needs a control, or if no cell needs a control.
        Otherwise, a cell that needs the most common control is returned.
        """
        lengths = {
            cell: control_epochs(plan.config, registry)
            for cell, plan in self.plans.items()
            if cell.rate == 1
        }
        common = Counter(epochs for epochs in lengths.values() if epochs).most_common(1)
        if lengths.get(self.plainest) or not common:
            return self.plainest
        return next(cell for cell, epochs in lengths.items() if epochs == common[0][0])


def plan_grid(request: Request, registry: Registry) -> PlannedGrid:
    """Check every cell before features are extracted and models are trained.

    Raises
    ------
    UserError
        If the request is invalid for all cells, or no cell can be trained.
    """
    _check_settings(request, registry)
    plans: dict[Cell, Plan] = {}
    refused: dict[Cell, str] = {}
    hint: str | None = None
    for number, cell in enumerate(request.cells):
        config = cell_config(request, cell, number, request.seeds[0])
        first = next(iter(plans.values()), None)
        try:
            plans[cell] = make_plan(config, registry, like=first)
        except (ParameterError, PluginError) as error:
            hint = hint if refused else error.hint  # keep the hint of the first refused cell
            refused[cell] = error.message
    if not plans:
        cell, reason = next(iter(refused.items()))
        raise ParameterError(
            f"No cell of the comparison can be trained. {cell.name}: {reason}", hint=hint
        )
    return PlannedGrid(plans, refused)


def cell_config(request: Request, cell: Cell, number: int, seed: int) -> RunConfig:
    """Return the configuration of one cell on one seed.

    The `number` of the cell decides its device.
    """
    base = request.config
    used = _methods(cell)
    all_methods = _methods_of_all(request.cells)
    settings = {
        owner: dict(values)
        for owner, values in base.settings.items()
        if owner in used or owner not in all_methods
    }
    if cell.rate != 1:
        train = settings.setdefault("train", {})
        train["lr"] = base.train.lr * cell.rate
    return replace(
        base,
        strategy=cell.strategy,
        balancers=cell.balancers,
        settings=settings,
        seed=seed,
        split_seed=base.seed if base.split_seed is None else base.split_seed,
        device=request.devices[number % len(request.devices)] if request.devices else base.device,
    )


def reads_of(config: RunConfig, registry: Registry) -> tuple[str, ...]:
    """Return inputs of a method other than training clips: ``"baselines"``, ``"validation"``.

    The training of the baselines is an additional cost of a fused model that starts from them. The
    validation score of a method that learns from validation clips is optimistic.

    Parameters
    ----------
    config : RunConfig
        Configuration of the method's cell (:func:`cell_config`).
    """
    strategy = registry.strategy(config.strategy)
    balancers = [registry.balancer(name) for name in config.balancers]
    flags = {
        "baselines": needs_baselines(config, registry),
        "validation": strategy.reads_validation or any(b.reads_validation for b in balancers),
    }
    return tuple(name for name, reads in flags.items() if reads)


def _methods(cell: Cell) -> set[str]:
    return {cell.strategy, *cell.balancers}


def _methods_of_all(cells: Iterable[Cell]) -> set[str]:
    return {name for cell in cells for name in _methods(cell)}


def _check_settings(request: Request, registry: Registry) -> None:
    """Raise if a setting is invalid in every cell that uses it.

    Without this check, an invalid setting would only exclude the cells that use the setting.
    """
    _ = request.config.train  # raises for a mistyped setting of training
    settings = request.config.settings
    if request.budget != Budget() and "epochs" in settings.get("train", {}):
        raise ParameterError(
            "--budget and train.epochs can't be given together: both set the length of training.",
            hint="Leave out one of the two.",
        )
    for device in request.devices:
        choose_device(device)
    for strategy in {cell.strategy for cell in request.cells} & set(settings):
        bind(registry.strategy(strategy), settings[strategy], owner=strategy)
    for balancer in {name for cell in request.cells for name in cell.balancers} & set(settings):
        make(registry.balancer(balancer), settings=settings[balancer], owner=balancer)
