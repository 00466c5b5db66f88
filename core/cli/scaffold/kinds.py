"""What one tries a new plugin with, by its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...contracts.errors import UnknownNameError
from ...registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Kind:
    """Commands for a new plugin of one kind, called `my_plugin`.

    Words in capitals stand for the plugin of that kind that a run uses by itself.

    Attributes
    ----------
    run : str
        What shows it at work, in a minute or two.
    judge : tuple of str
        What says whether it is worth anything.
    judged : str
        What those commands compare, for people.
    check : tuple of str
        What holds it to its contract.
    """

    run: str
    judge: tuple[str, ...]
    judged: str
    check: tuple[str, ...] = ("fusion plugins check my_plugin",)


_DEMO = "Figures on the demo corpus are evidence of nothing: give `--data PATH`."

KINDS: Mapping[str, Kind] = {
    "strategy": Kind(
        "fusion run --strategy my_plugin --epochs 5",
        ("fusion compare --strategies my_plugin,STRATEGY --folds 4",),
        f"It beside another strategy and the controls, under one budget. {_DEMO}",
    ),
    "balancer": Kind(
        "fusion run --balance my_plugin --epochs 5",
        ("fusion compare --balancers none,my_plugin --folds 4",),
        f"The training with it and without, and the controls, under one budget. {_DEMO}",
    ),
    "extractor": Kind(
        "fusion run --features EXTRACTOR,my_plugin --epochs 5",
        ("fusion run --features EXTRACTOR,my_plugin --folds 4",),
        f"The new modality alone, the other alone, and the two fused. {_DEMO}",
    ),
    "branch": Kind(
        "fusion run --branch EXTRACTOR=my_plugin --epochs 5",
        (
            "fusion run --branch EXTRACTOR=my_plugin --folds 4 --out runs/mine",
            "fusion run --folds 4 --out runs/theirs",
            "fusion report runs/mine runs/theirs",
        ),
        f"The modality alone, and fused, with this branch and with its own. {_DEMO}",
    ),
    "corpus": Kind(
        "fusion run --data my_plugin=samples --epochs 5",
        ("fusion run --data my_plugin=PATH --folds 4",),
        "Every clip of the corpus tested once. `samples`, which the tests make, holds tones.",
        (
            "python tests/test_my_plugin.py samples",
            "fusion plugins check my_plugin --data samples",
        ),
    ),
    "tracker": Kind(
        "fusion run --tracker my_plugin --epochs 5",
        ("fusion run --tracker my_plugin",),
        "After a whole run, what it wrote should hold every epoch of each training.",
    ),
    "remedy": Kind(
        "fusion repair --strategy STRATEGY --epochs 5 --steps my_plugin --out repairs/first",
        ("fusion repair --data PATH --strategy STRATEGY --out repairs/mine",),
        "The whole ladder: this remedy is tried first where one of its faults was found.",
    ),
}


def kind_of(name: str) -> Kind:
    """The commands for a kind.

    Raises
    ------
    UnknownNameError
        If there is no such kind of plugin.
    """
    if name not in KINDS:
        raise UnknownNameError("kind of plugin", name, KINDS)
    return KINDS[name]


def companions(registry: Registry) -> dict[str, str]:
    """EXTRACTOR, STRATEGY -> the plugin that stands beside the new one in the commands."""
    found: dict[str, str] = {}
    for kind in ("extractor", "strategy"):
        names = [*registry.defaults(kind), *(entry.name for entry in registry.entries(kind))]
        found[kind.upper()] = names[0] if names else "NAME"
    return found
