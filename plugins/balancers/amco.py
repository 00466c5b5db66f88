"""Adaptive masking: what a dominant modality adds to the scores is hidden, more every epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import Balancer, Context, LogUniform, Space, Step, hookimpl
from ...core.contracts.training import Domain
from ...core.toolkit.device import on_device
from ...core.toolkit.ranges import check_ranges
from ._means import mean_over

_ROUNDING = 1e-5  # equal modalities have a share of one half, but for this


class AMCo(Balancer):
    """Takes entries of a dominant modality's part out of the fused scores in training.

        f' = f - mask * (sum of phi_m over dominant modalities m)

    phi_m is the Shapley value of m for the fused scores, (B, C), so that
    f(all) = f(none) + sum of phi_m. A modality is dominant in a batch where its share of the
    evidence is above `threshold`: with p_m(y) what its probe gives to the right class,

        share_m = mean over the batch of p_m(y) / sum over j of p_j(y),

    which is the softmax over modalities of log p_m(y). The mask hides the same random classes
    for the whole batch, as many as

        n = floor(sin(pi / 2 * min(eps, l) / eps) * C),    l = growth * (epoch - 1).

    With the defaults n is 0, half, 87 % and, from the fourth epoch on, all of the classes: the
    fused scores then do without the dominant modality, as long as it is dominant.

    Adaptive mask co-optimization (Zhou et al. 2023, ICASSP). Departures: the paper masks the
    last layer's input or output of one modality, which only a strategy with such parts has;
    the Shapley value is that part for every strategy (with concat, W_m z_m less its value at
    zero). The share is of the right class and of this batch's probes, where public code sums
    a softmax over all classes of all modalities side by side, in which a modality is dominant
    for being confident, right or wrong, and keeps it for the rest of the epoch. There l grows
    by epoch/10 with every step and starts again from 0 in every epoch, so that from the
    third epoch on all but an epoch's first steps mask everything; here it grows by epochs,
    and `growth` stretches it. The unimodal losses that public code adds are the balancer
    unimodal_loss.

    share_m is over the clips that have every modality, and a clip that shows no other keeps what
    a dominant one adds. In passes that show a part of the modalities only, nothing is masked.

    Parameters
    ----------
    threshold : float
        A larger share than this makes a modality dominant, in [0.5, 1): at most one is.
    eps : float
        What l has to reach until all entries are masked, > 0.
    growth : float
        How much l grows with each epoch, >= 0.

    When to use
    -----------
    Where one modality decides nearly all clips and the others are never asked. It is the
    harshest of the mask methods: try a smaller `growth` first (0.01 for 30 epochs of growth).

    Cost
    ----
    2^M forward and backward passes through the strategy (not the branches) in each step from
    the second epoch on.

    References
    ----------
    Zhou, Y., Liang, X., Zheng, S., Xuan, H., Kumada, T. (2023). Adaptive mask co-optimization
    for modal dependence in multimodal learning. ICASSP.
    """

    name = "amco"
    space: ClassVar[Mapping[str, Space]] = {"growth": LogUniform(0.005, 0.1)}
    takes_over: ClassVar[tuple[Domain, ...]] = ("logits",)

    def __init__(self, *, threshold: float = 0.5, eps: float = 0.3, growth: float = 0.1) -> None:
        check_ranges(self.name, "0.5 <= threshold < 1, eps > 0 and growth >= 0", locals())
        self.threshold = threshold
        self.eps = eps
        self.growth = growth

    def setup(self, context: Context) -> None:
        self._shares: dict[str, Tensor] = {}

    def logits(self, logits: Tensor, step: Step) -> Tensor:
        shown = step.shown
        if len(step.modalities) < 2 or len(shown) < len(step.modalities):
            return logits
        self._shares = _shares(step.right, None if step.presence is None else step.presence.table)
        mask = self._mask(logits.shape[1], step)
        if mask is None:
            return logits
        mask = on_device(mask, logits.device)
        for m, part in step.contributions.items():
            dominant = self._shares[m] > self.threshold + _ROUNDING
            others = step.sees([other for other in step.modalities if other != m])
            hidden = dominant & mask if others is None else dominant & mask & others[:, None]
            # where, not a product: a part that is not finite would leave NaN behind.
            logits = logits - torch.where(hidden, part, torch.zeros_like(part))
        return logits

    def _mask(self, classes: int, step: Step) -> Tensor | None:
        """(C,) bool: what is hidden in this batch; None where nothing is."""
        reached = min(self.eps, self.growth * (step.epoch - 1)) / self.eps
        count = math.floor(math.sin(math.pi / 2 * reached) * classes + 1e-9)
        if count == 0:
            return None
        mask = torch.zeros(classes, dtype=torch.bool)
        mask[torch.randperm(classes, generator=step.generator)[:count]] = True
        return mask

    def metrics(self) -> dict[str, float]:
        return {f"amco.{m}": float(share) for m, share in self._shares.items()}


def _shares(right: dict[str, Tensor], present: Tensor | None) -> dict[str, Tensor]:
    """Probabilities of the right class, (B,) -> mean share of each modality, a scalar.

    Where clips lack modalities, (B, M), over those that have all; 0 where none has.
    """
    total = torch.stack(list(right.values())).sum(dim=0).clamp_min(1e-12)  # (B,)
    whole = None if present is None else present.all(dim=1)  # (B,)
    return {m: mean_over(p / total, whole) for m, p in right.items()}


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [AMCo]
