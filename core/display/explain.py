"""Terminal output of an explanation: tables, and a note on how to read each table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..analysis.explain.clips import ClipExplanation, ClipPart
from ..analysis.explain.groups import Group
from ..analysis.explain.summary import Contribution, Explanation, Spread
from ..runs.outcome.results import interval_text
from .console import new_console
from .plain_tables import plain_table

_HINT = (
    "If parts carry the same information, each part has a low value: leaving out one part costs "
    "little while another part replaces it. Compare the parts with the whole modality."
)


def print_explanation(explanation: Explanation, out: Path) -> None:
    """Print the tables of a run, a note on how to read each table, and caveats."""
    console = new_console()
    folds = f", {explanation.folds} folds" if explanation.folds > 1 else ""
    console.print(
        f"\n{explanation.model} on {len(explanation.clips)} {_PARTS[explanation.part]} clips of "
        f"{explanation.speakers} speakers{folds}: UAR {interval_text(explanation.uar)}, "
        f"log-probability of the true class {explanation.log_probability:.2f}\n"
    )
    if len(explanation.modalities) > 1:
        console.print(_shapley(explanation))
        console.print(Text(_shapley_text(explanation), style="dim"))
        console.print()
    console.print(_groups(explanation))
    console.print(Text(_groups_text(explanation), style="dim"))
    console.print()
    if any(c.group.axis is not None for c in explanation.contributions):
        console.print(_HINT)
    for note in explanation.notes:
        console.print(f"[yellow]{escape(note)}[/]")
    console.print(f"all figures, and every clip's: {escape(str(out))}")


_PARTS = {"test": "test", "val": "validation"}


def _table(title: str, columns: Sequence[str]) -> Table:
    table = plain_table(title, ["", *columns])
    table.columns[0].no_wrap = True
    return table


# -- a run ---------------------------------------------------------------------------


def _shapley(explanation: Explanation) -> Table:
    classes = [name for name in explanation.classes if name in explanation.true.by_class]
    table = _table(
        "Shapley values of the modalities (points)",
        ["UAR", "p(predicted)", "p(true)", *(escape(f"p({name})") for name in classes)],
    )
    for m in explanation.modalities:
        table.add_row(
            m,
            _points(explanation.uar_shapley[m]),
            _points(explanation.predicted.values[m]),
            _points(explanation.true.values[m]),
            *(_points(explanation.true.by_class[name][m]) for name in classes),
        )
    return table


def _shapley_text(explanation: Explanation) -> str:
    chance = 1 / len(explanation.classes)
    predicted, true = explanation.predicted, explanation.true
    return (
        "UAR: contribution of the modality to the UAR above chance "
        f"({100 * chance:.1f}). p(predicted) and p(true): contribution to the mean probability of "
        "the predicted class, which all modalities together raise from "
        f"{100 * predicted.none:.1f} to {100 * predicted.all:.1f} %, and of the true class (from "
        f"{100 * true.none:.1f} to {100 * true.all:.1f} %). Last columns: p(true) on the clips of "
        "each class. A negative value means that the modality lowers the score."
    )


def _groups(explanation: Explanation) -> Table:
    table = _table(
        "Losses without each part, and attributions of the predictions",
        ["at mean\nUAR [95 %]", "at mean\nlog p", "permuted\nUAR", "permuted\nlog p",
         "gradients\nsigned", "gradients\nabsolute"],
    )  # fmt: skip
    for c in explanation.contributions:
        table.add_row(
            _label(c.group),
            _drop(c),
            _signed(c.log_probability_drop),
            _spread(c.permuted_uar_drop, 100, 1),
            _spread(c.permuted_log_probability_drop, 1, 2),
            _signed(c.signed),
            "n/a" if math.isnan(c.share) else f"{100 * c.share:.0f} %",
            style="" if c.group.axis is None else "dim" if c.group.pooled else "",
        )
    return table


def _groups_text(explanation: Explanation) -> str:
    return (
        "at mean: loss in points of UAR, and in nats of the true class's log-probability, if the "
        "values of the part are replaced by their training mean (an input that the model never "
        "saw). permuted: loss if the values are replaced by those of another clip "
        f"({explanation.permutations} permutations, mean ± sd). A negative loss means that the "
        "model is better without the part. gradients, signed: integrated gradients from the "
        "training mean, in nats of the predicted class's log-probability (sum over the parts "
        f"{_signed(explanation.difference)}; numerical error per clip {explanation.gap:.3f} on "
        f"average, at most {explanation.worst_gap:.3f}). gradients, absolute: share of the sum of "
        "absolute values."
    )


def _label(group: Group) -> str:
    if group.axis is None:
        return escape(group.modality)
    return escape(f"    all {group.name}" if group.pooled else f"  {group.name}")


def _drop(c: Contribution) -> str:
    if c.uar_drop.groups < 2:
        return _points(c.uar_drop.difference)
    d = c.uar_drop
    return f"{_points(d.difference)} [{_points(d.low)}, {_points(d.high)}]"


def _signed(value: float, digits: int = 2) -> str:
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"  # print 0.00 instead of -0.00


def _points(value: float) -> str:
    return "n/a" if math.isnan(value) else _signed(100 * value, 1)


def _spread(spread: Spread, scale: float, digits: int) -> str:
    mean = _signed(scale * spread.mean, digits)
    if math.isnan(spread.deviation):
        return mean
    return f"{mean} ± {scale * spread.deviation:.{digits}f}"


# -- a recording ---------------------------------------------------------------------


def print_clip(explanation: ClipExplanation) -> None:
    """Print the class probabilities of one recording, and the contribution of each part."""
    console = new_console()
    ranked = sorted(explanation.probabilities.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{name} {p:.3f}" for name, p in ranked)
    console.print(f"\n[bold]{escape(str(explanation.path))}[/]: {escape(shares)}\n")
    several = len(explanation.shapley) > 1
    columns = ["without it", "gradients"]
    title = escape(f"Contributions to the label {explanation.label}")
    table = _table(title, ["Shapley", *columns] if several else columns)
    for part in _strongest_first(explanation.parts):
        whole = part.group.axis is None
        row = [f"{part.without:.3f}", _signed(part.gradients)]
        if several:
            row = [f"{explanation.shapley[part.group.modality]:+.3f}" if whole else "", *row]
        table.add_row(_label(part.group), *row, style="dim" if part.group.pooled else "")
    console.print(table)
    shapley = (
        "Shapley: contributions to the probability, which is "
        f"{explanation.none:.3f} without any modality. "
        if several
        else ""
    )
    console.print(
        Text(
            f"{shapley}without it: the probability of {explanation.label} if the values of the "
            "part are replaced by their training mean. gradients: integrated gradients from the "
            "training mean, in nats of the label's log-probability (sum over the "
            f"parts {_signed(explanation.difference)}, numerical error {explanation.gap:+.3f}).",
            style="dim",
        )
    )


def _strongest_first(parts: Sequence[ClipPart]) -> list[ClipPart]:
    """Sort each modality's rows: whole modality, parts by absolute gradient, pooled parts."""
    first = {p.group.modality: i for i, p in enumerate(parts) if p.group.axis is None}
    return sorted(
        parts,
        key=lambda p: (
            first[p.group.modality],
            p.group.axis is not None,
            p.group.pooled,
            -abs(p.gradients),
        ),
    )


def print_clip_notes(notes: Sequence[str]) -> None:
    """Print the caveats of an explanation."""
    console = new_console()
    console.print()
    for note in notes:
        console.print(f"[yellow]{escape(note)}[/]")
    console.print(
        "These values explain one model on one recording; they do not describe the speech itself."
    )
