"""Command-line options that several commands share, each declared once.

:mod:`fusion.core.runs.request` turns the parsed options into a run configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from . import tracing

Decorator = Callable[[Any], Any]


def together(*options: Decorator) -> Decorator:
    """Return a decorator that adds `options` to a command, in the given order."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


# -- plugins -------------------------------------------------------------------------


def requests_of(ctx: click.Context) -> dict[str, Any]:
    """Return the plugin options given before or after the command: plugins, strict, trace."""
    root = ctx.find_root()
    if root.obj is None:
        root.obj = {"plugins": (), "strict": False, "trace": False}
    requests: dict[str, Any] = root.obj
    return requests


def _collect(ctx: click.Context, _: click.Parameter, value: tuple[str, ...]) -> None:
    requests_of(ctx)["plugins"] += value


def _strict(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    requests_of(ctx)["strict"] |= value


def _trace(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and ctx.parent is None:
        requests_of(ctx)["trace"] = True  # the group starts the trace when the command is known
    elif value:
        tracing.start_trace(ctx)


def _plugin_options(note: str) -> Decorator:
    return together(
        click.option("-p", multiple=True, metavar="PLUGIN", expose_value=False, callback=_collect,
                     help=f"Load a plugin (./file.py or a module), or block one (no:NAME).{note}"),
        click.option("--strict-plugins", is_flag=True, expose_value=False, callback=_strict,
                     help="Stop if a plugin is broken, instead of skipping it."),
        click.option("--trace-hooks", is_flag=True, expose_value=False, callback=_trace,
                     help="Print how long the calls of each plugin took."),
        click.option("--debug", is_flag=True, expose_value=False,
                     help="Show tracebacks of errors."),
    )  # fmt: skip


group_options = _plugin_options(" May be repeated.")
plugin_options = _plugin_options("")  # the same options, accepted after the name of the command

# -- what to train -------------------------------------------------------------------

# Options that select clips and features, for the commands that read corpora.
data_options = together(
    click.option("--data", multiple=True, metavar="[CORPUS=]PATH",
                 help="Folder or table of a corpus. The corpus plugin is detected, or named with "
                 "CORPUS=. Repeat the option to pool corpora. Files of a published split: "
                 "train=PATH,val=PATH,test=PATH. [default: a generated demo corpus]"),
    click.option("--column", "columns", multiple=True, metavar="ROLE=NAME",
                 help="Column of a table for a role: path, label, speaker, split, fold, start, "
                 "end, duration, name, transcript, or an attribute such as sentence. May be "
                 "repeated."),
    click.option("--ignore-column", "ignored_columns", multiple=True, metavar="NAME",
                 help="Column of a table that is not read. May be repeated."),
    click.option("--map-label", "label_map", multiple=True, metavar="FROM=TO",
                 help="Give clips of the corpus's label FROM the label TO. May be repeated."),
    click.option("--labels", default="shared", show_default=True, metavar="shared|native|A,B,...",
                 help="Classes: the six shared emotions, the corpus's own classes, or a list of "
                 "classes."),
    click.option("--features", default="", metavar="A,B,...",
                 help="Feature extractors; each makes one modality. [default: those starred in "
                 "fusion plugins list]"),
    click.option("--set", "settings", multiple=True, metavar="OWNER.NAME=VALUE",
                 help="Set a parameter; OWNER is a plugin, branch.MODALITY or train."),
    click.option("--cache", metavar="DIR|URL", help="Cache folder, or URL of another machine's "
                 "cache to read from. [default: the user's cache]"),
    click.option("--dtype", "dtypes", multiple=True, metavar="[FEATURE=]DTYPE",
                 help="Store features as float16 (half the bytes), float32 or float64."),
    click.option("--jobs", type=click.IntRange(min=1), metavar="N",
                 help="Number of parallel processes. [default: one per core; up to four trainings "
                 "on a GPU]"),
    click.option("--strict", is_flag=True,
                 help="Stop at an unreadable recording, instead of leaving it out."),
)  # fmt: skip

# Options of training, for the commands that train.
training_options = together(
    click.option("--branch", "branches", multiple=True, metavar="MODALITY=NAME",
                 help="Branch network of a modality."),
    click.option("--folds", type=click.IntRange(min=2), metavar="K",
                 help="Cross-validate with K folds: every clip is tested once. "
                 "[default: one split]"),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
                 help="Random seed of the split and of training."),
    click.option("--device", default="auto", show_default=True,
                 help="Device to train on: auto, cpu, cuda, cuda:N or mps."),
    click.option("--adapt", type=click.Choice(["none", "speaker"]), default="none",
                 show_default=True,
                 help="speaker: standardise the features of each speaker by the speaker's "
                 "unlabelled clips, for test speakers too (docs/how-to/adapt-to-speakers.md)."),
)  # fmt: skip

# Options that select one method, for the commands that train one.
method_options = together(
    click.option("--strategy", default="", metavar="NAME",
                 help="Fusion strategy. [default: the one starred in fusion plugins list]"),
    click.option("--balance", "balancers", multiple=True, metavar="NAME",
                 help="Balancer. Repeat the option to compose several. [default: none]"),
    click.option("--epochs", type=click.IntRange(min=1),
                 help="Training budget in epochs; the same as --set train.epochs=N."),
)  # fmt: skip

split_option = click.option(
    "--split", type=click.Choice(["speaker", "sentence", "corpus", "random", "published"]),
    default="speaker", show_default=True,
    help="Keep speakers, sentences or corpora apart between training, validation and test; random "
    "keeps nothing apart. published follows the split or the folds that the corpus prescribes, "
    "even if they share speakers. sentence and random are speaker-dependent, and so is a published "
    "split that shares speakers.",
)  # fmt: skip
tune_option = click.option(
    "--tune", type=click.IntRange(min=2), metavar="N",
    help="Tune the hyper-parameters of each model in N trials, scored on validation. "
    "[default: no tuning]",
)  # fmt: skip

# -- what commands print -------------------------------------------------------------


def json_option(text: str = "Print JSON.") -> Decorator:
    """Return the option ``--json`` with the help `text`."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def outcome_options(outcome: str) -> Decorator:
    """Return ``--json`` and ``--quiet`` for a long command that prints its `outcome` at the end."""
    return together(
        json_option(f"Print the {outcome} as JSON."),
        click.option("--quiet", is_flag=True,
                     help=f"Show no progress, print only the {outcome}."),
    )  # fmt: skip


# -- caches --------------------------------------------------------------------------

local_cache_option = click.option(
    "--cache", "root", metavar="DIR", help="Cache folder. [default: the user's cache]"
)
