"""Tracker that writes every event of a run as one line of JSON; enabled by default."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from ...core.contracts import Tracker, hookimpl
from ...core.toolkit.run_files import open_log


class JSONL(Tracker):
    """File ``metrics.jsonl`` in the run directory, with one line per epoch of each training."""

    name = "jsonl"
    default = True

    def __init__(self) -> None:
        self._file: TextIO | None = None

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        # Line buffering, so that the file is complete when a run is killed.
        self._file = open_log(run / "metrics.jsonl", "w")

    def epoch(self, event: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(event) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@hookimpl
def fusion_trackers() -> list[type[Tracker]]:
    return [JSONL]
