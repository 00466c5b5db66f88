"""Base class of trackers, which receive the events of a run as they happen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .data import Plugin


class Tracker(Plugin):
    """Receiver of the events of one run, in order, in the parent process.

    A resumed run sends the events of its finished epochs again, so a tracker always
    receives the whole run from the start. A tracker that appends to the records of a service
    skips the events that it has sent before (:class:`fusion.core.toolkit.tracking.Sent`).

    fusion creates a tracker twice: when fusion checks the request, and when the run starts.
    ``__init__`` raises an error if the tracker can't work, for instance if a package is not
    installed. A tracker prints nothing to standard output, which is reserved for results.
    """

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        """Open the tracker for a run directory and its configuration.

        This method is called once, before the first training.
        """

    def epoch(self, event: Mapping[str, Any]) -> None:
        """Record the metrics of one epoch of one training.

        `event` contains ``training`` (for instance ``"fold0/mel"``), ``epoch`` (from 1), in a
        tuned run ``trial`` (from 0), and the epoch's metrics. All values are JSON-serialisable:
        a number, None for an undefined number, text, or a nested list or dict. Trainings run in
        parallel, so their events are interleaved. Do not change `event`: all trackers receive the
        same mapping.
        """

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Record the final results; called once, unless the run fails."""

    def close(self) -> None:
        """Release all resources; called last, whether the run finished, failed or was interrupted.

        This method is called even if another method failed, `start` included. If `finish` was not
        called before, the run failed or was interrupted. A service that displays runs should then
        no longer show the run as running.
        """
