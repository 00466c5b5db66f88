"""Trackers: where the events of a run are written while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .data import Plugin


class Tracker(Plugin):
    """Receives the events of one run, in order, in the parent process.

    A resumed run sends the events of its finished epochs again, so a tracker always
    sees the whole run from the start. One that adds to what a service has already skips
    what was sent (:class:`fusion.core.toolkit.tracking.Sent`).

    A tracker is made twice: when the request is checked, where ``__init__`` refuses what can't
    work (a package that is not installed), and when the run starts. It prints nothing to
    standard output, where results go.
    """

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        """Called once before the first training, with the run directory and configuration."""

    def epoch(self, event: Mapping[str, Any]) -> None:
        """Called after each epoch of each training.

        `event` holds ``training`` (for instance ``"fold0/mel"``), ``epoch`` (from 1), in a
        tuned run ``trial`` (from 0), and the epoch's metrics, all JSON-serialisable: a number,
        None where it is undefined, text, or something nested. Trainings run side by side, so
        their events come mixed. The same mapping goes to every tracker: don't change it.
        """

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Called once with the final results; not called when the run fails."""

    def close(self) -> None:
        """Called last in any case: after `finish`, or when the run failed or was interrupted.

        Also when one of the other methods failed, `start` included. A run whose `finish` was
        not called is not finished: a service that shows runs should not show it as running.
        """
