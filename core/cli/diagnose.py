"""Command ``fusion diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runs.request import config_from
from . import open_run, plugin_options, refuse_with_run, registry_from
from .options import data_options, method_options, outcome_options, split_option, training_options
from .output import echo_json, resumable

if TYPE_CHECKING:
    from ..analysis.diagnosis import Thresholds
    from ..display.run import Display
    from ..registry.registry import Registry
    from ..runs.plan import Plan
    from ..runs.run import Run

OWNER = "diagnosis"  # prefix of the thresholds in --set diagnosis.NAME=VALUE


@click.command("diagnose")
@click.argument("run", required=False, metavar="[RUN]")
@data_options
@training_options
@method_options
@split_option
@click.option("--out", metavar="DIR",
              help="Run directory to create for a new run. [default: runs/...]")  # fmt: skip
@outcome_options("diagnosis")
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Find out why fusion fails: apply diagnostic rules to how the models trained.

    RUN is a run directory; its missing trainings are done first. Without RUN, a new run is trained
    with the options of fusion run. The rules use training and validation clips, never test clips.
    --set diagnosis.NAME=VALUE sets a threshold (docs/reference/diagnosis.md lists them).

    \b
    fusion diagnose runs/20261124-101530-concat
    fusion diagnose --data PATH --strategy concat
    """
    from ..analysis.diagnosis import diagnose
    from ..display.console import new_console
    from ..display.findings import print_diagnosis
    from ..display.run import Display

    options["settings"], thresholds = thresholds_from(options["settings"])
    with Display(quiet=options["quiet"] or options["as_json"]) as display:
        run = trained(ctx, options, display)
        diagnosis = diagnose(run, thresholds)
    if options["as_json"]:
        echo_json({"run": str(run.path), **diagnosis.to_json()})
        return 0
    console = new_console()
    print_diagnosis(diagnosis, console)
    console.print(f"run directory: {run.path}", markup=False)
    if not run.is_complete():
        plugins = run.record.config.plugin_words()
        console.print(f"test the models: fusion run --resume {run.path}{plugins}", markup=False)
    console.print(f"try remedies: fusion repair {run.path}", markup=False)
    return 0


# Parameters that may be given with RUN. The run directory stores all other parameters.
WITH_RUN = {"run", "jobs", "as_json", "quiet", "settings"}


def thresholds_from(settings: tuple[str, ...]) -> tuple[tuple[str, ...], Thresholds]:
    """Separate the diagnosis thresholds from the other values of ``--set``.

    Returns
    -------
    tuple of str, Thresholds
        Values of ``--set`` that are not thresholds, and the thresholds.

    Raises
    ------
    ParameterError
        If a threshold does not exist, or its value is not a number.
    """
    from ..analysis.diagnosis import Thresholds
    from ..registry.parameters import bind, parse_settings

    own = tuple(text for text in settings if text.partition(".")[0].strip() == OWNER)
    rest = tuple(text for text in settings if text not in own)
    bound = bind(Thresholds, parse_settings(own).get(OWNER, {}), owner=OWNER)
    return rest, Thresholds(**bound)


def trained(ctx: click.Context, options: dict[str, Any], display: Display) -> Run:
    """Return the run named in `options`, or a new run, after its missing trainings; do not test."""
    from ..runs.plan import Plan
    from ..runs.run import Run
    from ..workflows.experiment import new_run_path, prepare_run, train_run

    source, registry = run_or_plan(ctx, options, WITH_RUN)
    if isinstance(source, Plan):
        config = source.config
        out = Path(options["out"]) if options["out"] else new_run_path(config, Path("runs"))
        display.planned(source)
        with Run.create(out, registry) as run:
            prepare_run(run, source, jobs=options["jobs"], observer=display)
    else:
        run = source
    command = f"fusion diagnose {run.path}{run.record.config.plugin_words()}"
    with resumable(run.path / "run.json", command):
        train_run(run, jobs=options["jobs"], observer=display)
    return run


def run_or_plan(
    ctx: click.Context, options: dict[str, Any], allowed: set[str]
) -> tuple[Run | Plan, Registry]:
    """Return the run named in `options`, or the plan of a new run; also return the registry.

    If `options` name a run, only the options in `allowed` are accepted.
    """
    from ..runs.plan import make_plan

    if options["run"]:
        refuse_with_run(ctx, allowed, options["settings"])
        run = open_run(ctx, options["run"])
        return run, run.registry
    registry = registry_from(ctx)
    return make_plan(config_from(options, registry), registry), registry
