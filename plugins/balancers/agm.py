"""Adaptive gradient modulation: what each modality adds to the scores learns at its own pace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ...core.contracts import Balancer, Context, Space, Step, Uniform, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain

_LARGEST_LOG = 20.0  # of a ratio: beyond it, infinity would be taken from infinity


class AGM(Balancer):
    """Weighs each modality's part of the fused scores in the gradient, and not in the scores.

    The mono output of modality m is its Shapley value for the fused scores f(S), S being what
    the strategy is shown,

        phi_m = sum over S without m of |S|! (M - |S| - 1)! / M! * (f(S + m) - f(S)),

    so that f(all) = f(none) + sum of phi_m. With s_m the mean negative log-likelihood of
    softmax(phi_m) on the batch, and t_m the mean of s_m over all steps so far, this one
    included,

        r_m   = exp(M / (M - 1) * (mean over modalities of s - s_m))
        tau_m = exp(M / (M - 1) * (mean over modalities of t - t_m))
        k_m   = exp(alpha * min(tau_m - r_m, 10)),

    and the gradient through phi_m is multiplied by k_m: the training loss is that of
    f + sum of (k_m - 1) (phi_m - constant), where the bracket is zero. For two modalities
    r_a = exp(s_b - s_a). A modality that does better in this batch than it is used to counts
    less in it. So the ratio is held at its running mean: the modalities are not made equal.

    Adaptive gradient modulation (Li et al. 2023, ICCV). Departures: exponents of r and tau end
    at 20, so that infinities never meet; and every f(S) is taken in training mode and with its
    gradient. (A public version takes all but f(all) without gradient. Of phi_m's gradient a
    share of f(all)'s is then left, the same for every modality, and all branches are scaled
    alike.) phi_m also leads into the branches of other modalities where the strategy lets
    them interact.

    Adam divides a gradient by its own running size. A factor that all k_m share, or that k_m
    keeps over many steps where a branch is reached through phi_m alone (concat, sum), cancels
    out; what remains is how the batches weigh against each other, and, where the strategy
    lets modalities interact, how the parts of one gradient do. With SGD the whole of k_m
    counts.

    s_m is over the clips that have m. In passes that show a part of the modalities only, and in
    batches of which no clip has one of them, nothing is changed or remembered.

    Parameters
    ----------
    alpha : float
        Strength, >= 0: 0 changes nothing; 1 is the paper's.

    When to use
    -----------
    Where one modality's part of the scores is learned in bursts that leave the other behind,
    with strategies whose modalities interact. Expect little of it under Adam with concat.

    Cost
    ----
    2^M forward and backward passes through the strategy (not the branches) in each step.

    References
    ----------
    Li, H., Li, X., Hu, P., Lei, Y., Li, C., Zhou, Y. (2023). Boosting multi-modal model
    performance with adaptive gradient modulation. ICCV.
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
        if count < 2 or len(shown) < count or len(step.known) < count:
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
        """The mean loss of each mono output on this batch -> running means and factors."""
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
    """exp(M / (M - 1) * (mean of all - own)), a scalar, by modality."""
    total = len(losses)
    middle = torch.stack(list(losses.values())).mean()
    return {
        m: (total / (total - 1) * (middle - s)).clamp(max=_LARGEST_LOG).exp()
        for m, s in losses.items()
    }


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [AGM]
