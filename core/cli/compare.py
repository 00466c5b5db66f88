"""Command ``fusion compare``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runs.request import config_from, parse_features
from . import named_plugins, plugin_options, refuse_with_resume, registry_from, registry_of_stored
from .options import (
    data_options,
    outcome_options,
    requests_of,
    split_option,
    training_options,
    tune_option,
)
from .output import dated_folder, echo_json, resumable, warn

if TYPE_CHECKING:
    from ..registry.registry import Registry
    from ..workflows.grid import Request


@click.command("compare")
@data_options
@training_options
@split_option
@click.option("--strategies", default="", metavar="A,B,...|all",
              help="Fusion strategies to compare. [default: the one starred in fusion plugins "
              "list]")  # fmt: skip
@click.option("--balancers", default="none", show_default=True, metavar="A,B+C,...|all",
              help="Balancers to compare; none is plain training, A+B composes two "
              "balancers.")  # fmt: skip
@click.option("--no-controls", is_flag=True,
              help="Leave out the controls: plain training, 3 times the learning rate, and "
              "balancers that are controls.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
              help="Number of seeds. Each cell is trained once per seed, on the same "
              "split.")  # fmt: skip
@click.option("--budget", metavar="STEPS|TIME",
              help="Optimiser steps of each training, as in 600, or time for the whole comparison, "
              "as in 30min or 2h. [default: train.epochs]")  # fmt: skip
@tune_option
@click.option("--devices", default="", metavar="A,B,...",
              help="Devices to distribute the cells over, as in cuda:0,cuda:1.")  # fmt: skip
@click.option("--out", metavar="DIR",
              help="Folder to create for the runs. [default: compare/DATE]")  # fmt: skip
@click.option("--resume", metavar="DIR", help="Resume an interrupted comparison.")
@outcome_options("results")
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Compare strategies and balancers on equal terms: same clips, same budget, same baselines.

    Every cell (one strategy with its balancers) is a separate run. The single-modality baselines
    are trained once per seed and shared. Controls that papers often omit are added: the ensemble,
    plain training, plain training at three times the learning rate, and single-modality losses.
    Exits with 1 if a cell failed.

    \b
    fusion compare --strategies concat,gated,lmf --balancers none,ogm_ge,mmpareto --folds 6
    fusion compare --strategies all --balancers all --budget 2h --data PATH
    """
    from ..display.compare import CompareDisplay, print_comparisons
    from ..runs.trust import check_named, confirmed_config
    from ..workflows.compare import read_request, run_comparison

    if options["resume"]:
        refuse_with_resume(ctx, _WITH_RESUME, "comparison")
        out = Path(options["resume"])
        request = read_request(out)
        check_named(out, request.config.plugins, requests_of(ctx)["plugins"])
        registry = registry_of_stored(ctx, out, request.config.plugins)
        config, left_out = confirmed_config(request.config, options["cache"], {})
        for line in left_out:
            warn(line)
        request = replace(request, config=config)
    else:
        registry = registry_from(ctx)
        request = _request(options, registry)
        out = dated_folder(options["out"], "compare")
    with (
        CompareDisplay(quiet=options["quiet"] or options["as_json"]) as display,
        resumable(out / "compare.json", f"fusion compare --resume {out}{named_plugins(ctx)}"),
    ):
        comparisons = run_comparison(request, out, registry, jobs=options["jobs"], observer=display)
    if options["as_json"]:
        echo_json({"comparison": str(out), **comparisons.to_json()})
    else:
        print_comparisons(comparisons, out)
    return 1 if display.failures else 0


# Parameters that may be given with --resume; the cache only confirms what the folder requests.
_WITH_RESUME = {"resume", "jobs", "as_json", "quiet", "cache"}


def _request(options: dict[str, Any], registry: Registry) -> Request:
    from ..data.sources import absolute_source
    from ..workflows.grid import Budget, Request, make_cells

    config = config_from({**options, "balancers": ()}, registry)  # each cell sets its own balancers
    # Paths are made absolute, because a comparison may be resumed in another working directory.
    corpora = registry.corpora()
    config = replace(config, data=tuple(absolute_source(text, corpora) for text in config.data))
    strategies = _names(options["strategies"], "strategy", registry) or [config.strategy]
    balancers = _names(options["balancers"], "balancer", registry)
    cells = make_cells(
        strategies,
        balancers,
        registry,
        controls=not options["no_controls"],
        tuned=bool(options["tune"]),
    )
    seeds = tuple(range(config.seed, config.seed + options["seeds"]))
    budget = Budget.parse(options["budget"]) if options["budget"] else Budget()
    return Request(config, cells, seeds, budget, parse_features(options["devices"]))


def _names(text: str, kind: str, registry: Registry) -> list[str]:
    """Return the names in a comma-separated `text`; ``"all"`` means all plugins of the `kind`."""
    names = list(parse_features(text))
    if names == ["all"]:
        names = [entry.name for entry in registry.entries(kind)]
    return names
