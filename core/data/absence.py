"""What clips that lack a modality mean for a run: who can learn, and who knows of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ...cache.builds.progress import BuildReport
from ..contracts import Clip
from ..contracts.errors import CorpusError, SplitError
from ..registry.registry import Registry
from .dataset import RunData
from .splits import Split, check_classes

Flags = npt.NDArray[np.bool_]


def lacking(report: BuildReport) -> dict[str, set[str]]:
    """Modality -> keys of the recordings that lack it."""
    found: dict[str, set[str]] = {}
    for item in report.absent:
        found.setdefault(item.feature, set()).add(item.key)
    return found


def absent_of(report: BuildReport, keys: Sequence[str]) -> dict[str, Flags]:
    """Modality -> which of the clips lack it, (n,) bool; only of modalities that some clip lacks.

    Raises
    ------
    CorpusError
        If no clip has a modality.
    """
    found = {m: np.array([key in gone for key in keys]) for m, gone in lacking(report).items()}
    for m, flags in found.items():
        if flags.all():
            first = next(item for item in report.absent if item.feature == m)
            raise CorpusError(
                f"No clip has the feature {m!r}. The first: {first.reason}",
                hint=f"Leave it out (--features without {m}), or see to it that it is made of "
                "these recordings.",
            )
    return found


def check_absent(
    absent: Mapping[str, Flags],
    splits: Iterable[Split],
    clips: Sequence[Clip],
    classes: Sequence[str],
) -> None:
    """Refuse a modality that too few clips have for it to be trained alone.

    Raises
    ------
    SplitError
        If the clips of a fold's training part that have it lack a class, or of its validation
        part all but one.
    """
    for split in splits:
        for m, flags in absent.items():
            own = split.where(~flags)
            try:
                check_classes(own, clips, classes, parts=("train", "val"))
            except SplitError as error:
                raise SplitError(
                    f"{int(flags.sum())} of {len(flags)} clips have no {m}, and without them: "
                    f"{error.message}",
                    hint=f"Leave {m} out (--features), or classes (--labels).",
                ) from None


def absence_text(absent: Mapping[str, int]) -> list[str]:
    """What a reader of a run's table has to know of clips that lack a modality: a line or none.

    `absent` has how many clips lack a modality, of those that some clip lacks.
    """
    if not absent:
        return []
    counts = "; ".join(f"{n} clips have no {m}" for m, n in absent.items())
    return [f"{counts}. Alone, a modality says of them how frequent each class is in training."]


def unaware(data: RunData, strategies: Iterable[str], registry: Registry) -> str | None:
    """A warning of strategies that are not told what a clip lacks; None where all are."""
    blind = [s for s in strategies if not registry.strategy(s).accepts_missing]
    if not data.absent or not blind:
        return None
    known = [
        e.name for e in registry.entries("strategy") if registry.strategy(e.name).accepts_missing
    ]
    names = " and ".join(dict.fromkeys(blind))
    counts = [f"{int(f.sum())} of {len(f)} clips have no {m}" for m, f in data.absent.items()]
    return (
        f"{'; '.join(counts)}, and {names} can't be told so: it sees zeros in "
        f"their place. Strategies that take what a clip has: {', '.join(known)}."
    )
