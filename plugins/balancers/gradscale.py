"""Gradient scaling: larger steps for branches that learn more slowly than other branches."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...core.contracts import Balancer, Context, Gradients, LogUniform, Step, Uniform, hookimpl
from ...core.toolkit.ranges import check_ranges

_SMALLEST = 1e-12


class GradScale(Balancer):
    """Scaling of the steps of each branch by how fast the branch learns.

    ::

        mode=progress:  factor_m = clip((r_m / min over j of r_j)^alpha, 1, limit)
                        r_m      = l_m / l_m(0)
        mode=norms:     factor_m = clip((G / n_m)^alpha, 1 / limit, limit)
        mode=fixed:     factor_m = scale
        step of branch m <- factor_m * step of branch m

    *progress*: l_m is the running mean of the loss of the probe of branch m, and l_m(0) the loss of
    this probe in the first step. r_m is the remaining loss of the branch: 1 at the start, falling
    towards 0 as the branch learns. The branch with the smallest remaining loss takes the same steps
    as without this rule. A branch that lags takes larger steps, up to `limit` times as large. No
    factor is below 1, so no branch learns less than it would without the rule. Branches that start
    from their baselines have little left to learn, so their factors are near 1.

    *norms*: n_m is the running mean of the norm of the branch's gradient, and G the geometric mean
    of the n_m. This rule is for plain SGD, where a step is proportional to the gradient. Under Adam
    the norm of a gradient does not show which branch lags. With Adam the rule slows the branch that
    learns, and the accuracy falls (docs/concepts/why-fusions-fail.md). In version 0.1 the rule
    *norms* was the default, named *adaptive*.

    *fixed*: the factor is `scale` for every branch; the steps of the fusion head do not change.

    The factor scales the step of the branch, with any optimiser (`Gradients.scale`).

    Parameters
    ----------
    mode : {"progress", "norms", "fixed"}
        The rule.
    scale : float
        Factor of the fixed rule, > 0.
    alpha : float
        Strength of the rules *progress* and *norms*, >= 0; 0 changes nothing.
    limit : float
        Largest factor of *progress* and *norms*, >= 1; the smallest factor of *norms* is 1/limit.
    momentum : float
        Weight of the past in the running means, in [0, 1).

    When to use
    -----------
    Use *progress* if one branch is still learning while another has finished, as in joint training
    from scratch (``train.start=scratch``) of branches that learn at different speeds. Use *fixed*
    to slow all branches relative to the head. Use *norms* with SGD.

    Cost
    ----
    *progress*: none, because the losses of the probes are computed anyway. *norms*: the norm of
    each branch's gradient in each step.

    References
    ----------
    Chen et al. (2018), "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
    Multitask Networks", ICML: relative inverse training rates. In that paper the rates apply to
    tasks and need an extra backward pass; here the rates apply to branches, and no factor is below
    1.
    """

    name = "gradscale"
    space: ClassVar = {"alpha": Uniform(0.0, 1.0), "limit": LogUniform(1.5, 10.0)}
    replaced_values: ClassVar = {
        "mode": {
            "adaptive": "Version 0.1's 'adaptive' is now 'norms'. The default is 'progress', which "
            "slows no branch."
        }
    }
    checkpointed = ("_means", "_first", "_factors")

    def __init__(
        self,
        *,
        mode: Literal["progress", "norms", "fixed"] = "progress",
        scale: float = 0.5,
        alpha: float = 0.5,
        limit: float = 3.0,
        momentum: float = 0.9,
    ) -> None:
        check_ranges(self.name, "scale > 0, alpha >= 0, limit >= 1 and 0 <= momentum < 1", locals())
        self.mode = mode
        self.scale = scale
        self.alpha = alpha
        self.limit = limit
        self.momentum = momentum

    def setup(self, context: Context) -> None:
        self._means: dict[str, Tensor] = {}  # running means of the norms, or of the probes' losses
        self._first: dict[str, Tensor] = {}  # losses of the probes in the first step
        self._factors = {m: torch.ones(()) for m in context.modalities}

    def gradients(self, gradients: Gradients, step: Step) -> None:
        rules = {"progress": self._progress, "norms": self._norms, "fixed": self._fixed}
        self._factors = rules[self.mode](gradients, step)
        for modality, factor in self._factors.items():
            gradients.scale(modality, factor)

    def _fixed(self, gradients: Gradients, step: Step) -> dict[str, Tensor]:
        return {m: torch.tensor(self.scale) for m in gradients.modalities}

    def _progress(self, gradients: Gradients, step: Step) -> dict[str, Tensor]:
        modalities = [m for m in gradients.modalities if m in step.batch_modalities]
        for m in modalities:
            loss = step.unimodal_losses[m].detach().clamp_min(_SMALLEST)
            self._first.setdefault(m, loss)
            self._update_mean(m, loss)
        if not modalities:
            return {}
        logs = {m: (self._means[m] / self._first[m]).log() for m in modalities}
        smallest = torch.stack(list(logs.values())).min()
        bound = math.log(self.limit)
        return {m: (self.alpha * (log - smallest)).clamp(0, bound).exp() for m, log in logs.items()}

    def _norms(self, gradients: Gradients, step: Step) -> dict[str, Tensor]:
        modalities = [m for m in gradients.modalities if m in step.batch_modalities]
        for m in modalities:
            self._update_mean(m, gradients.norm(m).detach().clamp_min(_SMALLEST))
        if not modalities:
            return {}
        logs = {m: self._means[m].log() for m in modalities}
        middle = torch.stack(list(logs.values())).mean()  # log of the geometric mean
        bound = math.log(self.limit)
        return {
            m: (self.alpha * (middle - log)).clamp(-bound, bound).exp() for m, log in logs.items()
        }

    def _update_mean(self, modality: str, value: Tensor) -> None:
        """Update the running mean of a modality with a value."""
        before = self._means.get(modality, value)
        self._means[modality] = self.momentum * before + (1 - self.momentum) * value

    def metrics(self) -> dict[str, float]:
        return {f"gradscale.{m}": float(factor) for m, factor in self._factors.items()}


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [GradScale]
