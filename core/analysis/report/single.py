"""The report of one run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from ...contracts import Extractor
from ...contracts.errors import FusionError
from ...data.split_modes import MODES
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
    return render(
        "run.html.j2",
        run=run,
        results=run.results,
        answers=run.answers,
        corpora=", ".join(run.record.corpora),
        tested=measured_on(run.record.split.mode, run.config.adapt),
        trainings=run.record.trainings,
        control_epochs=run.record.control,
        spent=run.record.seconds,
        dropped="; ".join(
            f"{corpus}: {', '.join(f'{label} {n}' for label, n in counts.items())}"
            for corpus, counts in run.record.dropped_labels.items()
            if counts
        ),
        absent="; ".join(f"{n} have no {m}" for m, n in run.record.absent.items()),
        failures=run.record.failures,
        config=json.dumps(run.config.to_json(), indent=1),
        cautions=cautions(run.record, run.results),
        bars=score_bars(run),
        weights=weights_text(run.results),
        command=command_line(run, registry),
        facts=facts(run),
        extractors=_extractors(run, registry),
        # Their functions are called where the template shows what they return.
        learning=learning,
        predictions=predictions,
        examples=examples,
        costs=costs,
    )


def cautions(record: RunRecord, results: Results) -> list[str]:
    """Return what must be known before a figure of the run is believed."""
    mode = MODES[record.split.mode]
    told = [mode.warning] if mode.warning else []
    if not mode.warning and smallest_p(results.comparisons[FUSED].groups) >= SIGNIFICANT:
        told.append(f"With --folds K every {mode.unit} is tested.")
    if record.synthetic:
        told.append("Generated voices: for trying the tool. These figures are evidence of nothing.")
    return told


def score_bars(run: ReadRun) -> Markup:
    """UAR of all models."""
    control = run.results.control  # its bar has the colour of the modality that it trains longer
    bars = [
        (m.name, m.uar, colour_of(control if m.name == CONTROL else m.name, run.modalities))
        for m in run.results.models
    ]
    each = ", ".join(f"{m.name} {interval_text(m.uar)}" for m in run.results.models)
    label = f"UAR of each model with its 95 % interval: {each}"
    return interval_bars(bars, chance=1 / len(run.classes), label=label)


def _extractors(run: ReadRun, registry: Registry | None) -> Mapping[str, Extractor]:
    """Return the run's extractors, which draw their arrays; none where a plugin is gone."""
    if registry is None:
        return {}
    try:
        return make_extractors(run.config, registry)
    except FusionError:
        return {}


def registry_of(run: Run) -> Registry | None:
    """The plugins that a run was made with; None where one of them can't be loaded any more."""
    try:
        return run.registry
    except FusionError:
        return None
