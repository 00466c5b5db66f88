"""``fusion repair``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..runs.request import parse_features
from . import plugin_options
from .diagnose import WITH_RUN, run_or_plan, thresholds_from
from .options import data_options, json_option, method_options, split_option, training_options
from .output import dated_folder, echo_json, resumable

if TYPE_CHECKING:
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
@json_option("Print what came of it as JSON.")
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
    source, registry = run_or_plan(ctx, options, {*WITH_RUN, "target", "steps", "budget", "out"})
    out = dated_folder(options["out"], "repairs")
    with (
        RepairDisplay(quiet=options["quiet"] or options["as_json"]) as display,
        resumable(out / FILE, f" the same command and --out {out}"),
    ):
        done = repair(
            source, out, registry, request,
            thresholds=thresholds, jobs=options["jobs"], observer=display,
        )  # fmt: skip
    if options["as_json"]:
        echo_json({"repair": str(out), **done.to_json()})
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
