"""Conditional learning speed: the modality that the fusion learns from fastest has to wait."""

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
    """Rebalancing steps without the modality that the fusion learns from fastest.

    ::

        s_m = log sum over t of |g_m|^2 / |theta_m|^2 - log sum over t of |u_m|^2 / |theta_m|^2
        if max over m of s_m - min over m of s_m > epsilon, in the next `steps` steps:
        x_m <- running mean of x_m,    m the modality with the largest s_m

    s_m is the conditional learning speed of modality m. The sums are over all ordinary steps t so
    far. g_m is the gradient of the fused loss in branch m, and theta_m its weights. u_m is the
    gradient of the branch's own loss l(f_m). u_m is only measured and does not change any weight.
    x_m is the representation (embedding or map) that the strategy receives. In a rebalancing step
    the fused loss does not reach the branch of the fastest modality, and the head has to rely on
    the other modalities. At least one ordinary step follows (Wu et al. 2022).

    Departures from the paper: in the paper the sum of g is over modules (MMTM) that carry one
    modality's features into another's branch, and the sum of u over the rest of the branch. A
    strategy here need not have such modules. Here the speed of a branch compares the gradient of
    the joint loss with the gradient of the branch's own loss. The paper compares two modalities;
    here the fastest of M modalities is compared with the slowest. The logarithm is natural. The
    published code uses the decimal logarithm, so an epsilon of the published code has to be
    multiplied by 2.3 here. The running means of the representations are exponential, because the
    output of a branch drifts as it learns; the published code uses the plain mean.

    With Adam, a waiting branch still moves on its momentum, and its next steps are longer because
    of the zero gradients in between. A branch that waits in five of six steps moves 0.4 times as
    fast as a branch that never waits. With SGD such a branch moves 1/6 as fast.

    With a single modality, this balancer changes nothing.

    Parameters
    ----------
    epsilon : float
        Difference of speeds that starts rebalancing, >= 0; the paper uses 0.01.
    steps : int
        Rebalancing steps in a row, >= 1; the paper uses 5.
    warmup : int
        Epochs in which speeds are measured and nothing is rebalanced, >= 0; the published code uses
        1.
    momentum : float
        Weight of the past in the running mean of the representations, in [0, 1).

    When to use
    -----------
    If the fused training uses one modality and ignores another that carries information. With the
    paper's small epsilon, five of six steps rebalance. Use a larger epsilon if both modalities are
    needed at once.

    Cost
    ----
    One more backward pass per branch in each step, and the running mean of each representation.

    References
    ----------
    N. Wu, S. Jastrzebski, K. Cho, K. J. Geras: Characterizing and Overcoming the Greedy Nature of
    Learning in Multi-modal Deep Neural Networks. ICML 2022.
    """

    name = "greedy"
    space: ClassVar[Mapping[str, Space]] = {
        "epsilon": LogUniform(1e-3, 0.1),
        "steps": Integer(1, 10),
    }
    takes_over: ClassVar[tuple[Domain, ...]] = ("representations",)
    separate: ClassVar[bool] = True  # keeps other balancers' losses out of the fused gradient
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
        self._fastest = torch.zeros(count, dtype=torch.bool, device=device)  # modality that waits
        self._means: dict[str, Tensor] = {}
        self._measured = -1  # index of the last step whose own gradients were counted

    # Whether a step rebalances is decided on the device, because a read here would synchronise.

    def representations(self, representations: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if len(self._modalities) < 2:
            return representations
        waits = self._fastest & (self._left > 0)  # (M,)
        result = {}
        for i, m in enumerate(self._modalities):
            x, replaced = representations[m], waits[i]
            sees_another = step.sees([other for other in self._modalities if other != m])
            if sees_another is not None:  # the only modality of a clip is not replaced
                replaced = along(replaced & sees_another, x)
            result[m] = (
                torch.where(replaced, self._mean(m, x, step), x)
                if m in step.batch_modalities
                else x
            )
        return result

    def _mean(self, m: str, x: Tensor, step: Step) -> Tensor:
        """Return the mean of a modality's representation before `x`, then add `x` to the mean."""
        now = step.rows(m, x.detach().float()).mean(dim=0)
        before = self._means.get(m, now)
        self._means[m] = self.momentum * before + (1 - self.momentum) * now
        return before.to(x.dtype)

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        # Measured once per step, before the first pass of the step has changed any weight.
        if len(self._modalities) > 1 and step.index != self._measured:
            self._measured = step.index
            own = {m: self._own_gradient(step, m) for m in self._modalities}
            self._own = self._own + self._squared_ratios(own, step)
        return losses

    def _own_gradient(self, step: Step, m: str) -> list[Tensor]:
        loss, parameters = step.unimodal_loss(m), _trained(step, m)
        if not parameters or not loss.requires_grad:
            return []
        # The call does not change .grad, and it retains the graph for the losses.
        own = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        # A clip without the modality counts in the mean of the fused loss and adds no gradient.
        share = len(step.rows(m, step.labels)) / len(step.labels)
        return [g * share if share < 1 else g for g in own if g is not None]

    def gradients(self, gradients: Gradients, step: Step) -> None:
        if len(self._modalities) > 1 and "fused" in gradients.losses:
            fused = {m: gradients.part("fused", m) for m in gradients.modalities}
            self._cross = self._cross + self._squared_ratios(fused, step)

    def _squared_ratios(self, gradients: Mapping[str, list[Tensor]], step: Step) -> Tensor:
        """Return |g_m|^2 / |theta_m|^2 by modality, (M,); zero in a rebalancing step."""
        ratios = [
            (norm_of(gradient) / norm_of(_trained(step, m)).clamp_min(1e-12)).square().detach()
            if (gradient := gradients.get(m))
            else torch.zeros((), device=self._left.device)
            for m in self._modalities
        ]
        return torch.where(self._left > 0, 0.0, torch.stack(ratios))

    def step_end(self, step: Step) -> None:
        if len(self._modalities) < 2:
            return
        speeds, measured = self.speeds()
        most, least = speeds.where(measured, -torch.inf), speeds.where(measured, torch.inf)
        ahead = (most.max() - least.min() > self.epsilon) & (self._left == 0)
        starts = ahead & (step.epoch > self.warmup)
        first = torch.arange(len(speeds), device=speeds.device) == most.argmax()
        self._fastest = torch.where(starts, first, self._fastest)
        self._left = torch.where(starts, self.steps, (self._left - 1).clamp_min(0))

    def speeds(self) -> tuple[Tensor, Tensor]:
        """Return the conditional learning speeds, (M,), and where they are measured, (M,) bool."""
        measured = (self._cross > 0) & (self._own > 0)
        return self._cross.clamp_min(1e-30).log() - self._own.clamp_min(1e-30).log(), measured

    def metrics(self) -> dict[str, float]:
        """Return the conditional learning speed of each modality so far."""
        speeds, measured = (values.tolist() for values in self.speeds())
        return {
            f"greedy.{m}": speed
            for m, speed, is_measured in zip(self._modalities, speeds, measured, strict=True)
            if is_measured
        }


def _trained(step: Step, m: str) -> list[nn.Parameter]:
    return [p for p in step.model.branches[m].parameters() if p.requires_grad]


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [Greedy]
