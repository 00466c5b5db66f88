"""The report of one run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from ...contracts.errors import FusionError, StorageError
from ...data.task import measured_on
from ...registry.registry import Registry
from ...runs.plan import make_extractors
from ...runs.run import Run
from .costs import clips, cost, inputs
from .examples import examples
from .learning import inside, learning
from .page import page, words
from .predictions import calibration, confusions, disagreements, speakers
from .repeat import repeat
from .run_data import ReadRun, read_run
from .verdict import findings, models, verdict

REPORT = "report.html"


def write_report(run: Run, out: Path | None = None) -> Path:
    """Write the report of a finished run: one HTML file that needs nothing else.

    Parameters
    ----------
    run : Run
        The run directory. Where one of the run's plugins is gone, what it would have drawn is
        left out.
    out : Path, optional
        The file; by default ``report.html`` in the run directory.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunError
        If the run is not finished.
    StorageError
        If the file can't be written.
    """
    return write_page(out or run.path / REPORT, report_page(read_run(run), registry_of(run)))


def report_page(run: ReadRun, registry: Registry | None) -> str:
    """The HTML of the report."""
    tested = measured_on(run.record.split.mode, run.config.adapt)
    corpora = ", ".join(run.record.corpora)
    return page(
        f"Fusion report: {run.path.absolute().name}",
        f"{', '.join(run.modalities)} fused by {run.label} on {corpora}, tested {tested}",
        [
            verdict(run),
            models(run),
            findings(run),
            learning(run),
            inside(run),
            confusions(run),
            disagreements(run),
            examples(run, registry),
            speakers(run),
            calibration(run),
            cost(run),
            inputs(run, _channels(run, registry)),
            clips(run),
            repeat(run, registry),
            words(),
        ],
    )


def _channels(run: ReadRun, registry: Registry | None) -> Mapping[str, tuple[str, ...]]:
    if registry is None:
        return {}
    try:
        extractors = make_extractors(run.config, registry)
    except FusionError:
        return {}
    return {name: tuple(extractor.channels) for name, extractor in extractors.items()}


def registry_of(run: Run) -> Registry | None:
    """The plugins that a run was made with; None where one of them can't be loaded any more."""
    try:
        return run.registry
    except FusionError:
        return None


def write_page(path: Path, html: str) -> Path:
    """Write a file whole or not at all.

    Raises
    ------
    StorageError
        If it can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(html, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(
            f"The report {path} could not be written: {error.strerror or error}.",
            hint="Name another file with --out, in a folder that you may write to.",
        ) from error
    return path
