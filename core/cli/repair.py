"""Command ``fusion repair``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..runs.request import parse_features
from . import plugin_options
from .diagnose import WITH_RUN, run_or_plan, thresholds_from
from .options import data_options, method_options, outcome_options, split_option, training_options
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
              help="Validation UAR at which to stop: minimum (best single modality), target (2 "
              "points above it), stretch (6 points above it), or a UAR in percent.")  # fmt: skip
@click.option("--steps", default="", metavar="A,B,...",
              help="Remedies to try, in this order. [default: first the remedies for the faults "
              "found by the diagnosis, then all others]")  # fmt: skip
@click.option("--budget", metavar="TIME",
              help="Start no further step after this time, as in 30min or 2h.")  # fmt: skip
@click.option("--out", metavar="DIR",
              help="Folder for the runs of the steps; an existing folder of the same repair is "
              "resumed. [default: repairs/DATE]")  # fmt: skip
@outcome_options("outcome")
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Improve a fused model: try remedies one by one until the model reaches the target.

    RUN is a run directory; its missing trainings are done first. Without RUN, a new run is
    trained with the options of fusion run. Remedies that raise the validation score are kept,
    and later steps build on them. The chosen model is never worse on validation than the best
    single modality. Test clips are read once, at the end.

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
        resumable(out / FILE, f"repeat the command with --out {out}"),
    ):
        outcome = repair(
            source, out, registry, request,
            thresholds=thresholds, jobs=options["jobs"], observer=display,
        )  # fmt: skip
    if options["as_json"]:
        echo_json({"repair": str(out), **outcome.to_json()})
    else:
        print_repair(outcome)
    return 0


def _request(options: dict[str, Any]) -> RepairRequest:
    from ..contracts.errors import ParameterError
    from ..workflows.grid import Budget
    from ..workflows.repair import RepairRequest, Target

    minutes = Budget.parse(options["budget"]).minutes if options["budget"] else None
    if options["budget"] and minutes is None:
        raise ParameterError(
            f"--budget of a repair must be a time, and is {options['budget']!r}.",
            hint="For example: 30min or 2h; --epochs sets the length of each training.",
        )
    return RepairRequest(Target(options["target"]), parse_features(options["steps"]), minutes)
