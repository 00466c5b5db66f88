"""Sample-level modality valuation: clips are repeated with a modality that contributes little."""

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
    """Copies of clips that show only one modality, for modalities that contribute little.

    ::

        v(S)   = |S| if f(S) is right, else 0
        phi_m  = sum over S without m of |S|! (M - |S| - 1)! / M! * (v(S + m) - v(S))
        copies = 3 if phi_m < 0,  2 if 0 <= phi_m < 1/2,  1 if 1/2 <= phi_m < 1,  else 0
                 of the clip with m alone, for each training clip and modality m

    f(S) are the scores of the strategy if it sees only the modalities S of the clip, and phi_m is
    the Shapley value of m for v. The phi_m sum to M if the fused scores are right and to 0 if not.
    If every subset is right, each phi_m is 1. The copies are added to the epoch; in each copy all
    modalities but m are hidden. For two modalities phi_a = (v(a) + v(a, b) - v(b)) / 2 is one of
    -1/2, 0, 1/2, 1 and 3/2. The values are measured in evaluation mode before every epoch, except
    in the first `start` epochs. If a clip lacks modalities, |S| counts only the modalities that the
    clip has, and no copy shows a missing modality.

    Departures from the paper (sample-level modality valuation, Wei et al. 2024, CVPR): public code
    has limits at -0.1 and 0.4 instead of 0 and 1/2. For two and three modalities both pairs of
    limits separate the same values, because the values are multiples of 1/6. The number of steps
    per epoch does not change, so an epoch uses a random part of the clips and copies. In public
    code the copies make the training longer than that of the methods in the comparison.

    Parameters
    ----------
    start : int
        Epochs before the repetition starts, >= 0.

    When to use
    -----------
    If a modality is good on some clips and unused on others. Early in training every subset
    misclassifies most clips, and the copies outnumber the clips themselves. With six classes,
    choose `start` so that the training UAR is well above 50 % when the repetition starts.

    Cost
    ----
    Before each epoch one forward pass of the branches over the training clips, and 2^M of the
    strategy.

    References
    ----------
    Wei, Y., Feng, R., Wang, Z., Hu, D. (2024). Enhancing multimodal cooperation via sample-level
    modality valuation. CVPR.
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
        outputs = self._context.outputs("train", subsets=True)
        values = sample_values(outputs, names)  # (n, M)
        present = presence_table(outputs, names)  # (n, M)
        means = values.sum(axis=0) / present.sum(axis=0)  # over the clips that have each modality
        self._means = dict(zip(names, means.tolist(), strict=True))
        counts = (copies(values) * present)[_positions(clips.indices, outputs.indices)]
        return with_copies(clips, counts, names)

    def metrics(self) -> dict[str, float]:
        """Return the mean Shapley value of each modality; the means sum to M times the accuracy."""
        return {f"smv.{m}": mean for m, mean in self._means.items()}


def presence_table(outputs: Outputs, names: list[str]) -> npt.NDArray[np.bool_]:
    """Return which modalities each clip has, (n, M) bool."""
    complete = np.ones(len(outputs.labels), dtype=np.bool_)
    return np.stack(
        [outputs.present[m].cpu().numpy() if m in outputs.present else complete for m in names],
        axis=1,
    )


def sample_values(outputs: Outputs, names: list[str]) -> FloatArray:
    """Return the Shapley value of each modality for each clip, (n, M); 0 if the clip lacks it."""
    present = dict(zip(names, presence_table(outputs, names).T, strict=True))

    def worth(members: Collection[str]) -> FloatArray:
        right = outputs.subsets[tuple(members)].argmax(dim=1) == outputs.labels
        count = sum((present[m] for m in members), np.zeros(len(right)))  # (n,)
        worths: FloatArray = count * right.cpu().numpy().astype(np.float64)
        return worths

    values = shapley_values(worth, names)
    # Rounded, because sums of thirds and sixths could fall on either side of a limit.
    return np.stack([values[m] for m in names], axis=1).round(6)


def copies(values: FloatArray) -> IntArray:
    """Return the number of copies (0 to 3) of each clip with each modality, from Shapley values."""
    counts: IntArray = np.ceil(2 * (1 - values)).clip(0, 3).astype(np.int64)
    return counts


def with_copies(clips: Clips, counts: IntArray, names: list[str]) -> Clips:
    """Return the clips, followed by `counts`, (n, M), copies that show one modality each."""
    total, modalities = counts.shape
    present = clips.present
    if present is None:
        present = np.ones((total, modalities), dtype=np.bool_)
    counts = counts * present  # no copy can show a modality that the clip lacks
    # Sorted by name, so that the shuffled epoch does not depend on the order of the modalities.
    columns = np.argsort(names)
    rows, alone = np.nonzero(counts[:, columns])
    alone = columns[alone]
    times = counts[rows, alone]
    rows, alone = np.repeat(rows, times), np.repeat(alone, times)
    shown = np.eye(modalities, dtype=np.bool_)[alone]  # (copies, M)
    return Clips(
        np.concatenate([clips.indices, clips.indices[rows]]), np.concatenate([present, shown])
    )


def _positions(wanted: IntArray, indices: IntArray) -> IntArray:
    """Return the position in `indices` of each number of `wanted`."""
    order = np.argsort(indices)
    positions: IntArray = order[np.searchsorted(indices, wanted, sorter=order)]
    return positions


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [SMV]
