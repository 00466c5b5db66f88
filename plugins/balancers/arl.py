"""Asymmetric learning: deliberate imbalance towards the modalities with the lowest entropy."""

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
    """Larger steps for modalities with confident predictions and a small share of the scores.

    ::

        L     = l(f) + gamma * sum over m of l(f_m)
        c_m   = mean over the batch of sum |f_m|;        share_m = (1 - c_m / sum c) / (M - 1)
        h_m   = mean entropy of p_m / sum of all, at least 0.6 / M
        v_m   = (1 / h_m) / sum over j of (1 / h_j)
        w     = softmax over m of (temperature * share_m * v_m)
        g_m  <- (1 + w_m) * g_m                          after epoch `start`

    The entropy is a proxy for the variance of a modality: the error of the fusion is smallest if
    each modality counts in inverse proportion to its variance. c_m / sum c measures how much m
    counts now. share_m is the mean of this measure over the other modalities. The authors' code,
    for two modalities, also uses the measure of the other modality. With the modality's own
    measure, the modality that counts most would take the largest steps and would count more and
    more. For two modalities the rule is that of the authors' code, whose bound on h_m is 0.3.

    Departures from the paper: the factor 1 + w_m is defined on the gradient of the embedding,
    through which the whole gradient of the branch flows. Here the factor scales the step of the
    branch, because Adam would cancel a factor on the gradient. A public version computes w and
    never uses it. The authors' code has gamma = 1 up to `start`. The rule for more than two
    modalities is this project's generalisation. Equal modalities all get the factor 1 + 1/M,
    because w sums to 1. With a single modality, this balancer changes nothing.

    c_m and h_m are means over the clips that have m. If no clip of a batch has a modality, the
    weights of the batch are computed without this modality.

    Parameters
    ----------
    gamma : float
        Weight of each single-modality loss, >= 0. The default is the authors' on CREMA-D.
    temperature : float
        Sharpness of w, >= 0; 0 treats all modalities alike. The default is the authors'.
    start : int
        Epochs before the factors act, >= 0. The default is the authors'.

    When to use
    -----------
    If one modality is clearly better than the other modalities, because this method does not hold
    the better modality back. Most of its effect comes from gamma; compare with ``unimodal_loss`` at
    the same gamma.

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
        unimodal = {m: step.unimodal[m] for m in step.batch_modalities}
        if len(unimodal) < 2:
            return
        weights = self.weights(unimodal, step.has_modality)
        self.curve.add(weights)
        for m in gradients.modalities:
            if m in weights:
                gradients.scale(m, 1 + weights[m])

    @torch.no_grad()
    def weights(
        self, unimodal: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return the weights w_m, scalars that sum to 1, of two or more modalities.

        Parameters
        ----------
        unimodal : dict of str to Tensor
            Scores f_m, (B, C), by modality.
        present : dict of str to Tensor or None
            (B,) bool by modality, True for the clips that have the modality; each modality must be
            present in some clip. None if every clip has every modality.
        """
        scores = torch.stack(list(unimodal.values())).float()  # (M, B, C)
        total = len(scores)
        clips = None if present is None else torch.stack([present[m] for m in unimodal])  # (M, B)
        counts = mean_over(scores.abs().sum(dim=2), clips)  # (M,)
        share = (1 - counts / counts.sum().clamp_min(1e-12)) / (total - 1)
        logs = scores.log_softmax(dim=2)
        entropy = mean_over((-logs.exp() * logs).sum(dim=2), clips).clamp_min(1e-12)  # (M,)
        sureness = 1 / (entropy / entropy.sum()).clamp_min(0.6 / total)
        sureness = sureness / sureness.sum()
        weights = torch.softmax(self.temperature * share * sureness, dim=0)
        return dict(zip(unimodal, weights, strict=True))


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [ARL]
