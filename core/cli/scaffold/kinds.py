"""What a new plugin is called and tried with, by its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...contracts.errors import UnknownNameError
from ...registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Kind:
    """Words and commands for a new plugin of one kind.

    In commands ``{plugin}`` stands for its name, and words in capitals for the plugin of that
    kind that a run uses by itself.

    Attributes
    ----------
    title : str
        What it is.
    summary : str
        What the plugin that is made does.
    run : str
        What shows it at work, in a minute or two.
    judge : tuple of str
        What says whether it is worth anything.
    judged : str
        What those commands compare, for people.
    check : tuple of str
        What holds it to its contract.
    """

    title: str
    summary: str
    run: str
    judge: tuple[str, ...]
    judged: str
    check: tuple[str, ...] = ("fusion plugins check {plugin}",)


_DEMO = "Figures on the demo corpus are evidence of nothing: give `--data PATH`."

KINDS: Mapping[str, Kind] = {
    "strategy": Kind(
        "A fusion strategy",
        "what any modality says loudly counts",
        "fusion run --strategy {plugin} --epochs 5",
        ("fusion compare --strategies {plugin},{STRATEGY} --folds 4",),
        f"It beside another strategy and the controls, under one budget. {_DEMO}",
    ),
    "balancer": Kind(
        "A balancer",
        "who is ahead in one epoch takes shorter steps in the next",
        "fusion run --balance {plugin} --epochs 5",
        ("fusion compare --balancers none,{plugin} --folds 4",),
        f"The training with it and without, and the controls, under one budget. {_DEMO}",
    ),
    "extractor": Kind(
        "An extractor",
        "how loud a recording is and how often it crosses zero, part by part",
        "fusion run --features {EXTRACTOR},{plugin} --epochs 5",
        ("fusion run --features {EXTRACTOR},{plugin} --folds 4",),
        f"The new modality alone, the other alone, and the two fused. {_DEMO}",
    ),
    "branch": Kind(
        "A branch",
        "convolutions along time, then mean and deviation over it",
        "fusion run --branch {EXTRACTOR}={plugin} --epochs 5",
        (
            "fusion run --branch {EXTRACTOR}={plugin} --folds 4 --out runs/mine",
            "fusion run --folds 4 --out runs/theirs",
            "fusion report runs/mine runs/theirs",
        ),
        f"The modality alone, and fused, with this branch and with its own. {_DEMO}",
    ),
    "corpus": Kind(
        "A corpus",
        "recordings in a folder per speaker, the emotion in the file's name",
        "fusion run --data {plugin}=samples --epochs 5",
        ("fusion run --data {plugin}=PATH --folds 4",),
        "Every clip of the corpus tested once. `samples`, which the tests make, holds tones.",
        (
            "python tests/test_{plugin}.py samples",
            "fusion plugins check {plugin} --data samples",
        ),
    ),
    "tracker": Kind(
        "A tracker",
        "the figures of every epoch as one table",
        "fusion run --tracker {plugin} --epochs 5",
        ("fusion run --tracker {plugin}",),
        "After a whole run, what it wrote should hold every epoch of each training.",
    ),
    "remedy": Kind(
        "A remedy",
        "a change of a configuration that `fusion repair` may try",
        "fusion repair --strategy {STRATEGY} --epochs 5 --steps {plugin} --out repairs/first",
        ("fusion repair --data PATH --strategy {STRATEGY} --out repairs/mine",),
        "The whole ladder: this remedy is tried first where one of its faults was found.",
    ),
}


def kind_of(name: str) -> Kind:
    """The words and commands for a kind.

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
