"""What the run found: the verdict, what to be careful about, the table of models, the findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...data.split_modes import MODES
from ...data.task import measured_on
from ...runs.execution.jobs import CONTROL, FUSED
from ...runs.outcome.results import (
    AGAINST_CONTROL,
    CHOSEN,
    SIGNIFICANT,
    Results,
    interval_text,
    p_text,
    points,
    smallest_p,
    weights_text,
)
from ...runs.record import RunRecord
from .charts import interval_bars
from .formatting import colour_of, number, percent
from .markup import Html, code, details, element, figures, join, missing, paragraph, section, table
from .run_data import ReadRun

_HANDED_OUT = "Handed out: "
_SEVERITY = {"severe": 0, "moderate": 1, "mild": 2}


def cautions(record: RunRecord, results: Results) -> list[str]:
    """What must be known before a figure of the run is believed."""
    mode = MODES[record.split.mode]
    told = [mode.warning] if mode.warning else []
    if not mode.warning and smallest_p(results.comparisons[FUSED].groups) >= SIGNIFICANT:
        told.append(f"With --folds K every {mode.unit} is tested.")
    if record.synthetic:
        told.append("Generated voices: for trying the tool. These figures are evidence of nothing.")
    return told


def verdict(run: ReadRun) -> Html:
    """The verdict, the model handed out, and the three figures that matter most."""
    found, _, handed = run.results.verdict.partition(f" {_HANDED_OUT}")
    return section(
        "verdict",
        "Verdict",
        paragraph(found, class_="lead"),
        paragraph(element("strong", _HANDED_OUT), handed) if handed else Html(),
        *(paragraph(line, class_="caution") for line in cautions(run.record, run.results)),
        paragraph(
            f"Each model was tuned on validation in {run.config.tune} trials: "
            f"{run.record.trainings} trainings."
        )
        if run.config.tune
        else Html(),
        _tiles(run.results),
    )


def _tiles(results: Results) -> Html:
    best, c = results.best_single, results.against_reference
    name = f"best single modality ({best}), UAR"
    if results.reference == CONTROL:
        name = f"{results.control} alone, as many steps in all, UAR"
    tiles = [
        ("fused model, UAR", percent(results.model(FUSED).uar.value) + " %"),
        (name, percent(results.model(results.reference).uar.value) + " %"),
        ("difference in points of UAR", points(c.difference)),
        ("its 95 % interval", f"{points(c.low)} to {points(c.high)}"),
        ("p-value", p_text(c.p_value)),
    ]
    each = [
        element("div", element("dt", name), element("dd", value), class_="tile")
        for name, value in tiles
    ]
    return element("dl", *each, class_="tiles")


def models(run: ReadRun) -> Html:
    """The table of all models, and their scores as bars."""
    results, modalities = run.results, run.modalities
    tested = measured_on(run.record.split.mode, run.config.adapt)
    head = ["model", "UAR [95 %]", "WA [95 %]", "macro-F1", "validation UAR"]
    if run.folds > 1:
        head.append("UAR of each fold")
    rows: list[list[object]] = []
    for model in results.models:
        row: list[object] = [
            model.name,
            interval_text(model.uar),
            interval_text(model.accuracy),
            percent(model.macro_f1),
            percent(model.val_uar),
        ]
        if run.folds > 1:
            row.append(", ".join(percent(uar) for uar in model.fold_uar))
        rows.append(row)
    bars = interval_bars(
        [
            # The control has the colour of the modality that it trains longer.
            (m.name, m.uar, colour_of(results.control if m.name == CONTROL else m.name, modalities))
            for m in results.models
        ],
        chance=1 / len(run.classes),
        label="UAR of each model with its 95 % interval: "
        + ", ".join(f"{m.name} {interval_text(m.uar)}" for m in results.models),
    )
    weights = weights_text(results)
    return section(
        "models",
        "All models",
        table(
            head,
            rows,
            label="Scores of all models",
            caption=f"Per cent, {tested}. UAR is the mean of the recalls of all classes, WA the "
            "share of clips that are right. Each modality was trained alone; the ensemble pools "
            f"them with weights that validation chose; {_control_text(run)}"
            f"{CHOSEN} is what validation chose and what is handed out.",
        ),
        figures(
            [("", bars)],
            caption="Bars: UAR on test. Thin lines: where it may lie for other speakers (95 %). "
            "The broken line is guessing.",
        ),
        _differences(run),
        paragraph(f"Share of the scores on test, mean ± deviation over the clips: {weights}.")
        if weights
        else "",
    )


def _control_text(run: ReadRun) -> str:
    """Explain the control's row, where there is one."""
    if not run.results.control:
        return ""
    return (
        f"{CONTROL} is {run.results.control} alone, trained from scratch for as many epochs as the "
        f"fused model and its start had together ({run.record.control}); "
    )


