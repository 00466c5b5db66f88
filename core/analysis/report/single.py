"""Report of one run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from ...contracts import Extractor
from ...contracts.errors import FusionError
from ...data.split_modes import Mode, mode_of_splits
from ...data.task import measured_on
from ...registry.registry import Registry
from ...runs.outcome.results import SIGNIFICANT, Results, interval_text, smallest_p, weights_text
from ...runs.plan import make_extractors
from ...runs.record import RunRecord
from ...runs.run import Run
from ...runs.trainings import CONTROL, FUSED
from . import costs, examples, learning, predictions
from .charts import interval_bars
from .drawing import colour_of
from .page import render, write_page
from .repeat import command_line, facts
from .run_data import ReadRun, read_run

REPORT = "report.html"


def write_report(run: Run, out: Path | None = None) -> Path:
    """Write the report of a finished run as one self-contained HTML file.

    Parameters
    ----------
    run : Run
        The run directory. If a plugin of the run can't be loaded, the pictures that it draws are
        replaced by default pictures.
    out : Path, optional
        The HTML file; by default ``report.html`` in the run directory.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    RunError
        If the run is not finished.
    StorageError
        If the file can't be written.
    """
    return write_page(out or run.path / REPORT, report_page(read_run(run), registry_of(run)))


def report_page(run: ReadRun, registry: Registry | None) -> str:
    """Return the HTML of the report.

    Parameters
    ----------
    run : ReadRun
        The finished run.
    registry : Registry or None
        Plugins of the run; None if one of them can't be loaded.
    """
    accounts = run.record.intake(run.data.clips) if run.data else []
    return render(
        "run.html.j2",
        run=run,
        results=run.results,
        predicted=run.predictions,
        corpora=", ".join(run.record.corpora),
        tested=measured_on(_mode(run.record), run.config.adapt),
        trainings=run.record.trainings,
        control_epochs=run.record.control,
        spent=run.record.seconds,
        intake=[row for account in accounts if account.left_out for row in account.rows()],
        columns="; ".join(
            f"{account.corpus}: {', '.join(f'{r} = {c}' for r, c in account.columns.items())}"
            for account in accounts
            if account.columns
        ),
        absent="; ".join(f"{n} have no {m}" for m, n in run.record.absent.items()),
        long_clips=_long_clips(run),
        failures=run.record.failures,
        config=json.dumps(run.config.to_json(), indent=1),
        cautions=cautions(run.record, run.results),
        bars=score_bars(run),
        weights=weights_text(run.results),
        command=command_line(run, registry),
        facts=facts(run),
        extractors=_extractors(run, registry),
        # The template calls functions of the modules below.
        learning=learning,
        predictions=predictions,
        examples=examples,
        costs=costs,
    )


def _mode(record: RunRecord) -> Mode:
    return mode_of_splits(record.split.mode, record.split.speaker_independent)


def cautions(record: RunRecord, results: Results) -> list[str]:
    """Return warnings to show before the figures of the run."""
    mode = _mode(record)
    warnings = [mode.warning] if mode.warning else []
    few = smallest_p(results.comparisons[FUSED].groups) >= SIGNIFICANT
    if few and not mode.warning and mode.name != "published":  # a published split has no K
        warnings.append(f"With --folds K, every {mode.unit} is a test {mode.unit} in one fold.")
    if record.synthetic:
        warnings.append(
            "The recordings are synthetic: these figures are no evidence about real speech."
        )
    return warnings


def _long_clips(run: ReadRun) -> str:
    """Return a sentence about clips that are longer than what features represent, or ""."""
    if run.record.long_clips is None or run.data is None:
        return ""
    return run.record.long_clips.text(len(run.data.clips))


def score_bars(run: ReadRun) -> Markup:
    """Draw the UAR of all models with their intervals."""
    # The bar of the control has the colour of the modality that the control trains longer.
    control = run.results.control
    bars = [
        (m.name, m.uar, colour_of(control if m.name == CONTROL else m.name, run.modalities))
        for m in run.results.models
    ]
    each = ", ".join(f"{m.name} {interval_text(m.uar)}" for m in run.results.models)
    label = f"UAR of each model with its 95 % interval: {each}"
    return interval_bars(bars, chance=1 / len(run.classes), label=label)


def _extractors(run: ReadRun, registry: Registry | None) -> Mapping[str, Extractor]:
    """Return the run's extractors, which draw their features; empty if a plugin can't be loaded."""
    if registry is None:
        return {}
    try:
        return make_extractors(run.config, registry)
    except FusionError:
        return {}


def registry_of(run: Run) -> Registry | None:
    """Return the registry with a run's plugins; None if one of the plugins can't be loaded."""
    try:
        return run.registry
    except FusionError:
        return None
