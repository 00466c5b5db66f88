"""Clips that lack a modality: masks of these clips, checks before training, texts for reports."""

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
    """Return the keys of the recordings that lack a modality, by modality."""
    keys: dict[str, set[str]] = {}
    for item in report.absent:
        keys.setdefault(item.feature, set()).add(item.key)
    return keys


def absent_of(report: BuildReport, keys: Sequence[str]) -> dict[str, Flags]:
    """Return a mask, (n,) bool, of the clips that lack a modality, by modality.

    The result has only modalities that some clip lacks.

    Raises
    ------
    CorpusError
        If all clips lack a modality.
    """
    flags_by_modality = {
        m: np.array([key in lacking_keys for key in keys])
        for m, lacking_keys in lacking(report).items()
    }
    for m, flags in flags_by_modality.items():
        if flags.all():
            first = next(item for item in report.absent if item.feature == m)
            raise CorpusError(
                f"No clip has the feature {m!r}. First clip: {first.reason}",
                hint=f"Leave {m} out of --features, or use recordings from which the extractor "
                f"{m} can make an array.",
            )
    return flags_by_modality


def check_absent(
    absent: Mapping[str, Flags],
    splits: Iterable[Split],
    clips: Sequence[Clip],
    classes: Sequence[str],
) -> None:
    """Raise if too few clips have a modality to train its baseline.

    Raises
    ------
    SplitError
        If, among the clips that have a modality, a fold's training part lacks a class or its
        validation part has fewer than two classes.
    """
    for split in splits:
        for m, flags in absent.items():
            own = split.restricted_to(~flags)
            try:
                check_classes(own, clips, classes, parts=("train", "val"))
            except SplitError as error:
                raise SplitError(
                    f"{int(flags.sum())} of {len(flags)} clips have no {m}. Without these clips: "
                    f"{error.message}",
                    hint=f"Leave {m} out of --features, or classes out of --labels.",
                ) from None


def absence_text(absent: Mapping[str, int]) -> list[str]:
    """Return the line of a run's table on clips that lack modalities; empty if no clip lacks any.

    `absent` maps a modality to the number of clips that lack the modality.
    """
    if not absent:
        return []
    counts = "; ".join(f"{n} clips have no {m}" for m, n in absent.items())
    return [
        f"{counts}. For these clips the baseline of the modality predicts the shares of the "
        "classes in training."
    ]


def missing_modality_warning(
    data: RunData, strategies: Iterable[str], registry: Registry
) -> str | None:
    """Return a warning if clips lack modalities and a strategy needs all of them; else None."""
    unsupporting = [s for s in strategies if not registry.strategy(s).accepts_missing]
    if not data.absent or not unsupporting:
        return None
    supporting = [
        e.name for e in registry.entries("strategy") if registry.strategy(e.name).accepts_missing
    ]
    names = " and ".join(dict.fromkeys(unsupporting))
    counts = [f"{int(f.sum())} of {len(f)} clips have no {m}" for m, f in data.absent.items()]
    return (
        f"{'; '.join(counts)}. Missing modalities are replaced by zeros for {names}. Strategies "
        f"that support missing modalities: {', '.join(supporting)}."
    )
