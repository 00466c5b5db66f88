"""Residual fusion: the best single modality plus a learned correction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ...core.contracts import Baseline, LogInteger, Strategy, equal_dims, hookimpl
from ...core.contracts.errors import ParameterError


class Residual(Strategy):
    """Scores of the best single modality plus a gated correction that starts at zero.

    ::

        scores = base(z_best) + gate * correction([z_1 .. z_M]),    gate = 0 at the start

    Each modality is first trained alone. The branches start with the resulting weights, and base is
    the linear head of the modality with the highest UAR on validation. Training therefore starts
    with exactly the scores of the best single modality. A strategy with an untrained head starts
    with worse scores and may never become as good.

    correction is a linear layer, a ReLU and a linear layer over all embeddings (a single linear
    layer with ``hidden=0``). gate is one learned number. While gate is 0, correction receives no
    gradient and the branches receive the gradient of base only, so training first learns whether a
    correction helps at all. Weight decay pulls the gate back to 0. The zero-initialised gate is
    that of ReZero, applied here to late fusion.

    There is one gate instead of one per class, because a single number is easy to interpret. The
    index of the best modality is stored with the weights.

    Parameters
    ----------
    dims : dict of str to int
        Size of the embedding by modality; all sizes equal.
    num_classes : int
        Number of classes.
    hidden : int
        Width of the correction's hidden layer, >= 0; 0 for a linear correction.

    When to use
    -----------
    If fused models score lower than the best single modality. Combine the strategy with a lower
    learning rate for the branches (`--balance lr`), because the branches are trained already.

    Cost
    ----
    The baselines, which every run trains anyway, have to be trained before the fused model. D C + M
    D H + H C weights (H is `hidden`).

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
        # An integer, which weight averaging leaves unchanged.
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
        best = max(self.order, key=lambda m: baselines[m].val_uar)  # the first of equal values
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
