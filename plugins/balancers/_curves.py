"""Means over an epoch of what a balancer decides in each step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from torch import Tensor

from ...core.contracts import Balancer, Context


class EpochMeans:
    """Mean over the steps of an epoch of one number per modality, as curves.

    A single step's number is mostly luck. Nothing waits for the device before :meth:`metrics`.

    Parameters
    ----------
    name : str
        What the curves are called: ``"<name>.<modality>"``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}  # a pass may have some of the modalities only

    def restart(self) -> None:
        self._sums.clear()
        self._counts.clear()

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take in the scalars of one step, or pass."""
        for m, value in values.items():
            value = value.detach()
            self._sums[m] = self._sums[m] + value if m in self._sums else value
            self._counts[m] = self._counts.get(m, 0) + 1

    def means(self) -> dict[str, float]:
        """By modality; empty if nothing was added."""
        return {m: float(total) / self._counts[m] for m, total in self._sums.items()}

    def metrics(self) -> dict[str, float]:
        """The same, named as curves are."""
        return {f"{self.name}.{m}": mean for m, mean in self.means().items()}


class Curved(Balancer):
    """A balancer whose curve is the mean over each epoch of one number per modality."""

    @cached_property
    def curve(self) -> EpochMeans:
        return EpochMeans(self.name)

    def setup(self, context: Context) -> None:
        self.curve.restart()

    def epoch_start(self, epoch: int) -> None:
        self.curve.restart()

    def metrics(self) -> dict[str, float]:
        return self.curve.metrics()
