"""Options that several commands share, each declared once.

The configuration is made of them in :mod:`fusion.core.runs.request`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from . import tracing

Decorator = Callable[[Any], Any]


def together(*options: Decorator) -> Decorator:
    """Return a decorator that adds options in this order."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


# -- plugins -------------------------------------------------------------------------


def requests_of(ctx: click.Context) -> dict[str, Any]:
    """Return the options on plugins, of the group and of the command: plugins, strict, trace."""
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
        requests_of(ctx)["trace"] = True  # the group starts it when its command is known
    elif value:
        tracing.start_trace(ctx)


def _plugin_options(more: str) -> Decorator:
    return together(
        click.option("-p", multiple=True, metavar="PLUGIN", expose_value=False, callback=_collect,
                     help=f"Load a plugin (./file.py or a module), or block one (no:NAME).{more}"),
        click.option("--strict-plugins", is_flag=True, expose_value=False, callback=_strict,
                     help="Stop at a broken plugin, don't skip it."),
        click.option("--trace-hooks", is_flag=True, expose_value=False, callback=_trace,
                     help="Say what each plugin's calls took."),
        click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks."),
    )  # fmt: skip


group_options = _plugin_options(" May be repeated.")
plugin_options = _plugin_options("")  # the same may stand after the command

# -- what to train -------------------------------------------------------------------

# Which clips: of the commands that read corpora.
data_options = together(
    click.option("--data", multiple=True, metavar="[CORPUS=]PATH",
                 help="A corpus: folder or table, detected or named. Repeat it to pool several. "
                 "Without it, a generated demo corpus."),
    click.option("--labels", default="shared", show_default=True, metavar="shared|native|A,B,...",
                 help="Six shared emotions, the corpus's own classes, or a choice."),
    click.option("--features", default="", metavar="A,B,...",
                 help="Extractors, one modality each. [default: those that plugins list stars]"),
    click.option("--set", "settings", multiple=True, metavar="OWNER.NAME=VALUE",
                 help="A parameter of a plugin, of branch.MODALITY or of train."),
    click.option("--cache", metavar="DIR|URL", help="Cache folder, or another machine's cache to "
                 "read from. [default: the user's]"),
    click.option("--dtype", "dtypes", multiple=True, metavar="[FEATURE=]DTYPE",
                 help="Store features as float16 (half the bytes), float32 or float64."),
    click.option("--jobs", type=click.IntRange(min=1), metavar="N",
                 help="Processes at a time. [default: one per core; trainings on a GPU: up to "
                 "four]"),
    click.option("--strict", is_flag=True, help="Stop at an unreadable recording."),
)  # fmt: skip

# How to train on them: of the commands that do.
training_options = together(
    click.option("--branch", "branches", multiple=True, metavar="MODALITY=NAME",
                 help="The branch network of a modality."),
    click.option("--folds", type=click.IntRange(min=2), metavar="K",
                 help="Cross-validation: every clip is tested once. [default: one split]"),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
                 help="Of split and training."),
    click.option("--device", default="auto", show_default=True,
                 help="auto, cpu, cuda, cuda:N, mps."),
    click.option("--adapt", type=click.Choice(["none", "speaker"]), default="none",
                 show_default=True,
                 help="speaker: standardise features by the unlabelled clips of each speaker, test "
                 "speakers included (docs/adaptation.md)."),
)  # fmt: skip

# Which one method: of the commands that train one.
method_options = together(
    click.option("--strategy", default="", metavar="NAME",
                 help="Fusion strategy. [default: the starred one]"),
    click.option("--balance", "balancers", multiple=True, metavar="NAME",
                 help="Balancer; repeat it to compose several. [default: none]"),
    click.option("--epochs", type=click.IntRange(min=1), help="Budget; the same as train.epochs."),
)  # fmt: skip

split_option = click.option(
    "--split", type=click.Choice(["speaker", "sentence", "corpus", "random"]),
    default="speaker", show_default=True,
    help="What no two parts share; sentence and random do share speakers.",
)  # fmt: skip
tune_option = click.option(
    "--tune", type=click.IntRange(min=2), metavar="N",
    help="Try N settings for each model, by validation. [default: none]",
)  # fmt: skip

# -- what commands print -------------------------------------------------------------


def json_option(what: str = "For machines.") -> Decorator:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help=what)


def outcome_options(what: str) -> Decorator:
    """``--json`` and ``--quiet`` of a command that prints the `what` of a long work."""
    return together(
        json_option(f"Print the {what} as JSON."),
        click.option("--quiet", is_flag=True, help=f"No progress, only the {what}."),
    )


# -- caches --------------------------------------------------------------------------

local_cache_option = click.option(
    "--cache", "root", metavar="DIR", help="Cache folder. [default: the user's]"
)
