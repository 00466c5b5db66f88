"""Trackers: where the events of a run are written while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .data import Plugin


class Tracker(Plugin):
    """Receives the events of one run, in order, in the parent process.

    A resumed run sends the events of its finished epochs again, so a tracker always
    sees the whole run from the start.
    """

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        """Called once before the first training, with the run directory and configuration."""

    def epoch(self, event: Mapping[str, Any]) -> None:
        """Called after each epoch of each training.

        `event` holds ``training`` (for instance ``"fold0/mel"``), ``epoch`` (from 1) and
        the epoch's metrics, all JSON-serialisable.
        """

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Called once with the final results; not called when the run fails."""
