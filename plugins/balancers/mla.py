"""MLA: one modality at a time through a shared head that must not forget the others."""

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
    """Shows the strategy one modality after the other, and keeps the head from forgetting.

    Every batch is gone through M times, each time with one modality alone, its own loss, its
    own step: a branch never sees another's gradient, and none can lag behind. The strategy,
    which all share, would unlearn one modality with the next. So the gradient of each of its
    linear layers is projected off what the layer has received before:

        G <- G P                    gradient of the weight, (out, in)
        k  = P r                    r: mean of the layer's input over the batch, (in)
        P <- P - k k^T / (a_i + <r, k>)
        a_i = a^(1 + i / n)         i-th of n steps of the epoch

    P, (in, in), starts each epoch as the identity: the first pass is not changed. (Zhang et al.
    2024.)

    In the published code <r, k> is a matrix, an outer product, by which k k^T is divided entry
    by entry, and the pass that is under way is projected off its own input; here it is the
    scalar of recursive least squares, and P has seen only what came before. Left to itself
    over a whole training P shrinks to nothing and the head stands still; the published code
    divides it by its norm after each update, here it starts anew with each epoch. The projection
    is exact for plain SGD. Momentum and Adam's weight by weight step sizes come after it, and
    bend it: some of each step goes where it should not. Biases and layers that are not linear
    (the projections inside torch's attention, normalisations) are not projected. At test the
    paper weights the modalities by their entropy; here the strategy sees all of them at once.

    Permuting the modalities changes the order of the passes. A single modality is left alone.

    Parameters
    ----------
    a : float
        Regulariser of the projector at the start of an epoch, in (0, 1]: small projects
        strictly. 0.1, falling to 0.01, in the paper's code.

    When to use
    -----------
    With `sum` or `mean`, whose scores for all modalities add up (or average) those for each
    alone: there the training fits the use. With `concat` the modalities meet in no weight, so
    it comes to training them one by one. With `gated`, `film` or attention, the weights that
    join several modalities are not trained on several; `normalised` takes its statistics from
    blank inputs: choose another balancer there.

    Cost
    ----
    M passes through the strategy and M steps of the optimiser per batch, each with the backward
    pass of one branch; an (in, in) matrix per linear layer.

    References
    ----------
    X. Zhang, J. Yoon, M. Bansal, H. Yao: Multimodal Representation Learning by Alternating
    Unimodal Adaptation. CVPR 2024.
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
        self._projectors: dict[str, Tensor] = {}  # layer -> (in, in)
        self._inputs: dict[str, list[Tensor]] = {}  # layer -> means of its inputs, (in)
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

    # The strategy is called between `representations` and `logits`: what its layers receive at
    # other times, when somebody else asks it something, is not part of the pass.

    def representations(self, representations: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        self._inputs.clear()
        if len(step.modalities) > 1:
            self._hooks = [
                layer.register_forward_hook(self._listen(name, step))
                for name, layer in _linear_layers(step.model.strategy).items()
            ]
        return representations

    def logits(self, logits: Tensor, step: Step) -> Tensor:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        return logits

    def _listen(self, name: str, step: Step) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hear(layer: nn.Module, given: tuple[Any, ...], result: Any) -> None:
            heard = given[0].detach().float()
            if len(heard) == len(step.labels):  # of the clips that the pass shows something of
                for m in step.shown if len(step.shown) == 1 else ():
                    heard = step.rows(m, heard)
            if len(heard):
                mean = heard.flatten(0, -2).mean(dim=0)  # (..., in) -> (in)
                self._inputs.setdefault(name, []).append(mean)

        return hear

    def gradients(self, gradients: Gradients, step: Step) -> None:
        n = max(1, step.context.steps_per_epoch)
        a = self.a ** (1 + (step.index % n) / n)
        sizes: list[Tensor] = []  # of the gradients before and after, squared
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
            total, left = torch.stack(sizes).sum(dim=0)
            # The curve: share of the length of the head's gradient that the projection leaves.
            self.curve.add({step.current.modalities[0]: (left / total.clamp_min(1e-30)).sqrt()})


def projector_after(before: Tensor, r: Tensor, a: float) -> Tensor:
    """Projector (in, in) that also leaves out `r`, (in): a step of recursive least squares."""
    k = before @ r
    return before - torch.outer(k, k) / (a + r @ k)


def _linear_layers(strategy: nn.Module) -> dict[str, nn.Linear]:
    return {n: layer for n, layer in strategy.named_modules() if isinstance(layer, nn.Linear)}


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [MLA]
