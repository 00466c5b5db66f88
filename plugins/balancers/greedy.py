"""Greedy learning undone: the modality that the fusion learns from fastest has to wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...core.contracts import (
    Balancer,
    Context,
    Gradients,
    Integer,
    LogUniform,
    Space,
    Step,
    hookimpl,
    norm_of,
)
from ...core.contracts.model import along
from ...core.contracts.training import Domain
from ...core.toolkit.ranges import check_ranges


class Greedy(Balancer):
    """Shows the strategy a mean in place of the modality that it learns from fastest.

    The conditional learning speed of modality m, over all ordinary steps t so far:

        s_m = log sum over t of |g_m|^2 / |theta_m|^2 - log sum over t of |u_m|^2 / |theta_m|^2

    with g_m the gradient of the fused loss in branch m, and u_m that of its own loss l(f_m),
    which is measured and not followed. If the fastest is ahead of the slowest by more than
    epsilon, `steps` rebalancing steps follow, in which the strategy receives the running mean
    of the fastest modality's representation (embedding or map) instead of the representation:
    the fused loss does not reach its branch, and the head has to make do with the others. Then
    at least one ordinary step (Wu et al. 2022).

    In the paper the sum of g is over modules that carry one modality's features into another's
    branch (MMTM), and the sum of u over the rest of the branch. A strategy here need not have
    such modules; what every branch has is a gradient from the joint loss and one from its own,
    and the ratio of the two is the speed. With M > 2 modalities the paper's comparison of two
    is that of the fastest with the slowest. The logarithm is natural; the published code's is
    decimal, which makes its epsilon 2.3 times as large. Running means are exponential, since
    what a branch says drifts as it learns; the published code keeps the plain mean. Adam lets
    the branch that waits coast on its momentum, and has its steps longer for the zeros between:
    a branch that waits in five of six steps still moves 0.4 times as fast as one that never
    waits, where with SGD it is 1/6.

    A single modality is left alone.

    Parameters
    ----------
    epsilon : float
        Difference of speeds that starts rebalancing, >= 0; 0.01 in the paper.
    steps : int
        Rebalancing steps in a row, >= 1; 5 in the paper.
    warmup : int
        Epochs in which speeds are measured and nothing is rebalanced, >= 0; 1 in the
        published code.
    momentum : float
        Share of the past in the running mean of the representations, in [0, 1).

    When to use
    -----------
    Where the fused training uses one modality and ignores another that has something to say.
    With the small epsilon of the paper five of six steps rebalance: raise it if both
    modalities are needed at once.

    Cost
    ----
    A backward pass more per branch in each step, and the running mean of each representation.

    References
    ----------
    N. Wu, S. Jastrzebski, K. Cho, K. J. Geras: Characterizing and Overcoming the Greedy Nature
    of Learning in Multi-modal Deep Neural Networks. ICML 2022.
    """

    name = "greedy"
    space: ClassVar[Mapping[str, Space]] = {
        "epsilon": LogUniform(1e-3, 0.1),
        "steps": Integer(1, 10),
    }
    takes_over: ClassVar[tuple[Domain, ...]] = ("representations",)
    separate: ClassVar[bool] = True  # others' losses are no part of the fused loss's gradient
    checkpointed = ("_cross", "_own", "_left", "_fastest", "_means")

    def __init__(
        self, *, epsilon: float = 0.01, steps: int = 5, warmup: int = 1, momentum: float = 0.9
    ) -> None:
        check_ranges(
            self.name, "epsilon >= 0, steps >= 1, warmup >= 0 and 0 <= momentum < 1", locals()
        )
        self.epsilon = epsilon
        self.steps = steps
        self.warmup = warmup
        self.momentum = momentum

    @property
    def acts_from(self) -> int:
        return self.warmup + 1

    def setup(self, context: Context) -> None:
        self._modalities = list(context.modalities)
        count, device = len(self._modalities), context.device
        self._cross = torch.zeros(count, device=device)  # sum of |g_m|^2 / |theta_m|^2
        self._own = torch.zeros(count, device=device)  # sum of |u_m|^2 / |theta_m|^2
        self._left = torch.zeros((), dtype=torch.int64, device=device)  # rebalancing steps to go
        self._fastest = torch.zeros(count, dtype=torch.bool, device=device)  # who waits in them
        self._means: dict[str, Tensor] = {}
        self._measured = -1  # the step whose own gradients are counted already

    # Whether a step rebalances is known on the device alone: asking would wait for it.

    def representations(self, representations: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if len(self._modalities) < 2:
            return representations
        waits = self._fastest & (self._left > 0)  # (M,)
        found = {}
        for i, m in enumerate(self._modalities):
            x, instead = representations[m], waits[i]
            others = step.sees([other for other in self._modalities if other != m])
            if others is not None:  # a clip keeps what is all that it shows
                instead = along(instead & others, x)
            found[m] = torch.where(instead, self._mean(m, x, step), x) if m in step.known else x
        return found

    def _mean(self, m: str, x: Tensor, step: Step) -> Tensor:
        """Mean of a modality's representation up to and without `x`, which it takes in."""
        now = step.rows(m, x.detach().float()).mean(dim=0)
        before = self._means.get(m, now)
        self._means[m] = self.momentum * before + (1 - self.momentum) * now
        return before.to(x.dtype)

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        # Once in a step, before the first of its passes has changed anything.
        if len(self._modalities) > 1 and step.index != self._measured:
            self._measured = step.index
            found = {m: self._own_gradient(step, m) for m in self._modalities}
            self._own = self._own + self._counted(found, step)
        return losses

    def _own_gradient(self, step: Step, m: str) -> list[Tensor]:
        loss, parameters = step.unimodal_loss(m), _trained(step, m)
        if not parameters or not loss.requires_grad:
            return []
        # Beside the training: nothing reaches .grad, and the graph stays for the losses.
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        # In the fused loss's mean a clip without the modality counts, and adds nothing.
        share = len(step.rows(m, step.labels)) / len(step.labels)
        return [g * share if share < 1 else g for g in found if g is not None]

    def gradients(self, gradients: Gradients, step: Step) -> None:
        if len(self._modalities) > 1 and "fused" in gradients.losses:
            found = {m: gradients.part("fused", m) for m in gradients.modalities}
            self._cross = self._cross + self._counted(found, step)

    def _counted(self, gradients: Mapping[str, list[Tensor]], step: Step) -> Tensor:
        """|g_m|^2 / |theta_m|^2 by modality, (M,); zero in a rebalancing step."""
        ratios = [
            (norm_of(found) / norm_of(_trained(step, m)).clamp_min(1e-12)).square().detach()
            if (found := gradients.get(m))
            else torch.zeros((), device=self._left.device)
            for m in self._modalities
        ]
        return torch.where(self._left > 0, 0.0, torch.stack(ratios))

    def step_end(self, step: Step) -> None:
        if len(self._modalities) < 2:
            return
        speeds, known = self.speeds()
        most, least = speeds.where(known, -torch.inf), speeds.where(known, torch.inf)
        ahead = (most.max() - least.min() > self.epsilon) & (self._left == 0)
        starts = ahead & (step.epoch > self.warmup)
        first = torch.arange(len(speeds), device=speeds.device) == most.argmax()
        self._fastest = torch.where(starts, first, self._fastest)
        self._left = torch.where(starts, self.steps, (self._left - 1).clamp_min(0))

    def speeds(self) -> tuple[Tensor, Tensor]:
        """Conditional learning speeds, (M,), and for which modalities they are known, (M,)."""
        known = (self._cross > 0) & (self._own > 0)
        return self._cross.clamp_min(1e-30).log() - self._own.clamp_min(1e-30).log(), known

    def metrics(self) -> dict[str, float]:
        """Conditional learning speed of each modality so far."""
        speeds, known = (found.tolist() for found in self.speeds())
        return {
            f"greedy.{m}": speed
            for m, speed, there in zip(self._modalities, speeds, known, strict=True)
            if there
        }


def _trained(step: Step, m: str) -> list[nn.Parameter]:
    return [p for p in step.model.branches[m].parameters() if p.requires_grad]


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [Greedy]
