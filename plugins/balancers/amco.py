"""Adaptive masking: hide a growing share of a dominant modality's part of the scores."""

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

_ROUNDING = 1e-5  # tolerance: the shares of equal modalities differ from 1/2 by rounding


class AMCo(Balancer):
    """Random masking of a dominant modality's part of the fused scores in training.

    ::

        f'      = f - mask * sum over dominant m of phi_m
        share_m = mean over the batch of p_m(y) / sum over j of p_j(y)
        m is dominant if share_m > threshold
        mask    = 1 for n random classes of C, the same for the whole batch, else 0
        n       = floor(sin(pi / 2 * min(eps, l) / eps) * C),    l = growth * (epoch - 1)

    phi_m is the Shapley value of m for the fused scores, (B, C), so that f(all) = f(none) + sum of
    phi_m. p_m(y) is the probability that the probe of m gives to the right class; share_m is the
    softmax over modalities of log p_m(y), averaged over the batch. With the defaults n is 0 in the
    first epoch, half of the classes in the second and 87 % in the third. From the fourth epoch on,
    n is all classes, and the fused scores exclude a modality for as long as the modality is
    dominant.

    Departures from the paper: the paper masks the last layer's input or output of one modality, but
    not every strategy has such a layer. The Shapley value phi_m defines the modality's part of the
    scores for every strategy (with concat, W_m z_m). Here share_m compares the probabilities that
    the probes give to the right class in this batch. Public code sums a softmax over all classes of
    all modalities together. With this sum, a confident modality is dominant, whether right or
    wrong, and stays dominant for the rest of the epoch. In public code l grows by epoch/10 with
    every step and restarts from 0 in every epoch. With this schedule, all but the first steps of an
    epoch mask everything from the third epoch on. Here l grows by epochs, and `growth` controls its
    speed. The unimodal losses of public code are the separate balancer `unimodal_loss`.

    share_m is the mean over the clips that have every modality. A clip that shows only a dominant
    modality keeps the modality's part of the scores. Nothing is masked in passes that show only
    some of the modalities.

    Parameters
    ----------
    threshold : float
        Share above which a modality is dominant, in [0.5, 1), so that at most one modality is
        dominant.
    eps : float
        Value of l from which on all classes are masked, > 0.
    growth : float
        Growth of l per epoch, >= 0.

    When to use
    -----------
    If one modality decides nearly all clips and the other modalities have no influence. `amco`
    masks more than the other masking methods, so try a smaller `growth` first. With 0.01, n grows
    for 30 epochs.

    Cost
    ----
    2^M forward and backward passes through the strategy (not the branches) in each step from the
    second epoch on.

    References
    ----------
    Zhou, Y., Liang, X., Zheng, S., Xuan, H., Kumada, T. (2023). Adaptive mask co-optimization for
    modal dependence in multimodal learning. ICASSP.
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
            hidden = dominant & mask
            sees_another = step.sees([other for other in step.modalities if other != m])
            if sees_another is not None:
                hidden = hidden & sees_another[:, None]
            # torch.where instead of a product, which would turn infinite parts into NaN.
            logits = logits - torch.where(hidden, part, torch.zeros_like(part))
        return logits

    def _mask(self, classes: int, step: Step) -> Tensor | None:
        """Return the classes hidden in this batch, (C,) bool, or None if none is hidden."""
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
    """Return the mean share of each modality from probabilities of the right class, (B,).

    If clips lack modalities (`present`, (B, M) bool), the mean is over the clips that have all
    modalities, and 0 if there is no such clip.
    """
    total = torch.stack(list(right.values())).sum(dim=0).clamp_min(1e-12)  # (B,)
    whole = None if present is None else present.all(dim=1)  # (B,)
    return {m: mean_over(p / total, whole) for m, p in right.items()}


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [AMCo]
