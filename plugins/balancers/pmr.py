"""Prototypical modal rebalance: lagging modalities are pulled to their class prototypes."""

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
    """Loss that pulls the embeddings of lagging modalities to their class prototypes.

    ::

        c_m^k  <- momentum * c_m^k + (1 - momentum) * mean of z_m over the clips of class k
                                                              before every epoch
        a_m    = sum over the batch of softmax(-||z_m - c_m||)[y]
        beta_m = min(1, max over j of a_j / a_m - 1)
        L      = l(f) + alpha * sum over m of beta_m * cross-entropy(-||z_m - c_m||, y)

    c_m^k is the prototype of class k in modality m, a running mean over the training clips. The
    prototype scores of m are -||z_m - c_m^k|| for all classes k. a_m is the sum over the batch of
    the probability that these scores give to the right class. For two modalities only the weaker
    modality has beta > 0, as in the paper. With more modalities, all but the best have beta > 0.

    momentum is the weight of the past, as in the authors' code: at 0.2 the new means have weight
    0.8. The first prototypes are those of the initial network.

    Departures from the paper and the authors' code: beta_m grows with the ratio of the scores minus
    1, up to 1; in the authors' code the weaker modality has a weight of 1 at any ratio. A prototype
    is the mean over all training clips, in evaluation mode and without augmentation; the authors
    use a tenth of the clips or less. (The clips are encoded once for all balancers that need them.)
    A class without clips has the mean of all clips as its prototype. The paper also raises the
    entropy of the stronger modality's prototype scores in the first epochs; this term is left out
    here.

    The prototypes, a_m and the loss of m are computed from the clips that have m. a_m is the mean
    over the clips of the batch that have m, times the batch size.

    Parameters
    ----------
    alpha : float
        Weight of the loss, >= 0.
    momentum : float
        Weight of the past in the prototypes, in [0, 1).

    When to use
    -----------
    If one modality lags, with any strategy, because the loss does not depend on the fusion. With
    few clips per class the prototypes are noisy.

    Cost
    ----
    One forward pass over the training clips before each epoch, about a third of the time of an
    epoch.

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
        outputs = self._context.outputs("train")
        classes = outputs.logits.shape[1]
        for m, embeddings in outputs.embeddings.items():
            labels = outputs.rows(m, outputs.labels)
            fresh = prototypes(outputs.rows(m, embeddings), labels, classes)
            past = self._prototypes.get(m, fresh)
            self._prototypes[m] = self.momentum * past + (1 - self.momentum) * fresh

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if len(step.modalities) < 2:
            return losses
        embeddings = {m: step.rows(m, step.embeddings[m]) for m in step.batch_modalities}
        labels = {m: step.rows(m, step.labels) for m in embeddings}
        logits = {m: -_distances(z, self._prototypes[m]) for m, z in embeddings.items()}
        batch = len(step.labels)
        scores = {
            m: right_probability(x, labels[m]).sum() * (batch / len(x)) for m, x in logits.items()
        }
        if not scores:
            return losses
        self._weights = self._weights | lag_weights(scores)
        own = {
            f"pmr.{m}": self.alpha * self._weights[m] * step.context.cross_entropy(x, labels[m])
            for m, x in logits.items()
        }
        return {**losses, **own}

    def metrics(self) -> dict[str, float]:
        return {f"pmr.{m}": float(weight) for m, weight in self._weights.items()}


def prototypes(embeddings: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the mean embedding of each class, (C, D), from embeddings (n, D) and classes (n,)."""
    # A matrix product instead of index_add, which is not deterministic on every device.
    one_hot = torch.nn.functional.one_hot(labels, classes).to(embeddings.dtype)  # (n, C)
    counts = one_hot.sum(dim=0)[:, None]
    means = (one_hot.T @ embeddings) / counts.clamp_min(1)
    return torch.where(counts > 0, means, embeddings.mean(dim=0))


def lag_weights(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights beta_m, scalars in [0, 1], by modality, from prototype scores a_m."""
    best = torch.stack(list(scores.values())).amax()
    return {m: (best / a.clamp_min(1e-12) - 1).clamp(0, 1) for m, a in scores.items()}


def _distances(embeddings: Tensor, centres: Tensor) -> Tensor:
    """Return the Euclidean distances, (B, C), of embeddings (B, D) to centres (C, D)."""
    # The gradient of vector_norm at distance 0 is 0 instead of NaN.
    distances: Tensor = torch.linalg.vector_norm(embeddings.float()[:, None] - centres, dim=2)
    return distances


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [PMR]
