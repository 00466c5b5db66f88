"""What an optimiser's step is made of: groups of parameters, and their gradients by modality."""

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
        What the parameters belong to.
    modality : str or None
        The modality of a branch or probe; None for the fusion head.
    parameters : list of Tensor
        The parameters themselves.
    lr : float > 0
        Peak learning rate; the schedule multiplies it.
    weight_decay : float >= 0
        As in the training settings.
    """

    role: Literal["branch", "probe", "head"]
    modality: str | None
    parameters: list[nn.Parameter]
    lr: float
    weight_decay: float


class Gradients:
    """The gradients of the branches after backward, by modality.

    ``gradients[modality]`` lists the gradient tensors of that branch, in the order of
    ``gradients.parameters(modality)``: change them in place, or :meth:`replace` them, for
    anything but a factor. For a factor call :meth:`scale`, which makes it count whatever the
    optimiser: SGD takes the scaled gradient, while Adam's update does not depend on the scale
    of its gradient at all, so there the step is scaled instead. (Under Adam most published
    gradient-scaling code changes next to nothing.)

    Parameters
    ----------
    by_modality : mapping of str to list of Tensor
        A branch that gets no gradient (frozen, or not looked at) is left out.
    parameters : mapping of str to list of Parameter, optional
        What the tensors are gradients of.
    parts : mapping of str to mapping of str to list of Tensor, optional
        Loss -> modality -> that loss's own gradient, where a balancer asked for it.
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
        return list(self._tensors)

    def __getitem__(self, modality: str) -> list[Tensor]:
        return self._tensors[modality]

    def parameters(self, modality: str) -> list[nn.Parameter]:
        """The parameters that ``gradients[modality]`` are gradients of."""
        return self._parameters[modality]

    @property
    def losses(self) -> list[str]:
        """Losses with a gradient of their own; empty unless a balancer has `separate` set."""
        return list(self._parts)

    def part(self, loss: str, modality: str) -> list[Tensor]:
        """What one loss alone sends into a branch: zeros where it does not reach."""
        found = self._parts[loss].get(modality)
        if found is None:
            return [torch.zeros_like(tensor) for tensor in self._tensors[modality]]
        return found

    def replace(self, modality: str, tensors: Sequence[Tensor]) -> None:
        """Let the branch have other gradients, in the order of its parameters."""
        torch._foreach_copy_(self._tensors[modality], list(tensors))

    def norm(self, modality: str) -> Tensor:
        """Euclidean norm over all of the branch's gradients, times the factor so far. Scalar."""
        norm = norm_of(self._tensors[modality])
        factor = self.factors.get(modality)
        return norm if factor is None else norm * factor

    def scale(self, modality: str, factor: float | Tensor) -> None:
        """Multiply what this step does to the branch by `factor` (>= 0). Factors compose."""
        device = self._tensors[modality][0].device
        if isinstance(factor, Tensor):
            factor = factor.to(device, torch.float32)
        else:  # made there: copied, it would wait for the device
            factor = torch.full((), factor, dtype=torch.float32, device=device)
        before = self.factors.get(modality)
        self.factors[modality] = factor if before is None else before * factor


def norm_of(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norm over all values of some tensors, a scalar."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
    return norm


def inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Inner product over all values of two lists of tensors, a scalar."""
    products = torch._foreach_mul(list(a), list(b))
    return torch.stack([product.sum() for product in products]).sum()
