"""OGM-GE: the modality that is ahead is slowed, and noise makes up for the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import Balancer, Gradients, Space, Step, Uniform, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.toolkit.device import on_device
from ._curves import Curved
from ._scores import AHEAD, compared, ratios

_LEAST = 0.1  # what the noise is divided by, at least


class OGMGE(Curved):
    """Slows the branch of the modality that is ahead on the batch, and adds noise.

    ::

        s_m   = sum over the batch of p_m(right class)
        rho_m = s_m / mean over j != m of s_j
        k_m   = 1 - tanh(alpha * rho_m)   if rho_m > 1,  else 1
        g_m  <- k_m * g_m + N(0, std(g_m)^2)

    in the epochs from `start` to `end`. The noise (the GE part) is on convolution weights only,
    tensors of four dimensions or more, std taken over each tensor. k_m jumps at rho_m = 1, to
    1 - tanh(alpha): that is the paper's rule.

    The paper is for two modalities; the mean over the others is the usual generalisation. Its
    scores come from cutting the concatenation head in two; here from the probes, so that every
    strategy works. Its code scales convolution weights only and, under Adam, changes next to
    nothing, because Adam divides any factor out again; here k_m goes to the step of the whole
    branch. Since k_m acts on the noise too, what is added is divided by k_m first, by no less
    than 0.1: a larger noise would stay in Adam's running variance for thousands of steps. With
    SGD this is the rule. Adam divides by the size of gradient and noise together, so that what
    convolution weights follow of the gradient is slowed by k_m^2 / sqrt(1 + k_m^2) instead of
    k_m: 0.7 where k_m is 1, 0.03 where it is 1/6. ``noise=false`` slows them by k_m.

    Parameters
    ----------
    alpha : float
        Strength, >= 0. The paper's on CREMA-D.
    start, end : int
        First and last epoch of the rule, from 1; 0 as `end` means the last of the training.
    noise : bool
        Whether to add the noise.

    When to use
    -----------
    As the method that everyone compares with. Where one modality is ahead all the time its
    branch nearly stands still; `end` lets it catch up.

    Cost
    ----
    No extra pass. The noise is drawn on the CPU, as many numbers as there are convolution
    weights: with large branches on a GPU, several milliseconds a step.

    References
    ----------
    Peng et al. (2022), "Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR.
    """

    name = "ogm_ge"
    space: ClassVar[Mapping[str, Space]] = {"alpha": Uniform(0.1, 1.5)}

    def __init__(
        self, *, alpha: float = 0.8, start: int = 1, end: int = 0, noise: bool = True
    ) -> None:
        if not 0 <= alpha < math.inf or start < 1 or (end != 0 and end < start):
            raise ParameterError(
                "ogm_ge needs alpha >= 0, start >= 1, and end 0 or not before start; given "
                f"alpha={alpha}, start={start}, end={end}."
            )
        self.alpha = alpha
        self.start = start
        self.end = end
        self.noise = noise

    def gradients(self, gradients: Gradients, step: Step) -> None:
        scores = compared(step)
        if len(scores) < 2 or not self._acts(step.epoch):
            return
        factors = self.factors(scores)
        self.curve.add(factors)
        for m in gradients.modalities:
            if m not in factors:
                continue
            if self.noise:
                _add_noise(gradients[m], factors[m], step.generator)
            gradients.scale(m, factors[m])

    def factors(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """k_m for given s_m, scalars by modality."""
        return {
            m: torch.where(rho > AHEAD, 1 - torch.tanh(self.alpha * rho), 1.0)
            for m, rho in ratios(scores).items()
        }

    def _acts(self, epoch: int) -> bool:
        return self.start <= epoch and (self.end == 0 or epoch <= self.end)


def _add_noise(tensors: list[Tensor], factor: Tensor, generator: torch.Generator) -> None:
    for gradient in tensors:
        if gradient.dim() >= 4:
            drawn = torch.randn(gradient.shape, generator=generator)
            drawn = on_device(drawn, gradient.device).to(gradient.dtype)
            gradient.add_(drawn * (gradient.std() / factor.clamp_min(_LEAST)))


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [OGMGE]