def _differences(run: ReadRun) -> Html:
    rows = [
        [
            name,
            points(c.difference),
            f"{points(c.low)} to {points(c.high)}",
            p_text(c.p_value),
            str(c.groups),
        ]
        for name, c in run.results.comparisons.items()
    ]
    return table(
        ["model", "points of UAR", "95 % interval", "p", "speakers"],
        rows,
        label="Differences from the best single modality",
        caption=f"Each minus {run.results.best_single}, the modality that validation found best"
        + (f", but for the row {AGAINST_CONTROL}; " if run.results.control else ", ")
        + "over the same clips. p: how often so large a difference comes about when whole "
        "speakers' answers are swapped by chance.",
    )


def findings(run: ReadRun) -> Html:
    """What the diagnosis of the run says is wrong, and how to mend it."""
    return section("diagnosis", "Diagnosis", found_faults(run.diagnosis))


def found_faults(diagnosis: Mapping[str, Any] | None) -> Html:
    """The findings as cards, the gravest first."""
    if diagnosis is None:
        return missing("This run holds no diagnosis (no diagnosis.json).")
    found = sorted(
        diagnosis.get("findings", []), key=lambda f: _SEVERITY.get(str(f.get("severity")), 3)
    )
    caveats = [paragraph(str(line), class_="caution") for line in diagnosis.get("caveats", [])]
    checked = [str(fault).replace("_", " ") for fault in diagnosis.get("checked", [])]
    looked = f"Looked for: {', '.join(checked)}." if checked else ""
    nothing = paragraph("None of the known faults was found.") if not found else ""
    return join(
        [
            nothing,
            *caveats,
            *(_finding(f) for f in found),
            paragraph(looked, class_="caption") if looked else "",
            _signs(diagnosis),
        ]
    )


def _signs(diagnosis: Mapping[str, Any]) -> Html:
    """What the rules looked at, and the thresholds that they hold it against."""
    signs: Mapping[str, Mapping[str, Any]] = diagnosis.get("signs") or {}
    thresholds: Mapping[str, Any] = diagnosis.get("thresholds") or {}
    names = dict.fromkeys(name for own in signs.values() for name in own)
    rows = [
        [name, *(number(own[name]) if name in own else "" for own in signs.values())]
        for name in names
    ]
    limits = [[name, number(value)] for name, value in thresholds.items()]
    owners = [owner or "fused model" for owner in signs]
    tables = [
        table(["late in the training", *owners], rows, label="What the rules looked at")
        if rows
        else "",
        table(["threshold", "value"], limits, label="Thresholds of the rules") if limits else "",
    ]
    return details("All numbers and thresholds", *tables) if any(tables) else Html()


def _finding(found: Mapping[str, Any]) -> Html:
    severity = str(found.get("severity", ""))
    # Where it is: what holds for the whole model or for every fold needs no words.
    where = [str(found["modality"])] if found.get("modality") else []
    folds = found.get("folds") or []
    where += [f"folds {', '.join(str(f) for f in folds)}"] if len(folds) > 1 else []
    title = element(
        "h3",
        str(found.get("title", found.get("fault", ""))),
        f" ({'; '.join(where)})" if where else "",
        element("span", severity, class_=f"badge {severity}") if severity else "",
    )
    numbers = found.get("numbers") or {}
    rows = [[str(name), number(value)] for name, value in numbers.items()]
    command = found.get("command")
    return element(
        "article",
        title,
        paragraph(str(found.get("says", ""))),
        paragraph(element("strong", "What to do: "), str(found.get("remedy", ""))),
        code(str(command)) if command else Html(),
        details(
            "The rule and the numbers",
            paragraph(str(found.get("rule", ""))),
            table(["number", "value"], rows, label="Numbers of this finding") if rows else Html(),
        ),
        class_=f"finding {severity}",
    )
