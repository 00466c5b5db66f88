"""Gated fusion: each clip decides how much each modality counts."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor, nn

from ...core.contracts import LogInteger, Strategy, equal_dims, hookimpl
from ...core.errors import ParameterError
from ._presence import stacked


class Gated(Strategy):
    """w = softmax(MLP([z_1 .. z_M])), scores = head(sum of w_m z_m).

    After the gated multimodal unit, with weights that sum to one over the modalities, so that
    they can be read and reported. Of a clip that lacks modalities, the gate sees zeros in
    their place, and the softmax is over those it has.

    The weights tell what the head reads, not what a modality is worth: a branch with larger
    embeddings counts for more at the same weight. A modality with a small weight gets a small
    gradient, so one that is behind may stay there.

    Parameters
    ----------
    dims : dict of str to int
        Modality -> size of its embedding; all equal.
    num_classes : int
        Number of classes.
    hidden : int
        Width of the gate's hidden layer.

    When to use
    -----------
    By default. Where the modalities are good on different clips, and where it should be seen
    which of them counts.

    Cost
    ----
    (M x D) x hidden + hidden x M + D x C weights; little time.

    References
    ----------
    Arevalo et al. (2017), "Gated Multimodal Units for Information Fusion", ICLR workshop.
    """

    name = "gated"
    default = True
    accepts_missing = True
    space: ClassVar = {"hidden": LogInteger(8, 128)}

    def __init__(self, dims: dict[str, int], num_classes: int, *, hidden: int = 32) -> None:
        super().__init__(dims, num_classes)
        if hidden < 1:
            raise ParameterError(f"gated.hidden must be 1 or more, and is {hidden}.")
        dim = equal_dims(dims, self.name)
        self.order = list(dims)
        # The share of a single modality is 1 whatever a gate says: it would never learn.
        self.gate = (
            nn.Sequential(
                nn.Linear(dim * len(dims), hidden), nn.ReLU(), nn.Linear(hidden, len(dims))
            )
            if len(dims) > 1
            else None
        )
        self.head = nn.Linear(dim, num_classes)

    def modality_weights(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        return self._weights(stacked(inputs, self.order, present), present)

    def _weights(self, embeddings: Tensor, present: Tensor | None) -> Tensor:
        """(B, M, D) -> (B, M), rows summing to 1."""
        if self.gate is None:
            return embeddings.new_ones(len(embeddings), 1)
        gates: Tensor = self.gate(embeddings.flatten(1))  # (B, M)
        if present is not None:
            gates = gates.masked_fill(~present, -math.inf)
        return gates.softmax(dim=1)

    def forward(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        embeddings = stacked(inputs, self.order, present)  # (B, M, D)
        weights = self._weights(embeddings, present)
        scores: Tensor = self.head((weights[:, :, None] * embeddings).sum(dim=1))  # (B, C)
        return scores


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Gated]
