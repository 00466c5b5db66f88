"""Information regulation: the leading modality is held back while it acquires information fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...core.contracts import (
    Balancer,
    Context,
    Gradients,
    LogUniform,
    Space,
    Step,
    hookimpl,
    norm_of,
)
from ...core.toolkit.ranges import check_ranges
from ._curves import EpochMeans
from ._scores import AHEAD, known_scores, ratios


class InfoReg(Balancer):
    """Regulation of the leading modality while it acquires information fast.

    ::

        T_m(e) = mean over the steps of epoch e of ||g_m||^2
        window of m:  (T_m(e-1) - T_m(e-2)) / T_m(e-2) > growth, and the first two epochs
        m leads a step:  s_m > mean over j != m of s_j,  s_m = sum of p_m(right class)
        g_m <- g_m + beta * (theta_m - theta_m at the start of the epoch)
                                               in steps that m leads, within its window

    T_m is the trace of the branch's empirical Fisher information, estimated from the gradients of
    the batches. While T_m grows, the branch acquires information fast.

    Departures from the paper: the paper is for two modalities; the comparison with the mean of the
    other modalities is this project's generalisation. A published version of the code multiplies
    beta by exp(tanh(gap of the scores)), uses the trace of the audio branch alone, and compares
    means of the trace over ten epochs. Here each branch has its own trace, and the window may open
    again for a single epoch. The published code also trains on the single-modality losses, which
    are the separate balancer `unimodal_loss`.

    The term is added to the gradient, so under Adam the strength of the term is relative to the
    size of the gradient. The term then changes the direction of the steps and does not make the
    steps smaller.

    Parameters
    ----------
    beta : float
        Strength, >= 0. The default is the authors'.
    growth : float
        Relative growth of the trace that counts as fast, > -1. The default is the paper's.

    When to use
    -----------
    If one modality is learned in the first epochs and the other modalities never catch up. The
    effect depends on how far theta moves within an epoch. On the synthetic problem
    ``fusion.testing.KnownAnswer``, at a learning rate of 0.003, the term is 4 % of the gradient
    with SGD and more than half of the gradient with Adam.

    Cost
    ----
    A copy of the branches' weights and, in each step, a few operations on them.

    References
    ----------
    Huang et al. (2025), "Adaptive Unimodal Regulation for Balanced Multimodal Information
    Acquisition", CVPR.
    """

    name = "inforeg"
    space: ClassVar[Mapping[str, Space]] = {"beta": LogUniform(0.1, 10.0)}
    checkpointed = ("_traces",)

    def __init__(self, *, beta: float = 0.95, growth: float = 0.05) -> None:
        check_ranges(self.name, "beta >= 0 and growth > -1", locals())
        self.beta = beta
        self.growth = growth
        self._running = EpochMeans("trace")
        self._curve = EpochMeans(self.name)
        self._started: dict[int, Tensor] = {}  # by id of a parameter: value at the epoch's start

    def setup(self, context: Context) -> None:
        self._context = context
        # Traces of the last two epochs, by modality.
        self._traces: dict[str, list[float]] = {m: [] for m in context.modalities}

    def epoch_start(self, epoch: int) -> None:
        self._running.restart()
        self._curve.restart()
        self._started = {
            id(p): p.detach().clone()
            for m in self._traces
            if self.in_window(m)
            for p in self._context.model.branches[m].parameters()
        }

    def in_window(self, modality: str) -> bool:
        """Return whether the branch acquires information fast in this epoch."""
        traces = self._traces[modality]
        if len(traces) < 2:
            return True
        return traces[1] - traces[0] > self.growth * traces[0]

    @torch.no_grad()
    def gradients(self, gradients: Gradients, step: Step) -> None:
        modalities = [m for m in gradients.modalities if m in step.batch_modalities]
        self._running.add({m: norm_of(gradients[m]).square() for m in modalities})
        strengths = {
            m: torch.where(ratio > AHEAD, self.beta, 0.0) * self.in_window(m)
            for m, ratio in ratios(known_scores(step)).items()
        }
        self._curve.add(strengths)
        for m in modalities:
            if self.in_window(m):
                now: list[Tensor] = list(gradients.parameters(m))
                began = [self._started[id(p)] for p in now]
                moved = torch._foreach_sub(now, began)
                torch._foreach_mul_(moved, strengths[m])
                torch._foreach_add_(gradients[m], moved)

    def epoch_end(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        for m, trace in self._running.means().items():
            self._traces[m] = [*self._traces[m], trace][-2:]

    def metrics(self) -> dict[str, float]:
        return self._curve.metrics()


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [InfoReg]
