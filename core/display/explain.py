"""What a person sees of an explanation: tables, and how to read them."""

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
    "Parts that say the same share what is written here: leaving one out costs little while "
    "another stands in for it. Compare a modality's parts with the modality as a whole."
)


def print_explanation(found: Explanation, out: Path) -> None:
    """The tables of a run, a line on how to read each, and what to beware of."""
    console = new_console()
    folds = f", {found.folds} folds" if found.folds > 1 else ""
    console.print(
        f"\n{found.model} on {len(found.clips)} {_PARTS[found.part]} clips of {found.speakers} "
        f"speakers{folds}: UAR {interval_text(found.uar)}, log-probability of the true class "
        f"{found.log_probability:.2f}\n"
    )
    if len(found.modalities) > 1:
        console.print(_shapley(found))
        console.print(Text(_shapley_text(found), style="dim"))
        console.print()
    console.print(_groups(found))
    console.print(Text(_groups_text(found), style="dim"))
    console.print()
    if any(c.group.axis is not None for c in found.contributions):
        console.print(_HINT)
    for note in found.notes:
        console.print(f"[yellow]{escape(note)}[/]")
    console.print(f"all figures, and every clip's: {escape(str(out))}")


_PARTS = {"test": "test", "val": "validation"}


def _table(title: str, columns: Sequence[str]) -> Table:
    table = plain_table(title, ["", *columns])
    table.columns[0].no_wrap = True
    return table


# -- a run ---------------------------------------------------------------------------


def _shapley(found: Explanation) -> Table:
    classes = [name for name in found.classes if name in found.true.by_class]
    table = _table(
        "Shapley values of the modalities (points)",
        ["UAR", "p(predicted)", "p(true)", *(escape(f"p({name})") for name in classes)],
    )
    for m in found.modalities:
        table.add_row(
            m,
            _points(found.uar_shapley[m]),
            _points(found.predicted.values[m]),
            _points(found.true.values[m]),
            *(_points(found.true.by_class[name][m]) for name in classes),
        )
    return table


def _shapley_text(found: Explanation) -> str:
    chance = 1 / len(found.classes)
    return (
        f"Shares of the UAR above chance ({100 * chance:.1f}), and of what the modalities add to "
        f"the mean probability of the predicted class (from {100 * found.predicted.none:.1f} to "
        f"{100 * found.predicted.all:.1f} %) and of the true one (from "
        f"{100 * found.true.none:.1f} to {100 * found.true.all:.1f} %); then of the true one in "
        "the clips of each class. Negative: the modality speaks against it."
    )


def _groups(found: Explanation) -> Table:
    table = _table(
        "What is lost without it, and what predictions rest on",
        ["at mean\nUAR [95 %]", "at mean\nlog p", "permuted\nUAR", "permuted\nlog p",
         "gradients\nsigned", "gradients\nabsolute"],
    )  # fmt: skip
    for c in found.contributions:
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


def _groups_text(found: Explanation) -> str:
    return (
        "at mean: points of UAR, and nats of the true class's log-probability, lost when its "
        "values are their training mean, an input the model never saw; permuted: when they are "
        f"those of another clip ({found.permutations} times, mean ± sd). Negative: better without. "
        "gradients: integrated gradients from the training mean, nats of the predicted class's "
        f"log-probability (together {_signed(found.difference)}; a clip's miss it by "
        f"{found.gap:.3f} on average, at worst {found.worst_gap:.3f}); absolute: share of their "
        "sum without signs."
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
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"  # no -0.00


def _points(value: float) -> str:
    return "n/a" if math.isnan(value) else _signed(100 * value, 1)


def _spread(spread: Spread, scale: float, digits: int) -> str:
    mean = _signed(scale * spread.mean, digits)
    if math.isnan(spread.deviation):
        return mean
    return f"{mean} ± {scale * spread.deviation:.{digits}f}"


# -- a recording ---------------------------------------------------------------------


def print_clip(found: ClipExplanation) -> None:
    """One recording: its probabilities, and what they rest on."""
    console = new_console()
    ranked = sorted(found.probabilities.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{name} {p:.3f}" for name, p in ranked)
    console.print(f"\n[bold]{escape(str(found.path))}[/]: {escape(shares)}\n")
    several = len(found.shapley) > 1
    columns = ["without it", "gradients"]
    title = escape(f"What makes it {found.label}")
    table = _table(title, ["Shapley", *columns] if several else columns)
    for part in _strongest_first(found.parts):
        whole = part.group.axis is None
        row = [f"{part.without:.3f}", _signed(part.gradients)]
        if several:
            row = [f"{found.shapley[part.group.modality]:+.3f}" if whole else "", *row]
        table.add_row(_label(part.group), *row, style="dim" if part.group.pooled else "")
    console.print(table)
    shapley = (
        f"Shapley: shares of the probability, from {found.none:.3f} without any modality. "
        if several
        else ""
    )
    console.print(
        Text(
            f"{shapley}without it: the probability of {found.label} with these values at their "
            "training mean. gradients: integrated gradients from the training mean, nats of its "
            f"log-probability (together {_signed(found.difference)}, missed by {found.gap:+.3f}).",
            style="dim",
        )
    )


def _strongest_first(parts: Sequence[ClipPart]) -> list[ClipPart]:
    """Within each modality: itself, its parts by their gradients, then the pooled ones."""
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
    """What to beware of."""
    console = new_console()
    console.print()
    for note in notes:
        console.print(f"[yellow]{escape(note)}[/]")
    console.print(
        "This says what the model rests on, not what is in the speech: one recording, one model."
    )
