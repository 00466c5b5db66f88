"""Processes that begin at one moment, however long each took to start."""

from __future__ import annotations

import os
import time
from pathlib import Path


def wait_for_start(start: Path) -> None:
    """In a process of a pool: say that it is there, and wait for the others."""
    start.with_name(f"{start.name}.{os.getpid()}").touch()
    while not start.exists():
        time.sleep(0.001)


def start_together(start: Path, count: int) -> None:
    """Let `count` processes begin, once all are there."""
    while len(list(start.parent.glob(f"{start.name}.*"))) < count:
        time.sleep(0.01)
    start.touch()
