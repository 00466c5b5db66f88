"""Sample-level modality valuation: clips come again with the modality that adds too little."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ...core.contracts import Balancer, Clips, Context, Integer, Outputs, Space, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain
from ...core.toolkit.shapley import shapley_values

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


class SMV(Balancer):
    """Shows clips again with one modality alone, where that modality contributes little.

    For every training clip, S being what the strategy is shown of it,

        v(S)  = |S| where f(S) is right, else 0
        phi_m = Shapley value of m for v,

    which sum to M where the fused scores are right and to 0 where not; 1 each if every subset
    is right. Then for each clip and modality

        copies = 3 if phi_m < 0, 2 if 0 <= phi_m < 1/2, 1 if 1/2 <= phi_m < 1, else 0

    are added to the epoch, that show m alone, the others blanked. For two modalities phi_a =
    (v(a) + v(a, b) - v(b)) / 2 is one of -1/2, 0, 1/2, 1 and 3/2. Measured before every epoch
    after the first `start`, in evaluation mode. Of a clip that lacks modalities |S| counts those
    that it has, and no copy shows another.

    Sample-level modality valuation (Wei et al. 2024, CVPR). Departures: public code has limits
    at -0.1 and 0.4, which for two modalities separate the same values; with three, values lie
    on them. An epoch takes as many steps as ever, so a random part of the clips and copies is
    gone through, where public code trains longer than what it is compared with.

    Parameters
    ----------
    start : int
        Epochs before it starts, >= 0.

    When to use
    -----------
    Where a modality is good on some clips and idle on others. Early on most clips are wrong
    with every subset, then copies of both modalities crowd out the clips themselves: with
    six classes, let it start when the training UAR is well above a half.

    Cost
    ----
    Before each epoch one forward pass of the branches over the training clips, and 2^M of the
    strategy.

    References
    ----------
    Wei, Y., Feng, R., Wang, Z., Hu, D. (2024). Enhancing multimodal cooperation via
    sample-level modality valuation. CVPR.
    """

    name = "smv"
    space: ClassVar[Mapping[str, Space]] = {"start": Integer(1, 10)}
    takes_over: ClassVar[tuple[Domain, ...]] = ("clips",)

    def __init__(self, *, start: int = 5) -> None:
        if start < 0:
            raise ParameterError(f"smv.start must be 0 or more, and is {start}.")
        self.start = start

    @property
    def acts_from(self) -> int:
        return self.start + 1

    def setup(self, context: Context) -> None:
        self._context = context
        self._means: dict[str, float] = {}

    def clips(self, clips: Clips, epoch: int) -> Clips:
        names = self._context.modalities
        if epoch <= self.start or len(names) < 2:
            return clips
        known = self._context.outputs("train", subsets=True)
        values = valued(known, names)  # (n, M)
        there = has(known, names)  # (n, M)
        means = values.sum(axis=0) / there.sum(axis=0)  # over the clips that have each
        self._means = dict(zip(names, means.tolist(), strict=True))
        counts = (copies(values) * there)[_places(clips.indices, known.indices)]
        return with_copies(clips, counts, names)

    def metrics(self) -> dict[str, float]:
        """Mean Shapley value of each modality; their sum is M times the accuracy."""
        return {f"smv.{m}": mean for m, mean in self._means.items()}


def has(known: Outputs, names: list[str]) -> npt.NDArray[np.bool_]:
    """Which modalities each clip has, (n, M)."""
    everybody = np.ones(len(known.labels), dtype=np.bool_)
    return np.stack(
        [known.present[m].cpu().numpy() if m in known.present else everybody for m in names],
        axis=1,
    )


def valued(known: Outputs, names: list[str]) -> FloatArray:
    """Shapley value of each modality for each clip, (n, M); 0 of one that the clip lacks."""
    there = dict(zip(names, has(known, names).T, strict=True))

    def worth(members: Collection[str]) -> FloatArray:
        right = known.subsets[tuple(members)].argmax(dim=1) == known.labels
        count = sum((there[m] for m in members), np.zeros(len(right)))  # (n,)
        found: FloatArray = count * right.cpu().numpy().astype(np.float64)
        return found

    found = shapley_values(worth, names)
    # Sums of thirds and sixths, which rounding would put on either side of a limit.
    return np.stack([found[m] for m in names], axis=1).round(6)


def copies(values: FloatArray) -> IntArray:
    """Shapley values -> how often the clip comes again with the modality alone, 0 to 3."""
    found: IntArray = np.ceil(2 * (1 - values)).clip(0, 3).astype(np.int64)
    return found


def with_copies(clips: Clips, counts: IntArray, names: list[str]) -> Clips:
    """The clips, and so many copies of each that show one modality alone; counts (n, M)."""
    total, modalities = counts.shape
    present = clips.present
    if present is None:
        present = np.ones((total, modalities), dtype=np.bool_)
    counts = counts * present  # what a clip lacks, no copy can show
    # By name, so that the shuffled epoch does not depend on the order of the modalities.
    columns = np.argsort(names)
    rows, alone = np.nonzero(counts[:, columns])
    alone = columns[alone]
    times = counts[rows, alone]
    rows, alone = np.repeat(rows, times), np.repeat(alone, times)
    shown = np.eye(modalities, dtype=np.bool_)[alone]  # (copies, M)
    return Clips(
        np.concatenate([clips.indices, clips.indices[rows]]), np.concatenate([present, shown])
    )


def _places(wanted: IntArray, known: IntArray) -> IntArray:
    """Where each number of `wanted` is in `known`."""
    order = np.argsort(known)
    found: IntArray = order[np.searchsorted(known, wanted, sorter=order)]
    return found


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [SMV]
