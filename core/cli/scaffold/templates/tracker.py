"""A tracker: the figures of every epoch as one table."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from fusion import ParameterError, Tracker, hookimpl
from fusion.core.toolkit.tracking import curve_of, scalars_of

api_version = 1


class MyPlugin(Tracker):
    """Writes ``my_plugin.csv`` into the run directory: training, epoch, metric, value.

    One row per figure, since trainings have different figures: what pandas calls long. It is
    complete up to the last epoch at any time, and after ``fusion run --resume`` too.

    Parameters
    ----------
    metrics : tuple of str
        Names of the figures to keep, e.g. ``val_uar,train_loss``; empty keeps all.
    """

    name = "my_plugin"

    def __init__(self, *, metrics: tuple[str, ...] = ()) -> None:
        if "" in metrics:
            raise ParameterError(f"{self.name}.metrics has an empty name: {metrics}.")
        self.metrics = metrics
        self._file: TextIO | None = None

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        # From the start each time: a run that is taken up sends its past epochs again.
        # Line buffering: what has happened is on disk when a run is killed.
        path = run / f"{self.name}.csv"
        self._file = path.open("w", encoding="utf-8", newline="", buffering=1)
        csv.writer(self._file).writerow(("training", "epoch", "metric", "value"))

    def epoch(self, event: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        rows = csv.writer(self._file)
        for metric, value in scalars_of(event).items():
            if not self.metrics or metric in self.metrics:
                rows.writerow((curve_of(event), event["epoch"], metric, value))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@hookimpl
def fusion_trackers() -> list[type[Tracker]]:
    return [MyPlugin]
