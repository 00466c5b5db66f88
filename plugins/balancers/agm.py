"""Adaptive gradient modulation: scale each modality's part of the fused scores in the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ...core.contracts import Balancer, Context, Space, Step, Uniform, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain

_LARGEST_LOG = 20.0  # bound on the exponents, so that infinities are never subtracted


class AGM(Balancer):
    """Adaptive scaling of the gradient through each modality's part of the fused scores.

    ::

        phi_m = sum over S without m of |S|! (M - |S| - 1)! / M! * (f(S + m) - f(S))
        s_m   = mean over the batch of -log softmax(phi_m)[y]
        t_m   = mean of s_m over all steps so far
        r_m   = exp(min(20, M / (M - 1) * (mean over j of s_j - s_m)))
        tau_m = exp(min(20, M / (M - 1) * (mean over j of t_j - t_m)))
        k_m   = exp(alpha * min(10, tau_m - r_m))
        the gradient through phi_m is multiplied by k_m

    phi_m, the mono output of modality m, is the Shapley value of m for the fused scores f(S). S is
    the set of modalities that the strategy sees, and f(all) = f(none) + sum of phi_m. The training
    loss is that of f + sum of (k_m - 1) (phi_m - detached phi_m). The difference in the second
    bracket is zero, so only the gradient changes, not the scores. For two modalities, r_a =
    exp(s_b - s_a). A modality that does better in this batch than on average over the training
    counts less in this batch. The rule thus holds the ratio r_m near tau_m, the ratio of the
    running means. The rule does not make the modalities equal.

    Departures from the paper and the authors' code: the running mean t_m includes the current step,
    while the authors compare the batch with the mean of the earlier steps. No mono output contains
    f(none), the scores without any modality; the authors' mono outputs add up to f(all). The
    exponents of r and tau are bounded by 20, so that infinities are never subtracted. Every f(S) is
    computed in training mode and with its gradient. (A public version computes only f(all) with
    gradient. Every modality then has the same share of the gradient of f(all), and all branches are
    scaled by the same factor.) The gradient through phi_m also reaches the branches of other
    modalities if the strategy lets modalities interact.

    Adam divides a gradient by the gradient's own running size. This division cancels a factor that
    all k_m share. If only phi_m reaches a branch (concat, sum), the division also cancels a k_m
    that stays constant over many steps. Under Adam the k_m therefore mainly change the relative
    weights of the batches. If modalities interact, the k_m also change the relative weights of the
    parts of a gradient. With SGD the k_m act in full.

    s_m is the mean over the clips that have m. The rule skips passes that show only some of the
    modalities, and batches in which some modality is missing from every clip. Skipped passes and
    batches do not enter the running means.

    Parameters
    ----------
    alpha : float
        Strength, >= 0. 0 changes nothing; the paper uses 1.

    When to use
    -----------
    If one modality's part of the scores improves in bursts while the other modality falls behind,
    with strategies whose modalities interact. Expect little effect under Adam with concat.

    Cost
    ----
    2^M forward and backward passes through the strategy (not the branches) in each step.

    References
    ----------
    Li, H., Li, X., Hu, P., Lei, Y., Li, C., Zhou, Y. (2023). Boosting multi-modal model performance
    with adaptive gradient modulation. ICCV.
    """

    name = "agm"
    space: ClassVar[Mapping[str, Space]] = {"alpha": Uniform(0.0, 2.0)}
    takes_over: ClassVar[tuple[Domain, ...]] = ("logits",)
    checkpointed = ("_means", "_steps", "_factors")

    def __init__(self, *, alpha: float = 1.0) -> None:
        if alpha < 0:
            raise ParameterError(f"agm.alpha must be 0 or more, and is {alpha}.")
        self.alpha = alpha

    def setup(self, context: Context) -> None:
        self._means: dict[str, Tensor] = {}
        self._steps = 0
        self._factors = {m: torch.ones(()) for m in context.modalities}

    def logits(self, logits: Tensor, step: Step) -> Tensor:
        shown = step.shown
        count = len(step.modalities)
        if count < 2 or len(shown) < count or len(step.batch_modalities) < count:
            return logits
        parts = step.contributions  # (B, C) each
        self._update(
            {
                m: functional.cross_entropy(step.rows(m, x.detach()), step.rows(m, step.labels))
                for m, x in parts.items()
            }
        )
        for m, part in parts.items():
            logits = logits + (self._factors[m] - 1) * (part - part.detach())
        return logits

    def _update(self, losses: Mapping[str, Tensor]) -> None:
        """Update running means and factors from the mean loss of each mono output on this batch."""
        self._steps += 1
        self._means = {
            m: self._means[m] + (s - self._means[m]) / self._steps if m in self._means else s
            for m, s in losses.items()
        }
        now, usual = _ratios(losses), _ratios(self._means)
        self._factors = {
            m: (self.alpha * (usual[m] - now[m]).clamp(max=10.0)).exp() for m in losses
        }

    def metrics(self) -> dict[str, float]:
        return {f"agm.{m}": float(factor) for m, factor in self._factors.items()}


def _ratios(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return exp(M / (M - 1) * (mean over all - own)), a scalar, by modality."""
    total = len(losses)
    middle = torch.stack(list(losses.values())).mean()
    return {
        m: (total / (total - 1) * (middle - s)).clamp(max=_LARGEST_LOG).exp()
        for m, s in losses.items()
    }


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [AGM]
