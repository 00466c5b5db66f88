"""Self-distillation between modalities: where one knows better, the others are drawn to it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ...core.contracts import Balancer, Context, LogUniform, Space, Step, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain
from ._means import mean_over
from ._unimodal import unimodal_losses


class MBSD(Balancer):
    """Single-modality losses, and for each clip a pull between modalities that differ on it.

        L = l(f) + sum over m of l(f_m)
            + strength * mean over pairs (a, b) and clips of
              w * (mean over classes of (f_a - f_b)^2 + KL(p_s || p_w))

    f_m are the probes' scores (their gradient reaches the branch, not the probe), p their
    softmax; s is the modality of the pair that gives the right class y more, w the other; and
    w = |p_a(y) - p_b(y)| where a or b is right on the clip (its largest score is y's), else 0.
    w is a weight, without gradient, and so is p_s in KL: it is a target. The squared difference
    draws both.

    The pull of a pair is a mean over the clips that have both.

    In a step of several passes a modality's loss counts in the passes that show it, and the pull
    is between modalities of the same pass: with `mla`, which shows one at a time, there is none.

    Modality-balanced self-distillation. Departures: KL is between the
    two distributions over classes (a public version passes two probabilities of the right
    class to a function that expects log probabilities, which is no divergence: it can be
    negative, and is not 0 for equal ones). More than two modalities: the mean over pairs, of
    differences of scores as for two (there that version changes to probabilities). The
    single-modality scores come from the probes, whatever the strategy.

    Parameters
    ----------
    strength : float
        Weight of the pull, >= 0; 1 is the paper's, 0 leaves the single-modality losses.

    When to use
    -----------
    Where the modalities are right on different clips. Compare with unimodal_loss, which is
    this with ``strength=0``: often that is what helps.

    Cost
    ----
    Next to nothing; with strategies on maps the branches pool them a second time.

    References
    ----------
    Liu et al. (2023), "Multimodal Pre-Training with Self-Distillation for Product Understanding
    in E-Commerce", WSDM.
    """

    name = "mbsd"
    space: ClassVar[Mapping[str, Space]] = {"strength": LogUniform(0.1, 3.0)}
    takes_over: ClassVar[tuple[Domain, ...]] = ("unimodal_losses",)

    def __init__(self, *, strength: float = 1.0) -> None:
        if strength < 0:
            raise ParameterError(f"mbsd.strength must be 0 or more, and is {strength}.")
        self.strength = strength

    def setup(self, context: Context) -> None:
        self._pull = torch.zeros(())

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if len(step.modalities) < 2:
            return losses
        losses = losses | unimodal_losses(step, 1.0)
        logits = step.unimodal_logits
        pairs = {m: logits[m] for m in step.shown}
        if len(pairs) < 2:
            return losses
        pull = pull_of(pairs, step.labels, step.there)
        self._pull = pull.detach()
        return losses | {"mbsd.pull": self.strength * pull}

    def metrics(self) -> dict[str, float]:
        return {"mbsd.pull": float(self._pull)}


def pull_of(
    logits: Mapping[str, Tensor], labels: Tensor, there: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Class scores by modality, (B, C), and classes (B,) -> the mean pull, a scalar.

    With `there`, (B,) bool by modality, over the clips that have both of a pair; 0 where none
    has.
    """
    pairs = []
    for a, b in combinations(logits, 2):
        both = None if there is None else there[a] & there[b]  # (B,)
        pairs.append(mean_over(_pair(logits[a], logits[b], labels), both))
    return torch.stack(pairs).mean()


def _pair(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    """The pull on each clip, (B,)."""
    logs = torch.stack([a, b]).log_softmax(dim=2)  # (2, B, C)
    right = logs.detach().gather(2, labels.expand(2, -1)[:, :, None])[:, :, 0].exp()  # (2, B)
    either = (a.argmax(dim=1) == labels) | (b.argmax(dim=1) == labels)
    weight = (right[0] - right[1]).abs() * either  # (B,)
    first = (right[0] >= right[1])[:, None]
    strong = torch.where(first, logs[0], logs[1]).detach()
    weak = torch.where(first, logs[1], logs[0])
    divergence = functional.kl_div(weak, strong, log_target=True, reduction="none").sum(dim=1)
    apart = (a - b).square().mean(dim=1)
    pull: Tensor = weight * (apart + divergence)
    return pull


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [MBSD]
