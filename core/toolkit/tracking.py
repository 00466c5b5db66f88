"""Tools for trackers: flat events, configurations and results, and a record of sent epochs.

An event (:meth:`fusion.core.contracts.Tracker.epoch`) has all data of an epoch. A service that
draws curves needs the numbers in the event, and a name for the curve of each training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..contracts.errors import RunError
from .run_files import read_json, write_json

_KEYS = ("training", "epoch", "trial")  # keys that identify an event, and hold no measured value


def curve_of(event: Mapping[str, Any]) -> str:
    """Return the name of the curve that an event belongs to.

    Each trial of a training is a separate curve, because every trial starts from epoch 1.

    >>> curve_of({"training": "fold0/mel", "epoch": 3})
    'fold0/mel'
    >>> curve_of({"training": "fold0/mel", "epoch": 3, "trial": 2})
    'fold0/mel/trial2'
    """
    trial = event.get("trial")
    return event["training"] if trial is None else f"{event['training']}/trial{trial}"


def scalars_of(event: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that were measured in an epoch, by name.

    Undefined values (None, NaN, infinity), text and nested values (figures by layer) are left out.
    The run directory has all values.

    >>> scalars_of({"training": "fold0/mel", "epoch": 1, "val_uar": 0.5, "val_loss": None,
    ...             "layers": {"mel": {"embed": [0.3, 0.01]}}})
    {'val_uar': 0.5}
    """
    return {
        name: float(value)
        for name, value in event.items()
        if name not in _KEYS
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }


def flat(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Flatten a configuration to one level of parameters, with nested names joined by dots.

    Lists become text. Values that are None or empty are left out.

    >>> flat({"seed": 0, "features": ["mel", "f0"], "folds": None, "settings": {"mel": {"hop": 2}}})
    {'seed': 0, 'features': 'mel, f0', 'settings.mel.hop': 2}
    """
    parameters: dict[str, bool | int | float | str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            parameters |= {f"{name}.{inner}": v for inner, v in flat(value).items()}
        elif isinstance(value, list | tuple):
            if text := ", ".join(str(item) for item in value):
                parameters[name] = text
        elif isinstance(value, bool | int | float | str):
            if value != "":
                parameters[name] = value
        elif value is not None:
            parameters[name] = str(value)
    return parameters


def outcome_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the test figures of a finished run, by name.

    Every row of the table has ``test_uar/MODEL``, ``test_accuracy/MODEL`` and
    ``test_macro_f1/MODEL``. Every comparison has ``gain/MODEL``, a difference in UAR from -1 to 1,
    and ``p_value/MODEL``. All other figures are from 0 to 1. Undefined figures are left out.

    Parameters
    ----------
    summary : mapping
        Argument of :meth:`fusion.core.contracts.Tracker.finish`.
    """
    figures: dict[str, Any] = {}
    for model in summary["models"]:
        name = model["name"]
        figures[f"test_uar/{name}"] = model["uar"]["value"]
        figures[f"test_accuracy/{name}"] = model["accuracy"]["value"]
        figures[f"test_macro_f1/{name}"] = model["macro_f1"]
    for name, comparison in summary["comparisons"].items():
        figures[f"gain/{name}"] = comparison["difference"]
        figures[f"p_value/{name}"] = comparison["p_value"]
    return scalars_of(figures)


class Sent:
    """Record of the epochs that were sent to a service, in a file of the run directory.

    A resumed run passes its past epochs to the trackers again, and services append every epoch.
    Without this record every curve would have its points twice.

    Parameters
    ----------
    run : Path
        The run directory.
    file : str
        Name of the file in the run directory, e.g. ``"mlflow.json"``.

    Attributes
    ----------
    names : dict
        Names and ids that the service assigned; set by the tracker.
    """

    def __init__(self, run: Path, file: str) -> None:
        self._run = run
        self._file = file
        try:
            record: Mapping[str, Any] = read_json(run / file)
        except RunError:  # no epoch was sent, or the record is lost: send all epochs
            record = {}
        self.names: dict[str, str] = dict(record.get("names", {}))
        self._epochs: dict[str, int] = dict(record.get("epochs", {}))

    def is_new(self, event: Mapping[str, Any]) -> bool:
        """Return True if the epoch of this event was not sent yet."""
        epoch: int = event["epoch"]
        return epoch > self._epochs.get(curve_of(event), 0)

    def add(self, event: Mapping[str, Any]) -> None:
        """Record that the epoch of this event was sent, and save the record."""
        self._epochs[curve_of(event)] = event["epoch"]
        self.save()

    def forget(self) -> None:
        """Clear the record, because the service no longer has the run."""
        self.names.clear()
        self._epochs.clear()

    def save(self) -> None:
        """Write the record to its file, for a resumed run."""
        write_json(self._run, self._file, {"names": self.names, "epochs": self._epochs})
