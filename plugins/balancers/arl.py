"""ARL: imbalance on purpose, towards the modalities that vary least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import Balancer, Gradients, LogUniform, Space, Step, Uniform, hookimpl
from ...core.toolkit.ranges import check_ranges
from ._curves import Curved
from ._means import mean_over
from ._unimodal import unimodal_losses


class ARL(Curved):
    """Pushes the modalities that are sure of what they say and yet are little relied upon.

    ::

        L     = l(f) + gamma * sum over m of l(f_m)
        c_m   = mean over the batch of sum |f_m|;        share_m = (1 - c_m / sum c) / (M - 1)
        h_m   = mean entropy of p_m / sum of all, at least 0.6 / M
        v_m   = (1 / h_m) / sum over j of (1 / h_j)
        w     = softmax over m of (temperature * share_m * v_m)
        g_m  <- (1 + w_m) * g_m                          after epoch `start`

    The entropy stands for the variance of a modality: fusion errs least when each modality
    counts in inverse proportion to it. c_m / sum c is how much m counts now; share_m, the
    part that the others have, is what it lacks. With the modality's own part in its place
    whatever counts most would be pushed most, ever further; the authors' code takes the other's.
    For two modalities this is that code, whose bound on h_m is 0.3.

    The factor is on the gradient of the embedding, through which everything reaches the branch,
    so it goes to the step of the branch: Adam would divide it out of the gradient. A public
    version computes w and never uses it; the authors' has gamma at 1 up to `start`. Equal
    modalities all get 1 + 1/M, since w sums to 1; a single one is left alone. M > 2 is this
    project's generalisation.

    c_m and h_m are means over the clips that have m; a modality that none of a batch has does
    not take part in it.

    Parameters
    ----------
    gamma : float
        Weight of each single-modality loss, >= 0. The authors' on CREMA-D.
    temperature : float
        How sharply w picks, >= 0; 0 treats all alike. The authors'.
    start : int
        Epochs before the factors act, >= 0. The authors'.

    When to use
    -----------
    When one modality is plainly the better one: this method does not hold it back. Most of what
    it does comes from gamma; compare with ``unimodal_loss`` at the same gamma.

    Cost
    ----
    One linear layer per modality and step.

    References
    ----------
    Wei et al. (2025), "Improving Multimodal Learning via Imbalanced Learning", ICCV.
    """

    name = "arl"
    takes_over = ("unimodal_losses",)
    space: ClassVar[Mapping[str, Space]] = {
        "gamma": LogUniform(0.1, 10.0),
        "temperature": Uniform(0.0, 16.0),
    }

    def __init__(self, *, gamma: float = 4.0, temperature: float = 8.0, start: int = 5) -> None:
        check_ranges(self.name, "gamma >= 0, temperature >= 0 and start >= 0", locals())
        self.gamma = gamma
        self.temperature = temperature
        self.start = start

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        return losses | unimodal_losses(step, self.gamma)

    def gradients(self, gradients: Gradients, step: Step) -> None:
        if len(step.unimodal) < 2 or step.epoch <= self.start:
            return
        unimodal = {m: step.unimodal[m] for m in step.known}
        if len(unimodal) < 2:
            return
        weights = self.weights(unimodal, step.there)
        self.curve.add(weights)
        for m in gradients.modalities:
            if m in weights:
                gradients.scale(m, 1 + weights[m])

    @torch.no_grad()
    def weights(
        self, unimodal: Mapping[str, Tensor], there: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """w_m for given scores f_m (B, C) of two or more modalities: scalars that sum to 1.

        With `there`, (B,) bool by modality, over the clips that have each; each has some.
        """
        scores = torch.stack(list(unimodal.values())).float()  # (M, B, C)
        total = len(scores)
        have = None if there is None else torch.stack([there[m] for m in unimodal])  # (M, B)
        counts = mean_over(scores.abs().sum(dim=2), have)  # (M,)
        share = (1 - counts / counts.sum().clamp_min(1e-12)) / (total - 1)
        logs = scores.log_softmax(dim=2)
        entropy = mean_over((-logs.exp() * logs).sum(dim=2), have).clamp_min(1e-12)  # (M,)
        sureness = 1 / (entropy / entropy.sum()).clamp_min(0.6 / total)
        sureness = sureness / sureness.sum()
        weights = torch.softmax(self.temperature * share * sureness, dim=0)
        return dict(zip(unimodal, weights, strict=True))


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [ARL]
