"""Paths of folders that tests use."""

from __future__ import annotations

import os
from pathlib import Path

HELPERS = Path(__file__).parent
TESTS = HELPERS.parent
ROOT = TESTS.parent


def with_helpers() -> dict[str, str]:
    """Return the environment of a process that imports helpers, and fusion like this process."""
    paths = [str(HELPERS), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
