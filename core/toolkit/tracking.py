"""Tools for trackers: what an event, a configuration and a result are made of, and what was sent.

An event (:meth:`fusion.core.contracts.Tracker.epoch`) has everything that is known of an epoch.
A service that draws curves wants the numbers in it, and to know of which curve they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..contracts.errors import RunError
from .run_files import read_json, write_json

_PLACE = ("training", "epoch", "trial")  # of an event: where it belongs, not what was measured


def curve_of(event: Mapping[str, Any]) -> str:
    """Which curve an event is a point of.

    Trials of one training are curves of their own: each starts from epoch 1.

    >>> curve_of({"training": "fold0/mel", "epoch": 3})
    'fold0/mel'
    >>> curve_of({"training": "fold0/mel", "epoch": 3, "trial": 2})
    'fold0/mel/trial2'
    """
    trial = event.get("trial")
    return event["training"] if trial is None else f"{event['training']}/trial{trial}"


def scalars_of(event: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that were measured in an epoch, by name.

    Left out is what is undefined (None), text, and what is nested (figures by layer): the run
    directory has all of it.

    >>> scalars_of({"training": "fold0/mel", "epoch": 1, "val_uar": 0.5, "val_loss": None,
    ...             "layers": {"mel": {"embed": [0.3, 0.01]}}})
    {'val_uar': 0.5}
    """
    return {
        name: float(value)
        for name, value in event.items()
        if name not in _PLACE
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }


def flat(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """A configuration as one level of parameters: nested names joined by dots.

    Lists become text; what is not set (None) or empty is left out.

    >>> flat({"seed": 0, "features": ["mel", "f0"], "folds": None, "settings": {"mel": {"hop": 2}}})
    {'seed': 0, 'features': 'mel, f0', 'settings.mel.hop': 2}
    """
    found: dict[str, bool | int | float | str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": v for inner, v in flat(value).items()}
        elif isinstance(value, list | tuple):
            if text := ", ".join(str(item) for item in value):
                found[name] = text
        elif isinstance(value, bool | int | float | str):
            if value != "":
                found[name] = value
        elif value is not None:
            found[name] = str(value)
    return found


def outcome_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """The final figures of a run, on test, by name.

    ``test_uar/MODEL``, ``test_accuracy/MODEL`` and ``test_macro_f1/MODEL`` for every row of the
    table; ``gain/MODEL`` for its UAR minus that of the best single modality, and
    ``p_value/MODEL``. All are from 0 to 1, a gain from -1 to 1. An undefined figure is left out.

    Parameters
    ----------
    summary : mapping
        As :meth:`fusion.core.contracts.Tracker.finish` receives it.
    """
    found: dict[str, Any] = {}
    for model in summary["models"]:
        name = model["name"]
        found[f"test_uar/{name}"] = model["uar"]["value"]
        found[f"test_accuracy/{name}"] = model["accuracy"]["value"]
        found[f"test_macro_f1/{name}"] = model["macro_f1"]
    for name, comparison in summary["comparisons"].items():
        found[f"gain/{name}"] = comparison["difference"]
        found[f"p_value/{name}"] = comparison["p_value"]
    return scalars_of(found)


class Sent:
    """What a service was sent of a run, in a file of the run directory.

    A resumed run sends its past epochs again, and services add to what they have: without this
    every curve would have its points twice.

    Parameters
    ----------
    run : Path
        The run directory.
    file : str
        Name of the file in it, e.g. ``"mlflow.json"``.

    Attributes
    ----------
    names : dict
        What the service calls things: to be set by the tracker.
    """

    def __init__(self, run: Path, file: str) -> None:
        self._run = run
        self._file = file
        try:
            known: Mapping[str, Any] = read_json(run / file)
        except RunError:  # nothing was sent, or nobody knows what: everything is sent
            known = {}
        self.names: dict[str, str] = dict(known.get("names", {}))
        self._epochs: dict[str, int] = dict(known.get("epochs", {}))

    def is_new(self, event: Mapping[str, Any]) -> bool:
        """Whether that epoch was not sent yet."""
        epoch: int = event["epoch"]
        return epoch > self._epochs.get(curve_of(event), 0)

    def add(self, event: Mapping[str, Any]) -> None:
        """That epoch was sent."""
        self._epochs[curve_of(event)] = event["epoch"]
        self.save()

    def forget(self) -> None:
        """The service has nothing of this run any more."""
        self.names.clear()
        self._epochs.clear()

    def save(self) -> None:
        """Write it down, so that a run taken up again knows it."""
        write_json(self._run, self._file, {"names": self.names, "epochs": self._epochs})
