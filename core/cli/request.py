"""What the commands that train have in common: their options.

The configuration is made of them in :mod:`fusion.core.runs.request`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ..runs.request import config_from as config_from
from ..runs.request import parse_dtypes as parse_dtypes
from ..runs.request import parse_features as parse_features

Decorator = Callable[[Any], Any]


def data_options(function: Any) -> Any:
    """Which clips: shared by the commands that read corpora."""
    options = [
        click.option(
            "--data", multiple=True, metavar="[CORPUS=]PATH",
            help="A corpus: folder or table, detected or named. Repeat it to pool several. "
            "Without it, a generated demo corpus.",
        ),
        click.option(
            "--labels", default="shared", show_default=True, metavar="shared|native|A,B,...",
            help="Six shared emotions, the corpus's own classes, or a choice.",
        ),
        click.option(
            "--features", default="", metavar="A,B,...",
            help="Extractors, one modality each. [default: those that plugins list stars]",
        ),
        click.option(
            "--set", "settings", multiple=True, metavar="OWNER.NAME=VALUE",
            help="A parameter of a plugin, of branch.MODALITY or of train.",
        ),
        click.option(
            "--cache", metavar="DIR|URL",
            help="Cache folder, or another machine's cache to read from. [default: the user's]",
        ),
        click.option(
            "--dtype", "dtypes", multiple=True, metavar="[FEATURE=]DTYPE",
            help="Store features as float16 (half the bytes), float32 or float64.",
        ),
        click.option(
            "--jobs", type=click.IntRange(min=1), metavar="N",
            help="Processes at a time. [default: one per core; trainings on a GPU: up to four]",
        ),
        click.option("--strict", is_flag=True, help="Stop at an unreadable recording."),
    ]  # fmt: skip
    return _decorated(function, options)


def training_options(function: Any) -> Any:
    """How to train on them: shared by the commands that do."""
    options = [
        click.option(
            "--branch", "branches", multiple=True, metavar="MODALITY=NAME",
            help="The branch network of a modality.",
        ),
        click.option(
            "--folds", type=click.IntRange(min=2), metavar="K",
            help="Cross-validation: every clip is tested once. [default: one split]",
        ),
        click.option(
            "--seed", type=click.IntRange(min=0), default=0, show_default=True,
            help="Of split and training.",
        ),
        click.option(
            "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, mps."
        ),
        click.option(
            "--adapt", type=click.Choice(["none", "speaker"]), default="none", show_default=True,
            help="speaker: standardise features by the unlabelled clips of each speaker, test "
            "speakers included (docs/adaptation.md).",
        ),
    ]  # fmt: skip
    return _decorated(function, options)


def method_options(function: Any) -> Any:
    """Which one method: shared by the commands that train one."""
    options = [
        click.option(
            "--strategy", default="", metavar="NAME",
            help="Fusion strategy. [default: the starred one]",
        ),
        click.option(
            "--balance", "balancers", multiple=True, metavar="NAME",
            help="Balancer; repeat it to compose several. [default: none]",
        ),
        click.option(
            "--epochs", type=click.IntRange(min=1), help="Budget; the same as train.epochs."
        ),
    ]  # fmt: skip
    return _decorated(function, options)


def split_option(function: Any) -> Any:
    """By what clips are divided."""
    option = click.option(
        "--split", type=click.Choice(["speaker", "sentence", "corpus", "random"]),
        default="speaker", show_default=True,
        help="What no two parts share; sentence and random do share speakers.",
    )  # fmt: skip
    return option(function)


def _decorated(function: Any, options: list[Decorator]) -> Any:
    for option in reversed(options):
        function = option(function)
    return function
