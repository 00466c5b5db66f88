"""Fit of a strategy's held-out parameters to clips that no branch was trained on."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

# Weight of the squared parameters in the fit, as for the pool (docs/concepts/training-protocol.md).
RIDGE = 0.02


class Fitted(Protocol):
    """Strategy with parameters that must not be fitted to training clips."""

    def held_out_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters to fit to clips that no branch was trained on."""
        ...

    def __call__(self, *inputs: Any) -> Any:
        """Compute class scores."""
        ...


class _Search(torch.optim.LBFGS):
    """L-BFGS without the wrappers that import torch's compiler (seconds in every process)."""

    add_param_group = inspect.unwrap(torch.optim.LBFGS.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.LBFGS.zero_grad)


def fit_held_out(strategy: Fitted, inputs: dict[str, Tensor], labels: Tensor) -> None:
    """Minimise cross-entropy plus ``RIDGE * |p|^2`` over ``strategy.held_out_parameters()``.

    The fit starts from 0, so the result depends on the clips alone and not on earlier fits. All
    parameters are set to 0 if a value is not finite, or if the minimised function is larger than
    with all parameters at 0.

    Parameters
    ----------
    inputs : dict of Tensor
        Inputs of the strategy's `forward` for the held-out clips, by modality.
    labels : Tensor
        (n,) int64.
    """
    parameters = list(strategy.held_out_parameters())
    if not parameters:
        return
    inputs = {m: x.detach().float() for m, x in inputs.items()}
    with torch.enable_grad(), torch.autocast(labels.device.type, enabled=False):
        for parameter in parameters:
            parameter.data.zero_()
            parameter.requires_grad_(True)

        def objective() -> Tensor:
            loss = functional.cross_entropy(strategy(inputs).float(), labels)
            return loss + RIDGE * torch.stack([p.square().sum() for p in parameters]).sum()

        before = after = float(objective().detach())
        search = _Search(
            parameters, max_iter=100, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            search.zero_grad()
            value = objective()
            gradients = torch.autograd.grad(value, parameters)  # leaves other gradients unchanged
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            return value

        if math.isfinite(before):
            try:
                search.step(closure)  # type: ignore[no-untyped-call]
                after = float(objective().detach())
            except RuntimeError:  # torch rejects a step whose length is not finite
                after = math.nan
    if not after <= before or not all(bool(p.isfinite().all()) for p in parameters):
        for parameter in parameters:
            parameter.data.zero_()
    for parameter in parameters:
        parameter.grad = None
        parameter.requires_grad_(False)
