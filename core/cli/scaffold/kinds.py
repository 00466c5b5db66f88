"""Texts and commands for a new plugin of each kind: title, summary, commands to run and judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...contracts.errors import UnknownNameError
from ...registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Kind:
    """Texts and commands for a new plugin of one kind.

    In commands, ``{plugin}`` is replaced by the name of the new plugin, and a kind in capitals,
    such as ``{EXTRACTOR}``, by the default plugin of that kind.

    Attributes
    ----------
    title : str
        Kind of plugin, with an article.
    summary : str
        Task of the generated plugin, as a phrase in lower case without a full stop.
    run : str
        Command that uses the plugin. The command takes one or two minutes.
    judge : tuple of str
        Commands that measure whether the plugin improves results.
    judged : str
        Sentence on the comparison that the commands in `judge` make.
    check : tuple of str
        Commands that check the plugin against its contract.
    """

    title: str
    summary: str
    run: str
    judge: tuple[str, ...]
    judged: str
    check: tuple[str, ...] = ("fusion plugins check {plugin}",)


_DEMO = "Add `--data PATH`, because scores on the demo corpus are no evidence about real speech."

KINDS: Mapping[str, Kind] = {
    "strategy": Kind(
        "A fusion strategy",
        "smooth maximum of the modality embeddings",
        "fusion run --strategy {plugin} --epochs 5",
        ("fusion compare --strategies {plugin},{STRATEGY} --folds 4",),
        f"Compares the new strategy with another one and the controls, under one budget. {_DEMO}",
    ),
    "balancer": Kind(
        "A balancer",
        "shorter steps for modalities that were ahead in the previous epoch",
        "fusion run --balance {plugin} --epochs 5",
        ("fusion compare --balancers none,{plugin} --folds 4",),
        "Compares training with and without the balancer, and the controls, under one budget. "
        f"{_DEMO}",
    ),
    "extractor": Kind(
        "An extractor",
        "level and zero-crossing rate in equal parts of a recording",
        "fusion run --features {EXTRACTOR},{plugin} --epochs 5",
        ("fusion run --features {EXTRACTOR},{plugin} --folds 4",),
        f"Compares the new modality alone, another modality alone, and the two fused. {_DEMO}",
    ),
    "branch": Kind(
        "A branch",
        "convolutions along time, then mean and standard deviation over time",
        "fusion run --branch {EXTRACTOR}={plugin} --epochs 5",
        (
            "fusion run --branch {EXTRACTOR}={plugin} --folds 4 --out runs/mine",
            "fusion run --folds 4 --out runs/theirs",
            "fusion report runs/mine runs/theirs",
        ),
        "Compares the modality, alone and fused, with this branch and with its default branch. "
        f"{_DEMO}",
    ),
    "corpus": Kind(
        "A corpus",
        "recordings in one folder per speaker, with the emotion in the file name",
        "fusion run --data {plugin}=samples --epochs 5",
        ("fusion run --data {plugin}=PATH --folds 4",),
        "Tests every clip of the corpus once. `samples` holds tones that the tests generate.",
        (
            "python tests/test_{plugin}.py samples",
            "fusion plugins check {plugin} --data samples",
        ),
    ),
    "tracker": Kind(
        "A tracker",
        "metrics of every epoch in one table",
        "fusion run --tracker {plugin} --epochs 5",
        ("fusion run --tracker {plugin}",),
        "After a complete run, the table should hold every epoch of each training.",
    ),
    "remedy": Kind(
        "A remedy",
        "stronger weight decay and label smoothing",
        "fusion repair --strategy {STRATEGY} --epochs 5 --steps {plugin} --out repairs/first",
        ("fusion repair --data PATH --strategy {STRATEGY} --out repairs/mine",),
        "Tries the ladder of remedies. This remedy comes first if one of its faults was found.",
    ),
}


def kind_of(name: str) -> Kind:
    """Return the texts and commands for a kind of plugin.

    Raises
    ------
    UnknownNameError
        If there is no such kind of plugin.
    """
    if name not in KINDS:
        raise UnknownNameError("kind of plugin", name, KINDS)
    return KINDS[name]


def companions(registry: Registry) -> dict[str, str]:
    """Return the existing plugins that replace EXTRACTOR and STRATEGY in the commands."""
    companion_names: dict[str, str] = {}
    for kind in ("extractor", "strategy"):
        names = [*registry.defaults(kind), *(entry.name for entry in registry.entries(kind))]
        companion_names[kind.upper()] = names[0] if names else "NAME"
    return companion_names
