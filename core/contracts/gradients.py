"""Inputs of an optimiser step: parameter groups, and gradients of the branches by modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn


@dataclass
class ParameterGroup:
    """Parameters that share a learning rate.

    Attributes
    ----------
    role : {"branch", "probe", "head"}
        Part of the model that the parameters belong to.
    modality : str or None
        Modality of the branch or probe; None for the head.
    parameters : list of Tensor
        The parameters.
    lr : float > 0
        Peak learning rate; the schedule multiplies it.
    weight_decay : float >= 0
        Weight decay, as in the training settings.
    """

    role: Literal["branch", "probe", "head"]
    modality: str | None
    parameters: list[nn.Parameter]
    lr: float
    weight_decay: float


class Gradients:
    """Gradients of the branches after the backward pass, by modality.

    ``gradients[modality]`` lists the gradient tensors of that branch, in the order of
    ``gradients.parameters(modality)``. To change gradients, modify them in place or call
    :meth:`replace`. To multiply gradients by a factor, call :meth:`scale` instead, which has the
    same effect under every optimiser. Under SGD the factor multiplies the gradient. Under Adam the
    factor multiplies the update, because Adam's update does not depend on the scale of the
    gradient. (For this reason most published gradient-scaling code has almost no effect under
    Adam.)

    Parameters
    ----------
    by_modality : mapping of str to list of Tensor
        Gradient tensors by modality. A branch without a gradient (frozen, or not used in this
        pass) is left out.
    parameters : mapping of str to list of Parameter, optional
        Parameters by modality, in the order of their gradients.
    parts : mapping of str to mapping of str to list of Tensor, optional
        Gradient of each loss alone, by loss and by modality, if a balancer needs these gradients.
    """

    def __init__(
        self,
        by_modality: Mapping[str, list[Tensor]],
        parameters: Mapping[str, list[nn.Parameter]] | None = None,
        parts: Mapping[str, Mapping[str, list[Tensor]]] | None = None,
    ) -> None:
        self._tensors = dict(by_modality)
        self._parameters = dict(parameters or {})
        self._parts = dict(parts or {})
        self.factors: dict[str, Tensor] = {}

    @property
    def modalities(self) -> list[str]:
        """Modalities whose branch has a gradient."""
        return list(self._tensors)

    def __getitem__(self, modality: str) -> list[Tensor]:
        return self._tensors[modality]

    def parameters(self, modality: str) -> list[nn.Parameter]:
        """Return the parameters of ``gradients[modality]``, in the order of the gradients."""
        return self._parameters[modality]

    @property
    def losses(self) -> list[str]:
        """Losses whose gradients are computed separately; empty unless a balancer is `separate`."""
        return list(self._parts)

    def part(self, loss: str, modality: str) -> list[Tensor]:
        """Return the gradient of one loss for a branch; 0 for parameters without a gradient."""
        tensors = self._parts[loss].get(modality)
        if tensors is None:
            return [torch.zeros_like(tensor) for tensor in self._tensors[modality]]
        return tensors

    def replace(self, modality: str, tensors: Sequence[Tensor]) -> None:
        """Replace the gradients of a branch by `tensors`, in the order of its parameters."""
        torch._foreach_copy_(self._tensors[modality], list(tensors))

    def norm(self, modality: str) -> Tensor:
        """Return the Euclidean norm of a branch's gradient, times the branch's factor; a scalar."""
        norm = norm_of(self._tensors[modality])
        factor = self.factors.get(modality)
        return norm if factor is None else norm * factor

    def scale(self, modality: str, factor: float | Tensor) -> None:
        """Scale the branch's update in this step by `factor` (>= 0); repeated factors multiply."""
        device = self._tensors[modality][0].device
        if isinstance(factor, Tensor):
            factor = factor.to(device, torch.float32)
        else:  # created on the device: a copy from the CPU would wait for the device
            factor = torch.full((), factor, dtype=torch.float32, device=device)
        before = self.factors.get(modality)
        self.factors[modality] = factor if before is None else before * factor


def norm_of(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm over all values of `tensors`, a scalar."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
    return norm


def inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return the inner product over all values of two lists of tensors, a scalar."""
    products = torch._foreach_mul(list(a), list(b))
    return torch.stack([product.sum() for product in products]).sum()
