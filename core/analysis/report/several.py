"""Several runs on one page: what they found, and how they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...contracts.errors import RunError
from ...runs.execution.jobs import FUSED
from ...runs.outcome.results import CHOSEN, interval_text, p_text, points
from ...runs.outcome.test_predictions import Said
from ...runs.run import Run
from ...toolkit.intervals import paired_comparison
from .charts import Line, interval_bars, over_epochs
from .drawing import Mark, legend, series_colour
from .formatting import percent
from .markup import Html, element, figures, missing, paragraph, section, table
from .page import page, words
from .run_data import ReadRun, read_run, series
from .single import write_page
from .verdict import cautions, found_faults


def compare_reports(paths: Sequence[Path], out: Path) -> Path:
    """Write one page about several finished runs.

    Parameters
    ----------
    paths : sequence of Path
        Two run directories or more.
    out : Path
        The HTML file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunError
        If fewer than two are given, one is given twice, or one is no finished run.
    StorageError
        If the file can't be written.
    """
    if len({path.resolve() for path in paths}) != len(paths):
        raise RunError("A run is named twice.", hint="Name each run once.")
    if len(paths) < 2:
        raise RunError("A comparison needs two runs or more.", hint="fusion report RUN RUN2 ...")
    opened = [read_run(Run.open(path)) for path in paths]
    runs = dict(zip(_names(paths), opened, strict=True))
    return write_page(out, comparison_page(runs))


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' names, with as much of what is above them as tells them apart."""
    for depth in range(1, max(len(path.absolute().parts) for path in paths) + 1):
        names = ["/".join(path.absolute().parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path.absolute()) for path in paths]


def comparison_page(runs: Mapping[str, ReadRun]) -> str:
    """The HTML of the comparison, of runs by the name that the page gives them."""
    return page(
        "Comparison of runs",
        ", ".join(runs),
        [
            _verdicts(runs),
            _models(runs),
            _differences(runs),
            _learning(runs),
            _configurations(runs),
            _findings(runs),
            words(),
        ],
    )


def _colours(runs: Mapping[str, ReadRun]) -> dict[str, str]:
    return {name: series_colour(number) for number, name in enumerate(runs)}


def _verdicts(runs: Mapping[str, ReadRun]) -> Html:
    cards = [
        element(
            "article",
            element("h3", name),
            paragraph(f"{', '.join(run.modalities)} fused by {run.label}", class_="subtitle"),
            paragraph(run.results.verdict),
            *(paragraph(line, class_="caution") for line in cautions(run.record, run.results)),
            class_="card",
        )
        for name, run in runs.items()
    ]
    return section("verdicts", "Verdicts", element("div", *cards, class_="cards"))


def _models(runs: Mapping[str, ReadRun]) -> Html:
    colours = _colours(runs)
    rows = [
        [
            f"{name}: {model.name}",
            interval_text(model.uar),
            interval_text(model.accuracy),
            percent(model.macro_f1),
            percent(model.val_uar),
        ]
        for name, run in runs.items()
        for model in run.results.models
    ]
    bars = [
        (f"{name}: {model}", run.results.model(model).uar, colours[name])
        for name, run in runs.items()
        for model in dict.fromkeys((run.results.best_single, FUSED, CHOSEN))
    ]
    chances = {1 / len(run.classes) for run in runs.values()}
    return section(
        "models",
        "All models",
        figures(
            [("", interval_bars(bars, chance=max(chances), label="UAR of the runs' models"))],
            caption="UAR on test of each run's best single modality, its fused model and what it "
            "hands out; thin lines: 95 % over speakers; the broken line is guessing.",
        ),
        table(
            ["run: model", "UAR [95 %]", "WA [95 %]", "macro-F1", "validation UAR"],
            rows,
            label="Scores of all models of all runs",
            caption="Per cent, each on its own run's test clips.",
        ),
    )


