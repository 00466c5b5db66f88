"""Command ``fusion report``."""

from __future__ import annotations

from pathlib import Path

import click

from ..display.plain_text import echo
from . import plugin_options, registry_of_stored
from .options import requests_of
from .output import warn


@click.command("report")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--out", metavar="FILE",
              help="HTML file to write. [default: RUN/report.html, or report-comparison.html for "
              "several runs]")  # fmt: skip
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, runs: tuple[str, ...], out: str | None) -> int:
    """Write an HTML report of a finished run, or of several runs side by side.

    The report is a single HTML file that needs no network access. It shows the verdict, scores,
    diagnosis, learning curves, which modality is right where modalities disagree, and how to
    reproduce the run. fusion run writes this report at its end; the command writes it again.

    \b
    fusion report runs/DATE-METHODS
    fusion report runs/A runs/B --out both.html
    """
    from ..analysis.report import compare_reports, write_report
    from ..contracts.errors import FusionError
    from ..runs.run import Run

    paths = [Path(run) for run in runs]
    file = Path(out) if out else None
    if len(paths) > 1:
        written = compare_reports(paths, file or Path("report-comparison.html"))
    else:
        run = Run.open(paths[0])
        try:
            run.registry = registry_of_stored(ctx, run.path, run.config.plugins)
        except FusionError as error:
            if requests_of(ctx)["plugins"]:
                raise
            warn(" ".join(filter(None, (error.message, error.hint))))
        written = write_report(run, file)
    echo(f"report: {written}")
    return 0
