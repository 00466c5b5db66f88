"""Classifier-guided gradient modulation: single-modality classifiers guide the gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ...core.contracts import Balancer, Context, Gradients, LogUniform, Space, Step, hookimpl
from ...core.toolkit.ranges import check_ranges
from ._curves import EpochMeans


class CGGM(Balancer):
    """Smaller steps for the fastest modality, and a loss that favours the slower modalities.

    ::

        d_m  = max(0, change of the probe's training accuracy between the last two epochs)
        B_m  = (sum over j != m of d_j + (M - 1) epsilon) / (sum over j of d_j + M epsilon)
        g_m <- rho * M / (M - 1) * B_m * g_m
        L    = l(f) + lam * mean over m of B_m * (1 - cos(p - y, p_m - y))

    p are the fused probabilities, p_m the probabilities of the probe of m (without gradient), and y
    the classes as one-hot vectors. cos is taken over all values of the batch, restricted to the
    clips that have m. The probes are the paper's auxiliary classifiers on the detached embedding.

    Departure from the paper, size of the gradient: the paper compares the accuracies of two
    consecutive batches and divides by the sum of their changes. The sum of these changes crosses
    zero often, so the paper's factors have no bound and can be negative. Here the changes are
    between epochs, a fall counts as 0, and epsilon keeps the ratio away from 0 / 0: if no modality
    makes progress, all B_m are equal. Because of the factor M / (M - 1), the steps of equal
    modalities are multiplied by rho. The paper's rho corresponds to rho * M / (M - 1) here. In the
    first two epochs no change is known, and all modalities count as equal. Here the factor scales
    the step of the branch, because Adam, which the published code uses, cancels a factor on the
    gradient.

    Departure from the paper, direction of the gradient: in the paper, the gradient of the fusion
    head should have the direction of the gradients of the classifiers whose modalities have a large
    B_m. The authors' code takes the cosine between the weights of the output layers and adds the
    term to the loss of the next batch. The gradient of the cross-entropy with respect to the scores
    is p - y, which is known without a backward pass and differentiable in p. The term is therefore
    written with p - y, works for any strategy and needs no second derivatives.

    Parameters
    ----------
    rho : float
        Factor on the steps of all branches, > 0.
    lam : float
        Weight of the direction term, >= 0; 0 leaves it out. The default is the authors'.
    epsilon : float
        Change of accuracy (a share of the clips) below which progress counts as small, > 0.

    When to use
    -----------
    If one modality is learned much faster than another. With few training clips the changes of
    accuracy are mostly noise, so the factors are mostly noise too.

    Cost
    ----
    Negligible.

    References
    ----------
    Guo et al. (2024), "Classifier-guided Gradient Modulation for Enhanced Multimodal Learning",
    NeurIPS.
    """

    name = "cggm"
    space: ClassVar[Mapping[str, Space]] = {
        "rho": LogUniform(0.5, 2.0),
        "lam": LogUniform(0.01, 1.0),
    }
    checkpointed = ("_shares", "_accuracy")

    def __init__(self, *, rho: float = 1.0, lam: float = 0.2, epsilon: float = 0.01) -> None:
        check_ranges(self.name, "rho > 0, lam >= 0 and epsilon > 0", locals())
        self.rho = rho
        self.lam = lam
        self.epsilon = epsilon
        self._running = EpochMeans("accuracy")

    def setup(self, context: Context) -> None:
        self._shares = self.shares(dict.fromkeys(context.modalities, 0.0))  # B_m of this epoch
        self._accuracy: dict[str, float] = {}  # of the previous epoch

    def epoch_start(self, epoch: int) -> None:
        self._running.restart()

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if len(self._shares) < 2 or self.lam == 0 or not step.batch_modalities:
            return losses
        return losses | {"cggm.direction": self.lam * self._direction(step)}

    def _direction(self, step: Step) -> Tensor:
        assert step.logits is not None
        right = functional.one_hot(step.labels, step.logits.shape[1])
        fused = step.logits.softmax(dim=1) - right  # (B, C)
        whole = fused.flatten()  # created once, so that its gradients accumulate in one tensor
        terms = []
        for m in step.batch_modalities:
            own = step.rows(m, step.unimodal[m].detach().softmax(dim=1) - right)
            reference = whole if len(own) == len(fused) else step.rows(m, fused).flatten()
            cosine = functional.cosine_similarity(reference, own.flatten(), dim=0)
            terms.append(self._shares[m] * (1 - cosine))
        return torch.stack(terms).mean()

    def gradients(self, gradients: Gradients, step: Step) -> None:
        for m in gradients.modalities:
            gradients.scale(m, self._factor(m))

    def _factor(self, modality: str) -> float:
        total = len(self._shares)
        if total < 2:
            return 1.0
        return self.rho * total / (total - 1) * self._shares[modality]

    def step_end(self, step: Step) -> None:
        right = {m: (f.argmax(dim=1) == step.labels).float() for m, f in step.unimodal.items()}
        modalities = [m for m in step.batch_modalities if m in right]
        self._running.add({m: step.rows(m, right[m]).mean() for m in modalities})

    def epoch_end(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        # A modality that no clip of the epoch had keeps its previous accuracy.
        accuracy = self._accuracy | self._running.means()
        if self._accuracy:
            changes = {m: a - self._accuracy.get(m, a) for m, a in accuracy.items()}
            self._shares = self.shares(dict.fromkeys(self._shares, 0.0) | changes)
        self._accuracy = accuracy

    def shares(self, changes: Mapping[str, float]) -> dict[str, float]:
        """Return B_m by modality, given the changes of accuracy."""
        gained = {m: max(0.0, change) for m, change in changes.items()}
        total = sum(gained.values())
        below = total + len(gained) * self.epsilon
        return {
            m: (total - own + (len(gained) - 1) * self.epsilon) / below for m, own in gained.items()
        }

    def metrics(self) -> dict[str, float]:
        return {f"cggm.{m}": self._factor(m) for m in self._shares}


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [CGGM]
