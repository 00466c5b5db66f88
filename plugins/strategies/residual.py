"""Residual fusion: the best single modality, and a correction that has to earn its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ...core.contracts import Baseline, LogInteger, Strategy, equal_dims, hookimpl
from ...core.contracts.errors import ParameterError


class Residual(Strategy):
    """scores = base(z_best) + gate * correction([z_1 .. z_M]), gate = 0 at the start.

    The modalities are trained alone first. The branches start with the weights they have then,
    and base is the linear head of the one with the highest UAR on validation: the model starts
    with exactly the scores of the best single modality, where other strategies start below it
    and may never reach it. correction is a linear layer, ReLU and a linear layer over all
    embeddings (one linear layer with ``hidden=0``), and gate one learned number: as long as it
    is 0 no gradient reaches correction, and none but base's reaches the branches, so that the
    first thing that is learned is whether a correction helps at all. Weight decay pulls the
    gate back to 0. (A residual branch that starts at zero, as in ReZero, applied to late
    fusion.)

    One gate and not one per class: it is a single answer to a single question, and can be
    read. Which modality is best is kept with the weights.

    Parameters
    ----------
    dims : dict of str to int
        Modality -> size of its embedding; all equal.
    num_classes : int
        Number of classes.
    hidden : int
        Width of the correction's hidden layer, >= 0; 0 for a linear correction.

    When to use
    -----------
    Where fused models end below the best single modality. With a lower learning rate for the
    branches (`--balance lr`), since they are trained already.

    Cost
    ----
    The baselines, which every run trains, are trained first instead of beside it;
    D C + M D H + H C weights (H `hidden`).

    References
    ----------
    Bachlechner et al. (2021), "ReZero is All You Need: Fast Convergence at Large Depth", UAI.
    """

    name = "residual"
    reads_validation = True
    needs_baselines = True
    space: ClassVar = {"hidden": LogInteger(16, 256)}

    best: Tensor

    def __init__(self, dims: dict[str, int], num_classes: int, *, hidden: int = 64) -> None:
        super().__init__(dims, num_classes)
        if hidden < 0:
            raise ParameterError(f"residual.hidden must be 0 or more, and is {hidden}.")
        dim = equal_dims(dims, self.name)
        self.order = list(dims)
        # An integer: the average of the weights leaves it alone.
        self.register_buffer("best", torch.zeros(1, dtype=torch.int64))
        self.base = nn.Linear(dim, num_classes)
        joined = dim * len(dims)
        self.correction: nn.Module = (
            nn.Sequential(nn.Linear(joined, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))
            if hidden
            else nn.Linear(joined, num_classes)
        )
        self.gate = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def adopt(self, baselines: Mapping[str, Baseline]) -> None:
        best = max(self.order, key=lambda m: baselines[m].val_uar)  # the first among equals
        self.best.fill_(self.order.index(best))
        head = cast(Any, baselines[best].model.strategy).linear
        self.base.load_state_dict(head.state_dict())
        self.gate.zero_()

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        stacked = torch.stack([inputs[m] for m in self.order])  # (M, B, D)
        base = self.base(stacked.index_select(0, self.best)[0])  # (B, C)
        joined = stacked.transpose(0, 1).flatten(1)  # (B, M * D)
        scores: Tensor = base + self.gate * self.correction(joined)
        return scores


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Residual]
