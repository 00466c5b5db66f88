"""The cells of a comparison: which methods, on which seeds, under which budget."""

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

RATE_CONTROL = 3.0  # the control that trains plainly at so many times the learning rate
_SHARED = ("train",)  # settings of every cell, besides those of features and corpora


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
        Whether it is there to be compared with, and was not asked for.
    """

    strategy: str
    balancers: tuple[str, ...] = ()
    rate: float = 1.0
    control: bool = False

    @property
    def balance(self) -> str:
        """``"none"``, ``"ogm_ge"``, ``"pretrain+ogm_ge"``, ``"3x lr"``."""
        rate = [] if self.rate == 1 else [f"{self.rate:g}x lr"]
        return "+".join([*self.balancers, *rate]) or "none"

    @property
    def name(self) -> str:
        """``"gated + ogm_ge"``; ``"gated"`` without a balancer."""
        return self.strategy if self.balance == "none" else f"{self.strategy} + {self.balance}"

    @property
    def folder(self) -> str:
        """Its run directory in that of a seed."""
        return re.sub(r"[^A-Za-z0-9_.+-]+", "_", f"{self.strategy}+{self.balance}")

    @property
    def plain(self) -> bool:
        """Whether it is its strategy without anything."""
        return not self.balancers and self.rate == 1


@dataclass(frozen=True, slots=True)
class Budget:
    """How long every training may take.

    Attributes
    ----------
    steps : int or None
        Steps of the optimiser per training; a fused model that starts from its baselines takes
        ``train.finetune`` times as many.
    minutes : float or None
        For the whole comparison; every training gets the same number of epochs.
    """

    steps: int | None = None
    minutes: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """``"600"``, ``"600 steps"``, ``"30min"`` or ``"2h"``.

        Raises
        ------
        ParameterError
            If it is none of these.
        """
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(steps?|min(?:utes?)?|m|h|hours?)?\s*", text)
        number = float(found[1]) if found else 0.0
        unit = (found[2] or "steps") if found else ""
        if number <= 0 or (unit.startswith("step") and number != int(number)):
            raise ParameterError(
                f"--budget takes steps per training or minutes in all, and was given {text!r}.",
                hint="For example: --budget 600, --budget 30min, --budget 2h",
            )
        if unit.startswith("step"):
            return cls(steps=int(number))
        return cls(minutes=number * (60 if unit.startswith("h") else 1))


@dataclass(frozen=True)
class Request:
    """What a comparison was asked for.

    Attributes
    ----------
    config : RunConfig
        What all cells share; its strategy and balancers mean nothing.
    cells : tuple of Cell
        Methods, controls included.
    seeds : tuple of int
        Every cell is trained once per seed, on the same split.
    budget : Budget
        Nothing in it: ``train.epochs`` of the configuration.
    devices : tuple of str
        Cells are dealt out to them in turn; empty means the configuration's.
    """

    config: RunConfig
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    budget: Budget = Budget()
    devices: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
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
    """Every strategy with every choice of balancers, and the controls.

    Parameters
    ----------
    strategies : sequence of str
        Names.
    balancers : sequence of str
        Each ``"none"``, a name, or several composed, as in ``"pretrain+ogm_ge"``.
    controls : bool
        Whether to add for each strategy what papers leave out: the plain training, the same
        with three times the learning rate, and the balancers that call themselves controls.
    tuned : bool
        Whether learning rates are searched for: then three times the rate is no control.

    Raises
    ------
    UnknownNameError
        For a strategy or balancer that is not there.
    ParameterError
        If nothing is named, or something twice.
    """
    if not strategies or not balancers:
        raise ParameterError("A comparison needs one strategy and one balancer (or none) at least.")
    chosen = [_composition(text, registry) for text in balancers]
    for kind, names in (("strategy", strategies), ("balancer", chosen)):
        for name in names:
            if list(names).count(name) > 1:
                shown = name if isinstance(name, str) else "+".join(name) or "none"
                raise ParameterError(f"The {kind} {shown!r} is named twice.")
    cells: list[Cell] = []
    for strategy in strategies:
        registry.strategy(strategy)
        asked = [Cell(strategy, names) for names in chosen]
        also = [Cell(strategy, control=True)]
        also += [] if tuned else [Cell(strategy, rate=RATE_CONTROL, control=True)]
        also += [
            Cell(strategy, (entry.name,), control=True)
            for entry in registry.entries("balancer")
            if getattr(entry.cls, "control", False)
        ]
        known = {(cell.balancers, cell.rate) for cell in asked}
        more = [cell for cell in also if (cell.balancers, cell.rate) not in known]
        cells += [*asked, *(more if controls else [])]
    return tuple(cells)


def _composition(text: str, registry: Registry) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split("+") if part.strip() not in ("", "none"))
    for name in names:
        registry.balancer(name)
    return names


@dataclass(frozen=True)
class PlannedGrid:
    """The cells that can be trained, and why the others can't.

    Attributes
    ----------
    plans : dict
        Cell -> its plan, of the first seed.
    refused : dict
        Cell -> the reason, in the words of whoever refused.
    """

    plans: dict[Cell, Plan]
    refused: dict[Cell, str]

    @property
    def first(self) -> Plan:
        return next(iter(self.plans.values()))

    @property
    def plainest(self) -> Cell:
        """Stands for what all cells share: one without any method, if there is."""
        return next((cell for cell in self.plans if cell.plain), next(iter(self.plans)))

    def alone(self, registry: Registry) -> Cell:
        """Return the cell whose configuration trains the baselines and the shared control.

        This is the plainest cell; if that needs no control, one of the cells that need the most
        common control.
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
    """Check every cell before the long work starts.

    Raises
    ------
    UserError
        If the request is wrong for all cells alike, or no cell can be trained.
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
            hint = hint if refused else error.hint  # of the first
            refused[cell] = error.message
    if not plans:
        cell, reason = next(iter(refused.items()))
        raise ParameterError(
            f"No cell of the comparison can be trained. {cell.name}: {reason}", hint=hint
        )
    return PlannedGrid(plans, refused)


def cell_config(request: Request, cell: Cell, number: int, seed: int) -> RunConfig:
    """The configuration of one cell on one seed."""
    base = request.config
    used = _owners(cell)
    everyone = _everyone(request.cells)
    settings = {
        owner: dict(given)
        for owner, given in base.settings.items()
        if owner in used or owner not in everyone
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
    """Return what a method reads besides the training clips: ``"baselines"``, ``"validation"``.

    A fused model that starts from baselines has had their training too. The validation score of
    a method that looked at validation is flattered.

    Parameters
    ----------
    config : RunConfig
        Configuration of the method's cell (:func:`cell_config`).
    """
    strategy = registry.strategy(config.strategy)
    balancers = [registry.balancer(name) for name in config.balancers]
    found = {
        "baselines": needs_baselines(config, registry),
        "validation": strategy.reads_validation or any(b.reads_validation for b in balancers),
    }
    return tuple(name for name, reads in found.items() if reads)


def _owners(cell: Cell) -> set[str]:
    return {cell.strategy, *cell.balancers}


def _everyone(cells: Iterable[Cell]) -> set[str]:
    return {owner for cell in cells for owner in _owners(cell)}


def _check_settings(request: Request, registry: Registry) -> None:
    """Raise for what is a mistake whatever the cell: it would only leave some of them out."""
    _ = request.config.train  # a mistyped train.lr shows as what it is
    given = request.config.settings
    if request.budget != Budget() and "epochs" in given.get("train", {}):
        raise ParameterError(
            "--budget and train.epochs both say how long to train.", hint="Leave one of them out."
        )
    for device in request.devices:
        choose_device(device)
    for strategy in {cell.strategy for cell in request.cells} & set(given):
        bind(registry.strategy(strategy), given[strategy], owner=strategy)
    for balancer in {name for cell in request.cells for name in cell.balancers} & set(given):
        make(registry.balancer(balancer), settings=given[balancer], owner=balancer)
