"""Self-distillation between modalities: on each clip, better modalities teach worse ones."""

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
    """Single-modality losses, and per clip a distillation loss from the better modality.

    ::

        L = l(f) + sum over m of l(f_m)
            + strength * mean over pairs (a, b) and clips of
              w * (mean over classes of (f_a - f_b)^2 + KL(p_s || p_w))
        w = |p_a(y) - p_b(y)| if a or b is right on the clip, else 0

    f_m are the scores of the probe of m, and p_m = softmax(f_m). The gradient of f_m reaches the
    branch and not the probe. In p_s and p_w, s is the modality of the pair that gives more
    probability to the right class y, and w is the other modality. A modality is right if its
    largest score is that of y. The weight w and the target of KL, p_s, have no gradient. The
    gradient of the squared difference reaches both modalities.

    The loss of a pair is a mean over the clips that have both modalities.

    In a step of several passes, a modality's loss counts in the passes that show the modality, and
    pairs are formed within a pass. With `mla`, which shows one modality at a time, there are no
    pairs.

    Departures from the paper (modality-balanced self-distillation): KL is between the two
    distributions over the classes. (A public version passes two probabilities of the right class to
    a function that expects log probabilities. The result is not a divergence: it can be negative,
    and is not 0 for equal arguments.) With more than two modalities, the loss is the mean over
    pairs. The squared differences are always between scores, while the public version compares
    probabilities if there are more than two modalities. The single-modality scores come from the
    probes, for any strategy.

    Parameters
    ----------
    strength : float
        Weight of the distillation loss, >= 0; the paper uses 1. With 0 only the single-modality
        losses remain.

    When to use
    -----------
    If the modalities are right on different clips. Compare with `unimodal_loss`, which is this
    method with ``strength=0``: often the single-modality losses alone cause the gain.

    Cost
    ----
    Negligible; with strategies on maps the branches pool the maps a second time.

    References
    ----------
    Liu et al. (2023), "Multimodal Pre-Training with Self-Distillation for Product Understanding in
    E-Commerce", WSDM.
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
        pull = pull_of(pairs, step.labels, step.has_modality)
        self._pull = pull.detach()
        return losses | {"mbsd.pull": self.strength * pull}

    def metrics(self) -> dict[str, float]:
        return {"mbsd.pull": float(self._pull)}


def pull_of(
    logits: Mapping[str, Tensor], labels: Tensor, present: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Return the mean distillation loss, a scalar, from class scores (B, C) and classes (B,).

    With `present`, (B,) bool by modality, the loss of a pair is the mean over the clips that have
    both modalities. If no clip has both modalities, the loss of the pair is 0.
    """
    pairs = []
    for a, b in combinations(logits, 2):
        both = None if present is None else present[a] & present[b]  # (B,)
        pairs.append(mean_over(_pair(logits[a], logits[b], labels), both))
    return torch.stack(pairs).mean()


def _pair(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    """Return the distillation loss of each clip for one pair of modalities, (B,)."""
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
