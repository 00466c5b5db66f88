"""From options to a configuration: the one road of the command line and of the Python API.

Nothing heavy is imported with this module, as the command line does it at its start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..registry.registry import Registry
    from .config import RunConfig

# Options that are fields of the configuration as they are, in the commands that have them.
_PLAIN = ("data", "labels", "strategy", "balancers", "split", "folds", "seed", "device", "trackers",
          "cache", "strict", "verify", "adapt")  # fmt: skip
_TRAIN = ("epochs", "batch_size", "lr")  # short for --set train.NAME


def config_from(options: Mapping[str, Any], registry: Registry) -> RunConfig:
    """The configuration that options ask for, defaults filled in."""
    from .plan import with_defaults

    return with_defaults(requested_config(options, registry), registry)


def requested_config(options: Mapping[str, Any], registry: Registry) -> RunConfig:
    """The configuration that options ask for.

    Parameters
    ----------
    options : mapping
        Name of an option, as click calls it -> what the command line gives: text, numbers, and
        a tuple of texts for an option that may be repeated.
    registry : Registry
        Plugins.

    Raises
    ------
    UserError
        Naming the option that is wrong.
    """
    from ..contracts.errors import ParameterError
    from ..registry.parameters import parse_settings
    from .config import RunConfig

    settings = parse_settings(options["settings"])
    for name in _TRAIN:
        if options.get(name) is not None:
            train = settings.setdefault("train", {})
            if name in train:
                option = f"--{name.replace('_', '-')}"
                raise ParameterError(f"{option} and --set train.{name} are the same: give one.")
            train[name] = str(options[name])
    return RunConfig(
        **{name: options[name] for name in _PLAIN if name in options},
        features=parse_features(options["features"]),
        branches=parse_branches(options.get("branches", ())),
        settings=settings,
        plugins=registry.requests,
        dtypes=parse_dtypes(options["dtypes"]),
        tune=options.get("tune") or 0,
    )


def parse_features(given: str) -> tuple[str, ...]:
    """``"mel, prosody"`` -> the names in it."""
    return tuple(name.strip() for name in given.split(",") if name.strip())


def parse_branches(given: tuple[str, ...]) -> dict[str, str]:
    """``("mel=crnn",)`` -> branch by modality."""
    from ..contracts.errors import ParameterError

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
    from .plan import EVERY

    split = (choice.rpartition("=") for choice in given)
    return {feature or EVERY: dtype for feature, _, dtype in split}
