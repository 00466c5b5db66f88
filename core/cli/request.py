"""What the commands that train have in common: options, and the configuration made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..config import RunConfig
    from ..registry import Registry

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
            help="Processes at a time. [default: one per core]",
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


# Options that are fields of the configuration as they are, in the commands that have them.
_PLAIN = ("data", "labels", "strategy", "balancers", "split", "folds", "seed", "device", "trackers",
          "cache", "strict", "verify")  # fmt: skip
_TRAIN = ("epochs", "batch_size", "lr")  # short for --set train.NAME


def config_from(options: dict[str, Any], registry: Registry) -> RunConfig:
    """The configuration that a command's options ask for, defaults filled in.

    Raises
    ------
    UserError
        Naming the option that is wrong.
    """
    from ..config import RunConfig
    from ..errors import ParameterError
    from ..parameters import parse_settings
    from ..prepare import with_defaults

    settings = parse_settings(options["settings"])
    for name in _TRAIN:
        if options.get(name) is not None:
            train = settings.setdefault("train", {})
            if name in train:
                option = f"--{name.replace('_', '-')}"
                raise ParameterError(f"{option} and --set train.{name} are the same: give one.")
            train[name] = str(options[name])
    config = RunConfig(
        **{name: options[name] for name in _PLAIN if name in options},
        features=parse_features(options["features"]),
        branches=parse_branches(options["branches"]),
        settings=settings,
        plugins=registry.requests,
        dtypes=parse_dtypes(options["dtypes"]),
        tune=options.get("tune") or 0,
    )
    return with_defaults(config, registry)


def parse_features(given: str) -> tuple[str, ...]:
    """``"mel, prosody"`` -> the names in it."""
    return tuple(name.strip() for name in given.split(",") if name.strip())


def parse_branches(given: tuple[str, ...]) -> dict[str, str]:
    """``("mel=crnn",)`` -> branch by modality."""
    from ..errors import ParameterError

    branches: dict[str, str] = {}
    for choice in given:
        modality, equals, branch = choice.partition("=")
        if not equals:
            raise ParameterError(f"--branch takes MODALITY=NAME, and was given {choice!r}.")
        if modality in branches:
            raise ParameterError(f"--branch names the branch of {modality!r} twice.")
        branches[modality] = branch
    return branches


def parse_dtypes(given: tuple[str, ...]) -> dict[str, str]:
    """``("float32", "mel=float16")`` -> dtype by feature, the one for all under ``"*"``."""
    from ..prepare import EVERY

    split = (choice.rpartition("=") for choice in given)
    return {feature or EVERY: dtype for feature, _, dtype in split}
