"""Moving average of a model's weights, which is validated and stored as the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of weights and running statistics (Polyak and Juditsky 1992).

    With a few hundred training clips, averaged weights make the choice of the best epoch depend
    much less on chance.

    Parameters
    ----------
    model : Module
        Model whose weights are averaged; :meth:`applied` loads the average into the model
        temporarily.
    decay : float
        Weight of the past in the average, in [0, 1); 0 switches averaging off.
    skip : sequence of Tensor
        Parameters to leave out of the average, because the optimiser does not change them.
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
        """Add the weights after step `step` (from 0) to the average; the early decay is lower."""
        if self._mean:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self._mean, self._live, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Load the average into the model for a with block, and restore the weights afterwards."""
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
        """Return the averaged tensors."""
        return {"mean": self._mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that :meth:`state_dict` returned."""
        self._mean = list(state["mean"])
