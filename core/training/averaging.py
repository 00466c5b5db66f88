"""A moving average of a model's weights: what is validated and handed out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of weights and running statistics (Polyak and Juditsky 1992).

    On a few hundred training clips it takes most of the luck out of which epoch is best.

    Parameters
    ----------
    model : Module
        Whose weights to follow; :meth:`applied` puts the average into it for a while.
    decay : float
        Share of the past in the average, in [0, 1); 0 switches averaging off.
    skip : sequence of Tensor
        Parameters that are left as they are: those that no step of the optimiser changes.
    """

    def __init__(self, model: nn.Module, decay: float, skip: Sequence[Tensor] = ()) -> None:
        self.decay = decay
        skipped = {t.data_ptr() for t in skip}
        # Integers (batch counters) are not averaged.
        self._live = [
            t
            for t in model.state_dict().values()
            if t.is_floating_point() and t.data_ptr() not in skipped
        ]
        self._mean = [t.detach().clone() for t in self._live] if decay > 0 else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step` (from 0); early steps count for more."""
        if self._mean:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self._mean, self._live, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model holds the average inside the with block, and its own weights after it."""
        if not self._mean:
            yield
            return
        own = [t.detach().clone() for t in self._live]
        self._copy(self._mean)
        try:
            yield
        finally:
            self._copy(own)

    @torch.no_grad()
    def _copy(self, values: list[Tensor]) -> None:
        torch._foreach_copy_(self._live, values)

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self._mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._mean = list(state["mean"])
