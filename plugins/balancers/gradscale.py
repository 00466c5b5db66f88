"""Gradient scaling: a branch that learns more slowly than the others takes longer steps."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...core.contracts import Balancer, Context, Gradients, LogUniform, Step, Uniform, hookimpl
from ...core.toolkit.ranges import check_ranges

_SMALLEST = 1e-12


class GradScale(Balancer):
    """Scales the steps of each branch by how fast the branch learns.

    *Progress*: the probe of branch m has the running mean loss l_m and had l_m(0) in the first
    step. The branch's remaining loss is r_m = l_m / l_m(0): 1 at the start, towards 0 as it
    learns. The factor on its step is

        clip((r_m / min over j of r_j)^alpha, 1, limit)

    The branch that has come furthest takes the steps that it would take without this rule, and
    one that lags takes longer ones, up to `limit` times. No factor is below 1: no branch learns
    less than it would without the rule. Branches that start from their baselines have little
    left to learn, and factors near 1.

    *Norms*: clip((G / n_m)^alpha, 1/limit, limit), where n_m is the running mean of the norm of
    the branch's gradient and G the geometric mean of the n_m. This evens out what plain SGD
    does. Under Adam the norm of a gradient says nothing about which branch lags: the rule then
    slows the branch that learns, and costs accuracy (docs/methods.md). It was the default of
    version 0.1, named *adaptive*.

    *Fixed*: `scale` for every branch; the fusion head keeps its pace.

    The factor goes to the step of the branch, under any optimiser (`Gradients.scale`).

    Parameters
    ----------
    mode : {"progress", "norms", "fixed"}
        Which rule.
    scale : float
        Factor of the fixed rule, > 0.
    alpha : float
        Strength of the other rules, >= 0: 0 changes nothing.
    limit : float
        Largest factor of the other rules, >= 1; 1/limit is the smallest of *norms*.
    momentum : float
        Share of the past in the running means, in [0, 1).

    When to use
    -----------
    *Progress* where one branch is still learning while another has finished: joint training
    from scratch (``train.start=scratch``) of branches that learn at different speeds. *Fixed*
    to slow all branches against the head. *Norms* with SGD.

    Cost
    ----
    *Progress*: none; the losses of the probes are computed anyway. *Norms*: the norm of each
    branch's gradient in each step.

    References
    ----------
    Chen et al. (2018), "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
    Multitask Networks", ICML: relative inverse training rates, there on tasks and with an extra
    backward pass; here on branches, without a bound below 1.
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
        self._means: dict[str, Tensor] = {}  # of the norms, or of the probes' losses
        self._first: dict[str, Tensor] = {}  # losses
        self._factors = {m: torch.ones(()) for m in context.modalities}

    def gradients(self, gradients: Gradients, step: Step) -> None:
        rules = {"progress": self._progress, "norms": self._norms, "fixed": self._fixed}
        self._factors = rules[self.mode](gradients, step)
        for modality, factor in self._factors.items():
            gradients.scale(modality, factor)

    def _fixed(self, gradients: Gradients, step: Step) -> dict[str, Tensor]:
        return {m: torch.tensor(self.scale) for m in gradients.modalities}

    def _progress(self, gradients: Gradients, step: Step) -> dict[str, Tensor]:
        there = [m for m in gradients.modalities if m in step.known]
        for m in there:
            loss = step.unimodal_losses[m].detach().clamp_min(_SMALLEST)
            self._first.setdefault(m, loss)
            self._follow(m, loss)
        if not there:
            return {}
        logs = {m: (self._means[m] / self._first[m]).log() for m in there}
        furthest = torch.stack(list(logs.values())).min()
        bound = math.log(self.limit)
        return {m: (self.alpha * (log - furthest)).clamp(0, bound).exp() for m, log in logs.items()}

    def _norms(self, gradients: Gradients, step: Step) -> dict[str, Tensor]:
        there = [m for m in gradients.modalities if m in step.known]
        for m in there:
            self._follow(m, gradients.norm(m).detach().clamp_min(_SMALLEST))
        if not there:
            return {}
        logs = {m: self._means[m].log() for m in there}
        middle = torch.stack(list(logs.values())).mean()  # log of the geometric mean
        bound = math.log(self.limit)
        return {
            m: (self.alpha * (middle - log)).clamp(-bound, bound).exp() for m, log in logs.items()
        }

    def _follow(self, modality: str, value: Tensor) -> None:
        """Take a value into the running mean of a modality."""
        before = self._means.get(modality, value)
        self._means[modality] = self.momentum * before + (1 - self.momentum) * value

    def metrics(self) -> dict[str, float]:
        return {f"gradscale.{m}": float(factor) for m, factor in self._factors.items()}


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [GradScale]
