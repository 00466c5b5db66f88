"""OGM-GE: on-the-fly gradient modulation with generalisation enhancement."""

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
from ._scores import AHEAD, known_scores, ratios

_LEAST = 0.1  # lower bound on the divisor of the noise


class OGMGE(Curved):
    """Smaller steps for the leading modality of the batch, and noise on its gradients.

    ::

        s_m   = sum over the batch of p_m(right class)
        rho_m = s_m / mean over j != m of s_j
        k_m   = 1 - tanh(alpha * rho_m)   if rho_m > 1,  else 1
        g_m  <- k_m * g_m + N(0, std(g_m)^2)       in the epochs from `start` to `end`

    The noise (generalisation enhancement, GE) is added to the gradients of convolution weights
    only, which are tensors of four dimensions or more; std is taken over each tensor. k_m jumps at
    rho_m = 1 to 1 - tanh(alpha), as in the paper.

    Departures from the paper: the paper is for two modalities, and the mean over the other
    modalities is the usual generalisation. The paper's scores come from splitting the concatenation
    head in two; here they come from the probes, so that every strategy works. The authors' code
    scales convolution weights only and has almost no effect under Adam, because Adam cancels any
    constant factor; here k_m scales the step of the whole branch.

    The factor k_m also scales the noise, so the noise is first divided by k_m, or by 0.1 if k_m is
    smaller. A smaller divisor would make the noise so large that the noise would stay in Adam's
    running variance for thousands of steps. With SGD the result is the rule above for k_m of at
    least 0.1. Adam divides by the size of gradient and noise together, so convolution weights
    follow the gradient with a factor of k_m^2 / sqrt(1 + k_m^2) instead of k_m: 0.7 if k_m is 1,
    0.03 if k_m is 1/6. With ``noise=false`` the factor is k_m.

    Parameters
    ----------
    alpha : float
        Strength, >= 0. The default is the paper's value for CREMA-D.
    start, end : int
        First and last epoch of the rule, counted from 1; ``end=0`` means the last epoch of the
        training.
    noise : bool
        Whether to add the noise.

    When to use
    -----------
    As a baseline, because papers on balancing compare with this method. If one modality leads all
    the time, its branch hardly learns; with `end`, the branch catches up in the last epochs.

    Cost
    ----
    No extra pass. The noise is drawn on the CPU, one number per convolution weight: several
    milliseconds a step with large branches on a GPU.

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
                "ogm_ge needs alpha >= 0, start >= 1, and end = 0 or end >= start; given "
                f"alpha={alpha}, start={start}, end={end}."
            )
        self.alpha = alpha
        self.start = start
        self.end = end
        self.noise = noise

    def gradients(self, gradients: Gradients, step: Step) -> None:
        scores = known_scores(step)
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
        """Return the factors k_m, scalars by modality, given the scores s_m."""
        return {
            m: torch.where(rho > AHEAD, 1 - torch.tanh(self.alpha * rho), 1.0)
            for m, rho in ratios(scores).items()
        }

    def _acts(self, epoch: int) -> bool:
        return self.start <= epoch and (self.end == 0 or epoch <= self.end)


def _add_noise(tensors: list[Tensor], factor: Tensor, generator: torch.Generator) -> None:
    for gradient in tensors:
        if gradient.dim() >= 4:
            noise = torch.randn(gradient.shape, generator=generator)
            noise = on_device(noise, gradient.device).to(gradient.dtype)
            gradient.add_(noise * (gradient.std() / factor.clamp_min(_LEAST)))


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [OGMGE]
