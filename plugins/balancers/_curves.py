"""Curves: epoch means of a number that a balancer computes in each step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from torch import Tensor

from ...core.contracts import Balancer, Context


class EpochMeans:
    """Curves of one number per modality, averaged over the steps of each epoch.

    The value of a single step is mostly noise. The sums stay on the device until :meth:`metrics` is
    called.

    Parameters
    ----------
    name : str
        Prefix of the curves: ``"<name>.<modality>"``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}  # by modality: a pass may show only some modalities

    def restart(self) -> None:
        """Discard all values."""
        self._sums.clear()
        self._counts.clear()

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the scalars of one step or pass."""
        for m, value in values.items():
            value = value.detach()
            self._sums[m] = self._sums[m] + value if m in self._sums else value
            self._counts[m] = self._counts.get(m, 0) + 1

    def means(self) -> dict[str, float]:
        """Return the mean by modality; empty if no values were added."""
        return {m: float(total) / self._counts[m] for m, total in self._sums.items()}

    def metrics(self) -> dict[str, float]:
        """Return the means, named as curves."""
        return {f"{self.name}.{m}": mean for m, mean in self.means().items()}


class Curved(Balancer):
    """Balancer with one curve per modality: the epoch means of a number."""

    @cached_property
    def curve(self) -> EpochMeans:
        return EpochMeans(self.name)

    def setup(self, context: Context) -> None:
        self.curve.restart()

    def epoch_start(self, epoch: int) -> None:
        self.curve.restart()

    def metrics(self) -> dict[str, float]:
        return self.curve.metrics()
