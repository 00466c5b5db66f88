"""Terminal output of a diagnosis: a table of measurements, and the findings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..analysis.diagnosis import Diagnosis, Finding
from .plain_tables import plain_table

_STYLES = {"severe": "bold red", "moderate": "yellow", "mild": "cyan"}
_WIDTH = 96
# Heading and number format of the column for each measurement of a modality.
_SIGNS = {
    "alone_val": ("alone, val", "{:.1%}"),
    "val_uar": ("probe, val", "{:.1%}"),
    "train_uar": ("probe, train", "{:.1%}"),
    "seen_std": ("input std", "{:.3g}"),
    "norm": ("embedding", "{:.3g}"),
    "rank": ("rank", "{:.1f}"),
    "gradient": ("gradient", "{:.2g}"),
    "update": ("update", "{:.1e}"),
    "entropy_gap": ("ln C - entropy", "{:.2f}"),
    "weight": ("weight", "{:.2f}"),
}


def print_diagnosis(diagnosis: Diagnosis, console: Console) -> None:
    """Print the measurements, then every finding with its rule and its remedy."""
    console.print(_signs(diagnosis))
    console.print()
    for caveat in diagnosis.caveats:
        console.print(f"[yellow]{escape(caveat)}[/]")
    if not diagnosis.findings:
        console.print("[bold]No rule found a fault.[/]")
    for finding in diagnosis.findings:
        _print_finding(finding, console)


def one_line(findings: Sequence[Finding]) -> str:
    """Return findings as rich markup: ``"Cold start (severe), Scale mismatch of mel (mild)"``."""
    return ", ".join(
        f"[{_STYLES[f.severity]}]{f.title}[/]{_of(f)} ({f.severity})" for f in findings
    )


def _of(finding: Finding) -> str:
    return f" of {escape(finding.modality)}" if finding.modality else ""


def _print_finding(finding: Finding, console: Console) -> None:
    style = _STYLES[finding.severity]
    console.print(f"[{style}]{finding.severity:<9}[/] [bold]{finding.title}[/]{_of(finding)}")
    for label, text in (
        ("", finding.says),
        ("rule: ", finding.rule),
        ("see: ", ", ".join(finding.items)),
        ("remedy: ", finding.remedy),
    ):
        if text:
            wrapped = textwrap.fill(
                label + text, _WIDTH, initial_indent=10 * " ", subsequent_indent=10 * " ",
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
            console.print(escape(wrapped))
    if finding.command:
        console.print(f"          [green]{escape(finding.command)}[/]")
    console.print()


def _signs(diagnosis: Diagnosis) -> Table:
    shown = [key for key in _SIGNS if any(key in signs for signs in diagnosis.signs.values())]
    title = "Means over the last fifth of the epochs, and over folds"
    table = plain_table(title, ["", *(_SIGNS[key][0] for key in shown)])
    for name, signs in diagnosis.signs.items():
        cells = [_SIGNS[key][1].format(signs[key]) if key in signs else "" for key in shown]
        table.add_row(escape(name) or "fused", *cells)
    return table
