"""What balancers see of a training, and where they may change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from .data import Plugin

if TYPE_CHECKING:
    from ..model import FusionModel


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
    parameters: list[torch.nn.Parameter]
    lr: float
    weight_decay: float


@dataclass
class Step:
    """One training step. Filled in as the step goes on; later fields exist only then.

    Attributes
    ----------
    epoch : int
        From 1 to `epochs`.
    epochs : int
        The budget.
    index : int
        Steps taken since the start of the training.
    labels : Tensor
        (B,) int64.
    model : FusionModel
        Branches, probes and strategy.
    generator : torch.Generator
        For anything random; seeded per epoch, on the CPU.
    inputs, embeddings : dict of Tensor
        By modality: (B, *shape) and (B, D).
    logits : Tensor
        Fused class scores, (B, C).
    unimodal : dict of Tensor
        Class scores of the probes, (B, C), by modality. Their gradient stops at the
        embedding: they tell what a modality knows, and change nothing in its branch.
    fused_loss : Tensor
        Cross-entropy of `logits`, a scalar.
    unimodal_losses : dict of Tensor
        Cross-entropy of each probe, a scalar, by modality.
    """

    epoch: int
    epochs: int
    index: int
    labels: Tensor
    model: FusionModel
    generator: torch.Generator
    inputs: dict[str, Tensor] = field(default_factory=dict)
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None
    unimodal: dict[str, Tensor] = field(default_factory=dict)
    fused_loss: Tensor | None = None
    unimodal_losses: dict[str, Tensor] = field(default_factory=dict)

    def scores(self) -> dict[str, Tensor]:
        """Sum over the batch of the probe's probability of the right class, by modality."""
        rows = torch.arange(len(self.labels), device=self.labels.device)
        return {
            name: logits.detach().float().softmax(dim=1)[rows, self.labels].sum()
            for name, logits in self.unimodal.items()
        }


class Gradients:
    """The gradients of the branches after backward, by modality.

    ``gradients[modality]`` lists the gradient tensors of that branch: change them in place
    for anything but a factor. For a factor call :meth:`scale`, which makes it count
    whatever the optimiser: SGD takes the scaled gradient, while Adam's update does not
    depend on the scale of its gradient at all, so there the step is scaled instead. (Under
    Adam most published gradient-scaling code changes next to nothing.)
    """

    def __init__(self, by_modality: Mapping[str, list[Tensor]]) -> None:
        self._tensors = dict(by_modality)
        self.factors: dict[str, Tensor] = {}

    @property
    def modalities(self) -> list[str]:
        return list(self._tensors)

    def __getitem__(self, modality: str) -> list[Tensor]:
        return self._tensors[modality]

    def norm(self, modality: str) -> Tensor:
        """Euclidean norm over all of the branch's gradients, times the factor so far. Scalar."""
        tensors = self._tensors[modality]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
        factor = self.factors.get(modality)
        return norm if factor is None else norm * factor

    def scale(self, modality: str, factor: float | Tensor) -> None:
        """Multiply what this step does to the branch by `factor` (>= 0). Factors compose."""
        factor = torch.as_tensor(
            factor, dtype=torch.float32, device=self._tensors[modality][0].device
        )
        before = self.factors.get(modality)
        self.factors[modality] = factor if before is None else before * factor


class Balancer(Plugin):
    """Changes how the branches are trained together. Every method is optional.

    The engine calls, in this order: :meth:`setup` and :meth:`parameter_groups` once;
    in every step :meth:`inputs`, :meth:`embeddings`, :meth:`loss`, :meth:`gradients`,
    :meth:`step_end`; then :meth:`epoch_end` after each epoch. Several balancers are called
    in the order in which they were named, each seeing what the one before it left.
    """

    def setup(self, model: FusionModel, modalities: list[str]) -> None:
        """Before anything: check that this balancer can work here, or raise ParameterError."""

    def parameter_groups(self, groups: list[ParameterGroup]) -> list[ParameterGroup]:
        """Change learning rates or weight decay, or split groups."""
        return groups

    def inputs(self, inputs: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Change the batch, modality -> (B, *shape), before the branches."""
        return inputs

    def embeddings(self, embeddings: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Change the embeddings, modality -> (B, D), before the strategy.

        Not called for strategies that take feature maps.
        """
        return embeddings

    def loss(self, loss: Tensor, step: Step) -> Tensor:
        """Change the scalar loss of the branches and the head; it starts as `step.fused_loss`.

        The probes are trained on losses of their own, which no balancer changes.
        """
        return loss

    def gradients(self, gradients: Gradients, step: Step) -> None:
        """Change the gradients of the branches, after backward and before clipping."""

    def step_end(self, step: Step) -> None:
        """After the optimiser's step."""

    def epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """After validation; `metrics` are the epoch's, as written to the run directory."""

    def metrics(self) -> dict[str, float]:
        """Numbers worth a curve, e.g. the coefficient of each modality; written each epoch."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed training needs: tensors, numbers, strings, lists and dicts."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state_dict` returned."""
