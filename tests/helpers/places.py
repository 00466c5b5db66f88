"""Where things lie that tests run or read."""

from __future__ import annotations

import os
from pathlib import Path

HELPERS = Path(__file__).parent
TESTS = HELPERS.parent
ROOT = TESTS.parent


def with_helpers() -> dict[str, str]:
    """The environment of a process that imports what is in the folder of helpers, and fusion from
    where this process has it."""
    paths = [str(HELPERS), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
