"""Conversion of options, from the command line or the Python API, to a run configuration.

The command line imports this module at its start, so heavy imports are inside the functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..registry.registry import Registry
    from .config import RunConfig

# Options that are copied unchanged to fields of the configuration. A command may lack some of the
# options.
_PLAIN = ("data", "labels", "strategy", "balancers", "split", "folds", "seed", "device", "trackers",
          "cache", "strict", "verify", "adapt")  # fmt: skip
_TRAIN = ("epochs", "batch_size", "lr")  # each option NAME is short for --set train.NAME


def config_from(options: Mapping[str, Any], registry: Registry) -> RunConfig:
    """Return the configuration that options request, with defaults filled in."""
    from .plan import with_defaults

    return with_defaults(requested_config(options, registry), registry)


def requested_config(options: Mapping[str, Any], registry: Registry) -> RunConfig:
    """Return the configuration that options request, without defaults.

    Parameters
    ----------
    options : mapping
        Values by the option's name in click: text, a number, or a tuple of texts for an option that
        may be repeated.
    registry : Registry
        Registry whose plugin requests are stored in the configuration.

    Raises
    ------
    UserError
        If an option is wrong; the message names the option.
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
                raise ParameterError(
                    f"{option} and --set train.{name} can't be given together: "
                    "they are the same parameter."
                )
            train[name] = str(options[name])
    return RunConfig(
        **{name: options[name] for name in _PLAIN if name in options},
        features=parse_features(options["features"]),
        branches=parse_branches(options.get("branches", ())),
        settings=settings,
        plugins=registry.requests,
        dtypes=parse_dtypes(options["dtypes"]),
        tune=options.get("tune") or 0,
        columns=parse_pairs("--column", options.get("columns", ())),
        ignored_columns=tuple(options.get("ignored_columns", ())),
        label_map=parse_pairs("--map-label", options.get("label_map", ())),
    )


def parse_features(text: str) -> tuple[str, ...]:
    """Split a comma-separated list such as ``"mel, prosody"`` into names."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_branches(choices: tuple[str, ...]) -> dict[str, str]:
    """Parse choices such as ``("mel=crnn",)``, and return the branch names by modality."""
    from ..contracts.errors import ParameterError

    branches: dict[str, str] = {}
    for choice in choices:
        modality, equals, branch = choice.partition("=")
        if not equals:
            raise ParameterError(f"--branch must be MODALITY=NAME, and is {choice!r}.")
        if modality in branches:
            raise ParameterError(f"--branch names the branch of {modality!r} twice.")
        branches[modality] = branch
    return branches


def parse_pairs(option: str, choices: tuple[str, ...]) -> dict[str, str]:
    """Parse choices such as ``("label=EmoClass",)``, and return the values by name.

    Raises
    ------
    ParameterError
        If a choice has no equals sign, or a name is given twice.
    """
    from ..contracts.errors import ParameterError

    pairs: dict[str, str] = {}
    for choice in choices:
        name, equals, value = choice.partition("=")
        if not (equals and name.strip() and value.strip()):
            raise ParameterError(f"{option} must be NAME=VALUE, and is {choice!r}.")
        if pairs.setdefault(name.strip(), value.strip()) != value.strip():
            raise ParameterError(f"{option} gives {name.strip()!r} two values.")
    return pairs


def parse_dtypes(choices: tuple[str, ...]) -> dict[str, str]:
    """Parse choices such as ``("float32", "mel=float16")``, and return the dtypes by feature.

    A dtype without a feature has the key ``"*"`` and applies to all other features.
    """
    from .plan import EVERY

    split = (choice.rpartition("=") for choice in choices)
    return {feature or EVERY: dtype for feature, _, dtype in split}
