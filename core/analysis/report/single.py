"""The report of one run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...contracts import Extractor
from ...contracts.errors import FusionError
from ...data.split_modes import MODES
from ...data.task import measured_on
from ...registry.registry import Registry
from ...runs.config import RunConfig
from ...runs.execution.jobs import CONTROL, FUSED
from ...runs.outcome.results import SIGNIFICANT, Results, interval_text, smallest_p, weights_text
from ...runs.plan import make_extractors
from . import costs, examples, learning, predictions
from .charts import interval_bars
from .drawing import colour_of
from .page import render, write_page
from .repeat import command_line, facts
from .run_data import ReadRun, read_run

REPORT = "report.html"


def write_report(run_path: Path, out: Path | None = None, registry: Registry | None = None) -> Path:
    """Write the report of a finished run: one HTML file that needs nothing else.

    Parameters
    ----------
    run_path : Path
        The run directory.
    out : Path, optional
        The file; by default ``report.html`` in the run directory.
    registry : Registry, optional
        Plugins; by default those that the run was made with. Where one of them is gone, what
        it would have drawn is left out.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunError
        If `run_path` is no run directory, or its run is not finished.
    StorageError
        If the file can't be written.
    """
    run = read_run(run_path)
    known = registry or registry_of(run.config)
    return write_page(out or run_path / REPORT, report_page(run, known))


def report_page(run: ReadRun, registry: Registry | None) -> str:
    """The HTML of the report."""
    return render(
        "run.html.j2",
        run=run,
        results=run.results,
        answers=run.answers,
        corpora=", ".join(run.info.get("corpora", [])),
        tested=measured_on(run.info["split"]["mode"], run.config.adapt),
        trainings=run.info.get("trainings"),
        control_epochs=run.info.get("control"),
        spent=run.info.get("seconds", {}),
        dropped="; ".join(
            f"{corpus}: {', '.join(f'{label} {n}' for label, n in counts.items())}"
            for corpus, counts in run.info.get("dropped_labels", {}).items()
            if counts
        ),
        absent="; ".join(f"{n} have no {m}" for m, n in run.info.get("absent", {}).items()),
        failures=run.info.get("failures", []),
        config=json.dumps(run.info["config"], indent=1),
        cautions=cautions(run.info, run.results),
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


def cautions(info: Mapping[str, Any], results: Results) -> list[str]:
    """What must be known before a figure of the run is believed."""
    mode = MODES[info["split"]["mode"]]
    told = [mode.warning] if mode.warning else []
    if not mode.warning and smallest_p(results.comparisons[FUSED].groups) >= SIGNIFICANT:
        told.append(f"With --folds K every {mode.unit} is tested.")
    if info["synthetic"]:
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
    """Those that know how their arrays are drawn; none where a plugin is gone."""
    if registry is None:
        return {}
    try:
        return make_extractors(run.config, registry)
    except FusionError:
        return {}


def registry_of(config: RunConfig) -> Registry | None:
    """The plugins that a run was made with; None where one of them can't be loaded any more."""
    try:
        return Registry(config.plugins)
    except FusionError:
        return None
