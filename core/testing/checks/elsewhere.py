"""What an extractor computes in a process of its own, as the workers of a build do."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ...contracts import Recording
from ...data.extraction import Extraction

# The path first: what is pickled may come from anywhere on it.
_SCRIPT = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    sys.path[:] = pickle.load(file)
    import importlib
    importlib.import_module({module!r}).compute(file, sys.argv[2])
"""


def computed_elsewhere(
    extraction: Extraction, recordings: Sequence[Recording]
) -> list[npt.NDArray[Any]] | str:
    """The arrays of the recordings; or what went wrong, for people."""
    with tempfile.TemporaryDirectory() as folder:
        work, out = Path(folder, "work"), Path(folder, "out")
        with work.open("wb") as file:
            pickle.dump(sys.path, file)
            pickle.dump((extraction, list(recordings)), file)
        script = _SCRIPT.format(module=__name__)
        command = [sys.executable, "-c", script, str(work), str(out)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode or not out.is_file():
            last = (ended.stderr.strip() or "it ended without a word").splitlines()[-1]
            return f"the process ended with code {ended.returncode}: {last}"
        found: list[npt.NDArray[Any]] | str = pickle.loads(out.read_bytes())
        return found


def compute(work: Any, out: str) -> None:
    """In the other process: do the work and leave the arrays, or the error, in a file."""
    found: list[npt.NDArray[Any]] | str
    try:
        with contextlib.redirect_stdout(sys.stderr):
            extraction, recordings = pickle.load(work)
            found = [extraction.compute(recording) for recording in recordings]
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    Path(out).write_bytes(pickle.dumps(found))
