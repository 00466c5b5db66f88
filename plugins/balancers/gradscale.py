"""Gradient scaling: a branch that races ahead is slowed, one that lags is pushed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ...core.contracts import Balancer, Context, Gradients, LogUniform, Step, Uniform, hookimpl
from ...core.errors import ParameterError


class GradScale(Balancer):
    """Scales what each step does to each branch.

    *Fixed*: g_m <- scale * g_m for every branch; the fusion head keeps its pace.
    *Adaptive*: g_m <- clip((G / n_m)^alpha, 1/limit, limit) * g_m, where n_m is the running
    mean of the norm of the branch's gradient and G the geometric mean of the n_m: a branch
    with a large gradient is slowed, one with a small gradient is pushed, and branches with
    equal gradients are left alone (the idea of GradNorm, on branches instead of tasks, without
    its extra backward pass).

    The factor goes to the step of the branch. With SGD steps are as long as gradients, and
    alpha = 1 evens them out. Adam's steps do not depend on the length of the gradient: branches
    step alike without this rule, and with it the one with the small gradient takes the longer
    steps, up to `limit` times those of before.

    Parameters
    ----------
    mode : {"adaptive", "fixed"}
        Which rule.
    scale : float
        Factor of the fixed rule, > 0.
    alpha : float
        Strength of the adaptive rule, >= 0: 0 changes nothing, 1 evens out the norms of what
        SGD does.
    limit : float
        Largest factor of the adaptive rule, and 1/limit its smallest, >= 1.
    momentum : float
        Share of the past in the running mean of the norms, in [0, 1).

    When to use
    -----------
    *Adaptive* where the gradient of one branch is many times that of another and the one with
    the small gradient learns too little. *Fixed* to slow all branches against the head.

    Cost
    ----
    The norm of each branch's gradient in each step.

    References
    ----------
    Chen et al. (2018), "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
    Multitask Networks", ICML.
    """

    name = "gradscale"
    space: ClassVar = {"alpha": Uniform(0.0, 1.0), "limit": LogUniform(1.5, 10.0)}

    def __init__(
        self,
        *,
        mode: Literal["adaptive", "fixed"] = "adaptive",
        scale: float = 0.5,
        alpha: float = 0.5,
        limit: float = 3.0,
        momentum: float = 0.9,
    ) -> None:
        if scale <= 0 or alpha < 0 or limit < 1 or not 0 <= momentum < 1:
            raise ParameterError(
                "gradscale needs scale > 0, alpha >= 0, limit >= 1 and 0 <= momentum < 1; given "
                f"scale={scale}, alpha={alpha}, limit={limit}, momentum={momentum}."
            )
        self.mode = mode
        self.scale = scale
        self.alpha = alpha
        self.limit = limit
        self.momentum = momentum
        self._norms: dict[str, Tensor] = {}
        self._factors: dict[str, Tensor] = {}

    def setup(self, context: Context) -> None:
        self._norms.clear()
        self._factors = {m: torch.ones(()) for m in context.modalities}

    def gradients(self, gradients: Gradients, step: Step) -> None:
        self._factors = (
            self._fixed(gradients) if self.mode == "fixed" else self._adaptive(gradients, step)
        )
        for modality, factor in self._factors.items():
            gradients.scale(modality, factor)

    def _fixed(self, gradients: Gradients) -> dict[str, Tensor]:
        return {m: torch.tensor(self.scale) for m in gradients.modalities}

    def _adaptive(self, gradients: Gradients, step: Step) -> dict[str, Tensor]:
        there = [m for m in gradients.modalities if m in step.known]
        for m in there:
            norm = gradients.norm(m).detach().clamp_min(1e-12)
            before = self._norms.get(m, norm)
            self._norms[m] = self.momentum * before + (1 - self.momentum) * norm
        if not there:
            return {}
        logs = {m: self._norms[m].log() for m in there}
        middle = torch.stack(list(logs.values())).mean()  # log of the geometric mean
        bound = math.log(self.limit)
        return {
            m: (self.alpha * (middle - log)).clamp(-bound, bound).exp() for m, log in logs.items()
        }

    def metrics(self) -> dict[str, float]:
        return {f"gradscale.{m}": float(factor) for m, factor in self._factors.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"norms": dict(self._norms), "factors": dict(self._factors)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._norms = dict(state["norms"])
        self._factors = dict(state["factors"])


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [GradScale]
