"""Alternating unimodal adaptation: one modality at a time through a shared, projected head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...core.contracts import Balancer, Context, Gradients, LogUniform, Pass, Space, Step, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain
from ._curves import Curved


class MLA(Curved):
    """One modality at a time, with head gradients projected to limit forgetting.

    ::

        every batch: M passes, each with one modality, its own loss and its own optimiser step
        in the pass of one modality, for every linear layer of the strategy:
        G <- G P                    gradient of the weight, (out, in)
        k  = P r                    r: mean of the layer's input over the batch, (in)
        P <- P - k k^T / (a_i + <r, k>)
        a_i = a^(1 + i / n)         i-th of n steps of the epoch

    A branch never receives a gradient that depends on another modality, so no modality can
    dominate. Without protection, the strategy, which all modalities share, would forget one
    modality while it learns the next. The gradient of each linear layer of the strategy is
    therefore projected onto the complement of the inputs that the layer has received before. P,
    (in, in), is reset to the identity at the start of each epoch, so the first pass of an epoch is
    unchanged (Zhang et al. 2024).

    Departures from the paper: in the published code <r, k> is a matrix, an outer product, and k k^T
    is divided by this matrix entry by entry; here <r, k> is the scalar of recursive least squares.
    In the published code P also contains the input of the current pass; here P contains earlier
    inputs only. Without a reset, P would shrink to zero over a whole training, and the head would
    stop learning. The published code divides P by the norm of P after each update; here P is reset
    in every epoch. At test the paper weights the modalities by their entropy; here the strategy
    sees all modalities at once.

    The projection is exact for plain SGD. Momentum and Adam's step sizes per weight are applied
    after the projection and distort it: part of each step still changes what was learned before.
    Biases, and layers that are not linear (the projections inside torch's attention,
    normalisations), are not projected.

    Permuting the modalities changes the order of the passes. With a single modality, this balancer
    changes nothing.

    Parameters
    ----------
    a : float
        Regulariser of the projector at the start of an epoch, in (0, 1]; the smaller a is, the
        stricter is the projection. The paper's code uses 0.1, falling to 0.01.

    When to use
    -----------
    With `sum` or `mean`: the scores of all modalities are then the sum or mean of the scores of
    each modality alone, so training on one modality at a time matches the use of all modalities.
    With `concat` the modalities share no weights, so the method is equivalent to training the
    modalities one by one. Choose another balancer for `gated`, `film` and attention: their weights
    that combine modalities would never see more than one modality in training. Choose another
    balancer also for `normalised`, whose batch statistics would be those of zero inputs.

    Cost
    ----
    M passes through the strategy and M steps of the optimiser per batch, each with the backward
    pass of one branch; an (in, in) matrix per linear layer.

    References
    ----------
    X. Zhang, J. Yoon, M. Bansal, H. Yao: Multimodal Representation Learning by Alternating Unimodal
    Adaptation. CVPR 2024.
    """

    name = "mla"
    space: ClassVar[Mapping[str, Space]] = {"a": LogUniform(0.01, 1.0)}
    takes_over: ClassVar[tuple[Domain, ...]] = ("passes",)
    conformance = {  # noqa: RUF012
        "order_matters": "the modalities are trained one after the other"
    }

    def __init__(self, *, a: float = 0.1) -> None:
        if not 0 < a <= 1:
            raise ParameterError(f"mla.a must be above 0 and at most 1, and is {a}.")
        self.a = a
        self._projectors: dict[str, Tensor] = {}  # by layer: (in, in)
        self._inputs: dict[str, list[Tensor]] = {}  # by layer: means of its inputs, (in)
        self._hooks: list[RemovableHandle] = []

    def setup(self, context: Context) -> None:
        self._projectors.clear()
        self._inputs.clear()
        super().setup(context)

    def epoch_start(self, epoch: int) -> None:
        self._projectors.clear()
        super().epoch_start(epoch)

    def passes(self, step: Step) -> list[Pass] | None:
        if len(step.modalities) < 2:
            return None
        return [Pass((m,)) for m in step.modalities]

    # The strategy is called between `representations` and `logits`. Inputs that the layers receive
    # at other times, from another balancer's calls, are not part of the pass.

    def representations(self, representations: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        self._inputs.clear()
        if len(step.modalities) > 1:
            self._hooks = [
                layer.register_forward_hook(self._recorder(name, step))
                for name, layer in _linear_layers(step.model.strategy).items()
            ]
        return representations

    def logits(self, logits: Tensor, step: Step) -> Tensor:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        return logits

    def _recorder(self, name: str, step: Step) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def record(layer: nn.Module, inputs: tuple[Any, ...], result: Any) -> None:
            x = inputs[0].detach().float()
            if len(x) == len(step.labels):  # only the clips that have the modality of the pass
                for m in step.shown if len(step.shown) == 1 else ():
                    x = step.rows(m, x)
            if len(x):
                mean = x.flatten(0, -2).mean(dim=0)  # (..., in) -> (in)
                self._inputs.setdefault(name, []).append(mean)

        return record

    def gradients(self, gradients: Gradients, step: Step) -> None:
        n = max(1, step.context.steps_per_epoch)
        a = self.a ** (1 + (step.index % n) / n)
        sizes: list[Tensor] = []  # squared norms of the gradients before and after
        for name, layer in _linear_layers(step.model.strategy).items():
            grad = layer.weight.grad
            if grad is None or name not in self._inputs:
                continue
            r = torch.stack(self._inputs[name]).mean(dim=0)  # (in)
            before = self._projectors.get(name)
            if before is None:
                before = torch.eye(len(r), device=r.device)
            sizes.append(torch.stack([grad.square().sum(), (grad @ before).square().sum()]))
            grad.copy_(grad @ before)
            self._projectors[name] = projector_after(before, r, a)
        if sizes and step.current.modalities is not None:
            total, projected = torch.stack(sizes).sum(dim=0)
            # Curve: share of the length of the head's gradient that remains after projection.
            share = (projected / total.clamp_min(1e-30)).sqrt()
            self.curve.add({step.current.modalities[0]: share})


def projector_after(before: Tensor, r: Tensor, a: float) -> Tensor:
    """Return the projector, (in, in), that also removes `r`, (in): recursive least squares."""
    k = before @ r
    return before - torch.outer(k, k) / (a + r @ k)


def _linear_layers(strategy: nn.Module) -> dict[str, nn.Linear]:
    return {n: layer for n, layer in strategy.named_modules() if isinstance(layer, nn.Linear)}


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [MLA]
