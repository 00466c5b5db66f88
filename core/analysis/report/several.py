"""Comparison of several runs on one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ...contracts.errors import RunError
from ...runs.outcome.results import CHOSEN
from ...runs.outcome.test_predictions import SavedPredictions
from ...runs.run import Run
from ...runs.trainings import FUSED
from ...toolkit.intervals import Comparison, paired_comparison
from .charts import Line, interval_bars, over_epochs
from .drawing import Mark, series_colour
from .page import Figure, render, write_page
from .run_data import ReadRun, read_run, series
from .single import cautions

Runs = Mapping[str, ReadRun]  # keys are the names on the page


def compare_reports(paths: Sequence[Path], out: Path) -> Path:
    """Write one page that compares several finished runs.

    Parameters
    ----------
    paths : sequence of Path
        Two or more run directories.
    out : Path
        The HTML file.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    RunError
        If fewer than two runs are given, a run is given twice, or a run is not finished.
    StorageError
        If the file can't be written.
    """
    if len({path.resolve() for path in paths}) != len(paths):
        raise RunError("A run is named twice.", hint="Name each run once.")
    if len(paths) < 2:
        raise RunError(
            "A comparison needs two runs or more.", hint="For example: fusion report RUN RUN2"
        )
    opened = [read_run(Run.open(path)) for path in paths]
    runs = dict(zip(_names(paths), opened, strict=True))
    return write_page(out, comparison_page(runs))


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest trailing parts of the paths that are all different."""
    for depth in range(1, max(len(path.absolute().parts) for path in paths) + 1):
        names = ["/".join(path.absolute().parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path.absolute()) for path in paths]


def comparison_page(runs: Runs) -> str:
    """Return the HTML of the comparison."""
    pairs, apart = differences(runs)
    marks = {name: Mark(series_colour(number)) for number, name in enumerate(runs)}
    return render(
        "comparison.html.j2",
        runs=runs,
        cautions=lambda run: cautions(run.record, run.results),
        bars=score_bars(runs, marks),
        pairs=pairs,
        apart=apart,
        learning=learning(runs, marks),
        marks=list(marks.items()),
        settings=settings(runs),
    )


def score_bars(runs: Runs, marks: Mapping[str, Mark]) -> Markup:
    """Draw the UAR of each run's best single modality, fused model and chosen model."""
    bars = [
        (f"{name}: {model}", run.results.model(model).uar, marks[name].colour)
        for name, run in runs.items()
        for model in dict.fromkeys((run.results.best_single, FUSED, CHOSEN))
    ]
    chance = max(1 / len(run.classes) for run in runs.values())
    return interval_bars(bars, chance=chance, label="UAR of the runs' models")


def differences(runs: Runs) -> tuple[dict[str, Comparison], list[str]]:
    """Compare the fused and chosen models of each pair of runs.

    Returns
    -------
    dict
        Paired comparison by title, for pairs of runs with the same test clips and labels.
    list of str
        Pairs of runs with different test clips or labels, which can't be compared.
    """
    names = list(runs)
    compared: dict[str, Comparison] = {}
    apart: list[str] = []
    for a, b in ((a, b) for i, b in enumerate(names) for a in names[i + 1 :]):
        both = [run.predictions.per_clip for run in (runs[a], runs[b]) if run.predictions]
        if runs[a].classes != runs[b].classes or not _same_clips(both):
            apart.append(f"{a} and {b}")
            continue
        for model in (FUSED, CHOSEN):
            one, other = (predicted.confusions(model) for predicted in both)
            compared[f"{a} minus {b}: {model}"] = paired_comparison(one, other)
    return compared, apart


def _same_clips(both: Sequence[SavedPredictions]) -> bool:
    """Return True if two runs were tested on the same clips with the same labels."""
    if len(both) < 2 or both[0].clips != both[1].clips:
        return False
    # Different labels for the same clips make the scores incomparable.
    return np.array_equal(*(predicted.confusions(FUSED).sum(axis=-1) for predicted in both))


def learning(runs: Runs, marks: Mapping[str, Mark]) -> list[Figure]:
    """Draw the scores and losses of each run's fused model over its epochs."""
    figures = []
    for metric, title, y, scale in (
        ("val_uar", "validation", "UAR (%)", 100.0),
        ("train_uar", "training", "UAR (%)", 100.0),
        ("val_loss", "validation", "loss", 1.0),
    ):
        lines = [
            Line(mark, [series(records, metric) for records in runs[name].records(FUSED)])
            for name, mark in marks.items()
        ]
        if drawable := [line for line in lines if line]:
            label = f"{y} of the fused models over the epochs, {title}"
            drawn = over_epochs(drawable, label=label, y=y, scale=scale)
            figures.append(Figure(f"{y}, {title}", drawn))
    return figures


def settings(runs: Runs) -> list[list[str]]:
    """Return rows of the settings in which the runs differ: name, and value in each run."""
    flat = [dict(_flat(run.config.to_json())) for run in runs.values()]
    keys = sorted({key for values in flat for key in values})
    rows = [[key, *(values.get(key, "") for values in flat)] for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1]


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested settings as pairs: ``{"train": {"lr": 1}}`` gives ``("train.lr", "1")``."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key.removeprefix("settings."), _plain(value)


def _plain(value: Any) -> str:
    """Return a setting as text; ``none`` for an empty setting."""
    if isinstance(value, list):
        return ", ".join(_plain(part) for part in value) or "none"
    return "none" if value is None or value == {} else str(value)
