"""Prototypical modal rebalance: the weaker modality is drawn to its class prototypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import (
    Balancer,
    Context,
    LogUniform,
    Space,
    Step,
    hookimpl,
    right_probability,
)
from ...core.toolkit.ranges import check_ranges


class PMR(Balancer):
    """A loss on the distance to class prototypes, for modalities that are behind in it.

    Before every epoch the embeddings of the training clips give a prototype for each class
    and modality, a mean over clips, kept as a running mean:

        c_m^k <- momentum * c_m^k + (1 - momentum) * mean of z_m over the clips of class k.

    In a step the prototype scores of m are -||z_m - c_m^k||, a_m is the sum over the batch of
    what their softmax gives to the right class, and

        beta_m = min(1, max over j of a_j / a_m - 1)
        L = l(f) + alpha * sum over m of beta_m * cross-entropy(-||z_m - c_m||, y).

    For two modalities only the weaker has beta > 0: the paper's rule. With more, all but the
    best have.

    Prototypical modal rebalance (Fan et al. 2023, CVPR). momentum is on the past, as in the
    authors' code: at 0.2 the new means count for 0.8. The first prototypes are those of the
    network as it starts. Departures: a prototype is the mean over all training clips (the
    authors take a tenth or less; here the clips have been encoded anyway if anything else asks
    for them), in evaluation mode and unaugmented. A class without clips has the mean of all
    clips for a prototype. The paper also raises the entropy of the stronger modality's
    prototype scores in the first epochs; that term is left out.

    Prototypes, a_m and the loss of m are over the clips that have m; a_m is their mean, times
    the size of the batch.

    Parameters
    ----------
    alpha : float
        Weight of the loss, >= 0.
    momentum : float
        Share of the past in the prototypes, in [0, 1).

    When to use
    -----------
    Where one modality lags, under any strategy: the loss asks nothing of the fusion. With few
    clips a class the prototypes are noisy.

    Cost
    ----
    One forward pass over the training clips before each epoch, about a third of an epoch.

    References
    ----------
    Fan, Y., Xu, W., Wang, H., Wang, J., Guo, S. (2023). PMR: Prototypical modal rebalance for
    multimodal learning. CVPR.
    """

    name = "pmr"
    space: ClassVar[Mapping[str, Space]] = {"alpha": LogUniform(0.1, 5.0)}
    checkpointed = ("_prototypes", "_weights")

    def __init__(self, *, alpha: float = 1.0, momentum: float = 0.2) -> None:
        check_ranges(self.name, "alpha >= 0 and 0 <= momentum < 1", locals())
        self.alpha = alpha
        self.momentum = momentum

    def setup(self, context: Context) -> None:
        self._context = context
        self._prototypes: dict[str, Tensor] = {}  # (C, D) each
        self._weights = {m: torch.zeros(()) for m in context.modalities}

    def epoch_start(self, epoch: int) -> None:
        if len(self._context.modalities) < 2:
            return
        known = self._context.outputs("train")
        classes = known.logits.shape[1]
        for m, embeddings in known.embeddings.items():
            labels = known.rows(m, known.labels)
            fresh = prototypes(known.rows(m, embeddings), labels, classes)
            past = self._prototypes.get(m, fresh)
            self._prototypes[m] = self.momentum * past + (1 - self.momentum) * fresh

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if len(step.modalities) < 2:
            return losses
        embeddings = {m: step.rows(m, step.embeddings[m]) for m in step.known}
        labels = {m: step.rows(m, step.labels) for m in embeddings}
        logits = {m: -_distances(z, self._prototypes[m]) for m, z in embeddings.items()}
        batch = len(step.labels)
        scores = {
            m: right_probability(x, labels[m]).sum() * (batch / len(x)) for m, x in logits.items()
        }
        if not scores:
            return losses
        self._weights = self._weights | lags(scores)
        own = {
            f"pmr.{m}": self.alpha * self._weights[m] * step.context.cross_entropy(x, labels[m])
            for m, x in logits.items()
        }
        return {**losses, **own}

    def metrics(self) -> dict[str, float]:
        return {f"pmr.{m}": float(weight) for m, weight in self._weights.items()}


def prototypes(embeddings: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Embeddings (n, D) and their classes (n,) -> mean by class, (C, D)."""
    # A product, not index_add: the same to the bit each time, on every device.
    one_hot = torch.nn.functional.one_hot(labels, classes).to(embeddings.dtype)  # (n, C)
    counts = one_hot.sum(dim=0)[:, None]
    means = (one_hot.T @ embeddings) / counts.clamp_min(1)
    return torch.where(counts > 0, means, embeddings.mean(dim=0))


def lags(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Prototype scores a_m -> weights beta_m, scalars in [0, 1], by modality."""
    best = torch.stack(list(scores.values())).amax()
    return {m: (best / a.clamp_min(1e-12) - 1).clamp(0, 1) for m, a in scores.items()}


def _distances(embeddings: Tensor, centres: Tensor) -> Tensor:
    """(B, D), (C, D) -> Euclidean distances, (B, C)."""
    # vector_norm has gradient 0 where the distance is 0, and no NaN.
    distances: Tensor = torch.linalg.vector_norm(embeddings.float()[:, None] - centres, dim=2)
    return distances


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [PMR]
