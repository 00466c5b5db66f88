"""``fusion repair``."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import open_run, plugin_options, refuse_with_run, registry_from
from .diagnose import WITH_RUN, thresholds_from
from .request import (
    config_from,
    data_options,
    method_options,
    parse_features,
    split_option,
    training_options,
)

if TYPE_CHECKING:
    from ..registry.registry import Registry
    from ..runs.plan import Plan
    from ..runs.run import Run
    from ..workflows.repair import RepairRequest


@click.command("repair")
@click.argument("run", required=False, metavar="[RUN]")
@data_options
@training_options
@method_options
@split_option
@click.option("--target", default="target", show_default=True, metavar="NAME|UAR",
              help="Stop at minimum (best single modality), target (2 points more), stretch (6 "
              "points more), or a UAR in percent; on validation.")  # fmt: skip
@click.option("--steps", default="", metavar="A,B,...",
              help="Remedies to try, in this order. [default: what the diagnosis points to, then "
              "the rest]")  # fmt: skip
@click.option("--budget", metavar="TIME", help="Begin no step after this, as in 30min or 2h.")
@click.option("--out", metavar="DIR",
              help="Where the steps go; given again, it resumes. "
              "[default: repairs/DATE]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as JSON.")
@click.option("--quiet", is_flag=True, help="No progress, only the outcome.")
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Mend a fusion: try remedies one by one until it is as good as it should be.

    Of a finished or unfinished RUN, or of a new one with the options of fusion run. What helps
    on validation is kept and built upon. What is handed out is never worse there than the best
    single modality; test is read once, at the end.

    \b
    fusion repair runs/20261124-101530-concat
    fusion repair --data PATH --strategy concat --target stretch --budget 2h
    """
    from ..display.repair import RepairDisplay, print_repair
    from ..workflows.repair import FILE, repair

    options["settings"], thresholds = thresholds_from(options["settings"])
    request = _request(options)
    source, registry = _source(ctx, options)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    out = Path(options["out"]) if options["out"] else Path("repairs") / stamp
    with RepairDisplay(quiet=options["quiet"] or options["as_json"]) as display:
        try:
            done = repair(source, out, registry, request, thresholds=thresholds,
                          jobs=options["jobs"], observer=display)  # fmt: skip
        except KeyboardInterrupt:
            if (out / FILE).is_file():
                click.echo(f"\nGo on with the same command and --out {out}", err=True)
            raise
    if options["as_json"]:
        click.echo(json.dumps({"repair": str(out), **done.to_json()}, indent=1))
    else:
        print_repair(done)
    return 0


def _request(options: dict[str, Any]) -> RepairRequest:
    from ..contracts.errors import ParameterError
    from ..workflows.grid import Budget
    from ..workflows.repair import RepairRequest, Target

    minutes = Budget.parse(options["budget"]).minutes if options["budget"] else None
    if options["budget"] and minutes is None:
        raise ParameterError(
            f"--budget of a repair is a time, and was given {options['budget']!r}.",
            hint="For example 30min or 2h; --epochs says how long each training is.",
        )
    return RepairRequest(Target(options["target"]), parse_features(options["steps"]), minutes)


def _source(ctx: click.Context, options: dict[str, Any]) -> tuple[Run | Plan, Registry]:
    from ..runs.plan import make_plan

    if options["run"]:
        refuse_with_run(ctx, {*WITH_RUN, "target", "steps", "budget", "out"}, options["settings"])
        run = open_run(ctx, options["run"])
        return run, run.registry
    registry = registry_from(ctx)
    return make_plan(config_from(options, registry), registry), registry