def _differences(runs: Mapping[str, ReadRun]) -> Html:
    """The fused models, paired, where two runs were tested on the same clips."""
    names = list(runs)
    pairs = [(a, b) for i, b in enumerate(names) for a in names[i + 1 :]]
    rows: list[list[object]] = []
    apart: list[str] = []
    for a, b in pairs:
        one, other = _said(runs[a]), _said(runs[b])
        if one is None or other is None or not _same_clips(one, other, runs[a], runs[b]):
            apart.append(f"{a} and {b}")
            continue
        for model in (FUSED, CHOSEN):
            c = paired_comparison(one.confusions(model), other.confusions(model))
            rows.append(
                [
                    f"{a} minus {b}: {model}",
                    points(c.difference),
                    f"{points(c.low)} to {points(c.high)}",
                    p_text(c.p_value),
                    str(c.groups),
                ]
            )
    shown = (
        table(
            ["", "points of UAR", "95 % interval", "p", "speakers"],
            rows,
            label="Differences between the runs",
            caption="Over the same test clips, whole speakers resampled and swapped. The p-values "
            "are not corrected for how many there are.",
        )
        if rows
        else Html()
    )
    told = f"Not tested on the same clips, so not compared in pairs: {'; '.join(apart)}."
    return section("differences", "Differences", shown, missing(told) if apart else Html())


def _said(run: ReadRun) -> Said | None:
    return run.answers.said if run.answers else None


def _same_clips(one: Said, other: Said, a: ReadRun, b: ReadRun) -> bool:
    if a.classes != b.classes or one.clips != other.clips:
        return False
    # Other labels for the same clips: another question.
    truth, others = (said.confusions(FUSED).sum(axis=-1) for said in (one, other))
    return np.array_equal(truth, others)


def _learning(runs: Mapping[str, ReadRun]) -> Html:
    colours = _colours(runs)

    def lines(metric: str) -> list[Line]:
        found = (
            Line(n, Mark(colours[n]), [series(r, metric) for r in run.records(FUSED)])
            for n, run in runs.items()
        )
        return [line for line in found if line]

    panels: list[tuple[object, Html]] = []
    for metric, title, y, scale in (
        ("val_uar", "validation", "UAR (%)", 100.0),
        ("train_uar", "training", "UAR (%)", 100.0),
        ("val_loss", "validation", "loss", 1.0),
    ):
        if drawable := lines(metric):
            label = f"{y} of the fused models over the epochs, {title}"
            panels.append((f"{y}, {title}", over_epochs(drawable, label=label, y=y, scale=scale)))
    body = (
        figures(
            panels,
            legend=legend([(name, Mark(colours[name])) for name in runs]),
            caption="The fused model of each run over its epochs; with folds their mean, and a "
            "band from the lowest to the highest.",
        )
        if panels
        else missing("The records of the epochs are not there.")
    )
    return section("learning", "How the fused models learned", body)


def _configurations(runs: Mapping[str, ReadRun]) -> Html:
    flat = {name: dict(_flat(run.config.to_json())) for name, run in runs.items()}
    keys = sorted({key for values in flat.values() for key in values})
    rows = [
        [key, *(values.get(key, "") for values in flat.values())]
        for key in keys
        if len({values.get(key, "") for values in flat.values()}) > 1
    ]
    body = (
        table(
            ["setting", *runs],
            rows,
            label="Settings in which the runs differ",
            caption="All others are the same. Empty: the run has no such setting.",
        )
        if rows
        else paragraph("Every setting is the same.")
    )
    return section("settings", "What differs in what was asked", body)


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """``{"train": {"lr": 1}}`` -> ``("train.lr", "1")``."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key.removeprefix("settings."), _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(part) for part in value) or "none"
    return "none" if value is None or value == {} else str(value)


def _findings(runs: Mapping[str, ReadRun]) -> Html:
    parts = [
        part
        for name, run in runs.items()
        for part in (element("h3", name), found_faults(run.diagnosis))
    ]
    return section("diagnosis", "Diagnoses", *parts)
