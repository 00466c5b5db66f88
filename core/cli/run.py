"""``fusion run``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...cache.builds.workers import available_cores
from ..contracts.errors import FusionError
from ..runs.execution.worker_pools import same_processes
from ..runs.request import config_from
from ..toolkit.torchrun import started_by_torchrun
from . import plugin_options, refuse_with_resume, registry_from
from .options import (
    data_options,
    method_options,
    outcome_options,
    split_option,
    training_options,
    tune_option,
)
from .output import echo_json, resumable

if TYPE_CHECKING:
    from ..workflows.experiment import RunResult


@click.command("run")
@data_options
@training_options
@method_options
@split_option
@click.option("--batch-size", type=click.IntRange(min=2), help="The same as train.batch_size.")
@click.option("--lr", type=float, help="Peak learning rate; the same as train.lr.")
@tune_option
@click.option("--tracker", "trackers", multiple=True, metavar="NAME",
              help="One more place for the run's events.")  # fmt: skip
@click.option("--verify", type=click.Choice(["open", "always"]), default="open",
              show_default=True, help="always checks every feature that is read.")  # fmt: skip
@click.option("--out", metavar="DIR", help="Run directory. [default: runs/DATE-METHODS]")
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted.")
@click.option("--require-gain", is_flag=True,
              help="Exit 1 when fused is below the best single modality on test.")  # fmt: skip
@click.option("--no-report", is_flag=True, help="Write no report.html.")
@outcome_options("results")
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Train every modality alone, the fused model and the ensemble, and compare them.

    All are trained under one budget, chosen on validation speakers, and measured once on
    speakers that were never heard. The model handed out is the one that validation chose.

    \b
    fusion run
    fusion run --strategy gated --balance gradscale
    fusion run --data ravdess=PATH --folds 6 --set train.epochs=120
    """
    if options["resume"]:
        refuse_with_resume(ctx, _WITH_RESUME, "run")
    if started_by_torchrun():
        return _one_of_several(ctx, options)
    # Started before anything imports torch. On a GPU there may be fewer in the end.
    done = options["resume"] and (Path(options["resume"]) / "results.json").is_file()
    with same_processes(expected=0 if done else options["jobs"] or available_cores()):
        return _run(ctx, options)


def _one_of_several(ctx: click.Context, options: Mapping[str, Any]) -> int:
    """Started by torchrun: the first process runs, the others train along."""
    from ..training.hardware import distributed

    distributed.refuse_trials(options["tune"])
    with distributed.process_group():
        if distributed.leads():
            return _run(ctx, options)
        from ..runs.execution.scheduler import follow

        try:
            follow()
        except FusionError:
            # The first process fails alike, and says so: torchrun ends all as soon as one leaves.
            time.sleep(5)
            return 1
        return 0


def _run(ctx: click.Context, options: Mapping[str, Any]) -> int:
    from ..display.run import Display, print_result
    from ..runs.run import Run
    from ..workflows.experiment import new_run_path, resume_experiment, run_experiment

    if options["resume"]:
        out = Path(options["resume"])
        run = partial(resume_experiment, Run.open(out))
    else:
        registry = registry_from(ctx)
        config = config_from(options, registry)
        out = Path(options["out"]) if options["out"] else new_run_path(config, Path("runs"))
        run = partial(run_experiment, config, out, registry)
    report, quiet = not options["no_report"], options["quiet"] or options["as_json"]
    with (
        Display(quiet=quiet) as display,
        resumable(out / "run.json", f": fusion run --resume {out}"),
    ):
        result = run(jobs=options["jobs"], observer=display, report=report)
    if options["as_json"]:
        echo_json(_as_json(result))
    else:
        print_result(result)
    if options["require_gain"] and result.gain < 0:
        click.echo("--require-gain: the fused model is below the best single modality.", err=True)
        return 1
    return 0


# What may be given together with --resume: everything else is in the run directory.
_WITH_RESUME = {"resume", "jobs", "require_gain", "no_report", "as_json", "quiet"}


def _as_json(result: RunResult) -> dict[str, Any]:
    record = result.run.record
    return {
        "run": str(result.path),
        "synthetic": record.synthetic,
        "split": record.split.mode,
        "adapt": record.config.adapt,
        "tune": record.config.tune,
        "trainings": record.trainings,
        "speaker_independent": record.split.speaker_independent,
        **result.results.to_json(),
    }
