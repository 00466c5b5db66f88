"""Command ``fusion run``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...cache.builds.workers import available_cores
from ..contracts.errors import FusionError
from ..display.plain_text import echo
from ..runs.execution.worker_pools import same_processes
from ..runs.request import config_from
from ..toolkit.torchrun import started_by_torchrun
from . import (
    named_plugins,
    plugin_options,
    refuse_with_resume,
    registry_from,
    registry_of_stored,
)
from .options import (
    data_options,
    method_options,
    outcome_options,
    requests_of,
    split_option,
    training_options,
    tune_option,
)
from .output import echo_json, resumable, warn

if TYPE_CHECKING:
    from ..runs.config import RunConfig
    from ..runs.run import Run
    from ..workflows.experiment import RunResult


@click.command("run")
@data_options
@training_options
@method_options
@split_option
@click.option("--batch-size", type=click.IntRange(min=2),
              help="Clips per batch; the same as --set train.batch_size=N.")  # fmt: skip
@click.option("--lr", type=float, help="Peak learning rate; the same as --set train.lr=RATE.")
@tune_option
@click.option("--tracker", "trackers", multiple=True, metavar="NAME",
              help="Experiment tracker that also logs the run. May be repeated.")  # fmt: skip
@click.option("--verify", type=click.Choice(["open", "always"]), default="open",
              show_default=True,
              help="open: check each cache file when it is opened; always: also compare every "
              "feature that is read with its checksum.")  # fmt: skip
@click.option("--out", metavar="DIR",
              help="Run directory to create. [default: runs/DATE-METHODS]")  # fmt: skip
@click.option("--resume", metavar="RUN", help="Resume an interrupted run.")
@click.option("--require-gain", is_flag=True,
              help="Exit with 1 if the fused model scores below the best single modality on "
              "test.")  # fmt: skip
@click.option("--no-report", is_flag=True, help="Do not write report.html.")
@outcome_options("results")
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Train every modality alone, the fused model and the ensemble, and compare them.

    All models train under the same budget. Selection uses validation clips only; then each model
    is tested once, by default on held-out speakers. The chosen model, the best on validation, is
    the one that fusion predict uses.

    \b
    fusion run
    fusion run --strategy gated --balance gradscale
    fusion run --data ravdess=PATH --folds 6 --set train.epochs=120
    """
    if options["resume"]:
        refuse_with_resume(ctx, _WITH_RESUME, "run")
    if started_by_torchrun():
        return _one_of_several(ctx, options)
    # Workers start before this process imports torch. On a GPU, some workers may stay unused.
    finished = options["resume"] and (Path(options["resume"]) / "results.json").is_file()
    with same_processes(expected=0 if finished else options["jobs"] or available_cores()):
        return _run(ctx, options)


def _one_of_several(ctx: click.Context, options: Mapping[str, Any]) -> int:
    """Run under torchrun: rank 0 executes the command, and the other ranks join its trainings."""
    from ..training.hardware import distributed

    distributed.refuse_trials(options["tune"])
    with distributed.process_group():
        if distributed.leads():
            return _run(ctx, options)
        from ..runs.execution.scheduler import follow

        try:
            follow()
        except FusionError:
            # Rank 0 fails in the same way and prints the error. When one process exits, torchrun
            # kills all processes. The wait gives rank 0 time to print.
            time.sleep(5)
            return 1
        return 0


def _run(ctx: click.Context, options: Mapping[str, Any]) -> int:
    from ..display.run import Display, print_result
    from ..workflows.experiment import new_run_path, resume_experiment, run_experiment

    if options["resume"]:
        out = Path(options["resume"])
        run = partial(resume_experiment, *_resumed(ctx, out, options))
    else:
        registry = registry_from(ctx)
        config = config_from(options, registry)
        out = Path(options["out"]) if options["out"] else new_run_path(config, Path("runs"))
        run = partial(run_experiment, config, out, registry)
    report, quiet = not options["no_report"], options["quiet"] or options["as_json"]
    with (
        Display(quiet=quiet) as display,
        resumable(out / "run.json", f"fusion run --resume {out}{named_plugins(ctx)}"),
    ):
        result = run(jobs=options["jobs"], observer=display, report=report)
    if options["as_json"]:
        echo_json(_as_json(result))
    else:
        print_result(result)
    if options["require_gain"] and result.gain < 0:
        echo(
            "--require-gain: the fused model scores below the best single modality on test.",
            err=True,
        )
        return 1
    return 0


# Parameters that may be given with --resume. The run directory stores all other parameters; the
# cache and the settings of trackers only confirm what the run directory requests.
_WITH_RESUME = {"resume", "jobs", "require_gain", "no_report", "as_json", "quiet", "cache",
                "settings"}  # fmt: skip


def _resumed(ctx: click.Context, out: Path, options: Mapping[str, Any]) -> tuple[Run, RunConfig]:
    """Return the run to resume, and its configuration with the places that the user confirmed."""
    from ..registry.parameters import parse_settings
    from ..runs.run import Run
    from ..runs.trust import check_named, confirmed_config

    run = Run.open(out)
    requested, named = run.record.config, requests_of(ctx)["plugins"]
    check_named(out, requested.plugins, named)
    if named or not run.is_complete():  # a finished run is only read
        run.registry = registry_of_stored(ctx, out, requested.plugins)
    settings = parse_settings(options["settings"])
    config, warnings = confirmed_config(requested, options["cache"], settings)
    for line in warnings:
        warn(line)
    return run, config


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
        "data": [intake.to_json() for intake in record.intake(result.run.data.clips)],
        **result.results.to_json(),
    }
