"""Diagnosing and re-learning: branches that memorised clips move back to initial weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ...core.contracts import Balancer, Context, LogInteger, Outputs, Space, Uniform, hookimpl
from ...core.contracts.model import Part
from ...core.toolkit.ranges import check_ranges

_PARTS: tuple[Part, Part] = ("train", "val")


class Relearn(Balancer):
    """Partial reset of each branch to its initial weights, in proportion to its overfitting.

    ::

        purity     = 1/n sum over clusters of the number of clips of their most frequent class
                     k-means on the embeddings z_m, as many clusters as classes
        w_m        = tanh(strength * |purity on train - purity on validation|)
        theta_m   <- w_m theta_m at the start + (1 - w_m) theta_m
                     after every `every` epochs, at most `times` times, for each modality m

    A branch whose clusters are purer on the training clips than on validation clips has memorised
    clips instead of learning classes, and is reset most. A branch that has learned little has
    little to lose (Wei et al. 2024). The clusters are computed separately for training and
    validation, on the unaugmented clips that have the modality. With few validation clips the
    purity is too high by chance; interpret w with care.

    Departure from the authors' code: the embeddings are clustered as they are. The authors first
    scale each dimension to [-1, 1] (min-max scaling).

    Only trained weights are moved. The running statistics of normalisation layers stay, and adapt
    within the next epoch. The running means of the optimiser and the averaged model that is
    validated (``train.average``) stay as well and need some steps to adapt. A branch that another
    balancer has frozen in the epoch is not moved. After the last epoch no branch is moved.

    The weights at the start are those of the baselines if training starts from the baselines
    (``train.start=baselines``). The reset then leads back to a trained branch: use
    ``train.start=scratch`` for the rule of the paper.

    With a single modality, this balancer changes nothing.

    Parameters
    ----------
    every : int
        Epochs between two diagnoses, >= 1; the default is 20.
    times : int
        Largest number of diagnoses in a training, >= 0; the default is 3.
    strength : float
        Factor on the difference of purities, >= 0; the paper uses 3. 0 changes nothing.
    seed : int
        Seed of the k-means.

    When to use
    -----------
    In long trainings on few clips, if the branches' training scores are far above their validation
    scores. The method needs the epochs after a diagnosis to recover, and has no effect in a
    training of at most `every` epochs.

    Cost
    ----
    Per diagnosis one pass over the training and validation clips and 2 M small k-means runs. One
    copy of the branches' initial weights, also in the checkpoint.

    References
    ----------
    Y. Wei, S. Li, R. Feng, D. Hu: Diagnosing and Re-learning for Balanced Multimodal Learning. ECCV
    2024.
    """

    name = "relearn"
    reads_validation = True
    space: ClassVar[Mapping[str, Space]] = {
        "every": LogInteger(5, 40),
        "strength": Uniform(0.5, 6.0),
    }
    checkpointed = ("_initial", "_done", "_weights")

    def __init__(
        self, *, every: int = 20, times: int = 3, strength: float = 3.0, seed: int = 0
    ) -> None:
        check_ranges(self.name, "every >= 1, times >= 0, strength >= 0 and seed >= 0", locals())
        self.every = every
        self.times = times
        self.strength = strength
        self.seed = seed

    @property
    def acts_from(self) -> int:
        return self.every + 1

    def setup(self, context: Context) -> None:
        self._context = context
        self._initial = {
            m: [p.detach().clone() for p in self._parameters(m)] for m in context.modalities
        }
        self._done = 0
        self._weights = dict.fromkeys(context.modalities, 0.0)

    def _parameters(self, m: str) -> list[nn.Parameter]:
        return list(self._context.model.branches[m].parameters())

    def epoch_end(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        last = epoch >= self._context.config.epochs
        if last or epoch % self.every or self._done >= self.times or len(self._initial) < 2:
            return
        self._done += 1
        train, val = (self._context.outputs(part) for part in _PARTS)
        for m in self._initial:
            gap = self._purity(train, m) - self._purity(val, m)
            self._weights[m] = math.tanh(self.strength * abs(gap))
            self._move(m, self._weights[m])

    def _purity(self, outputs: Outputs, m: str) -> float:
        classes = self._context.model.num_classes
        embeddings = outputs.rows(m, outputs.embeddings[m]).cpu().numpy().astype(np.float64)
        labels = outputs.rows(m, outputs.labels).cpu().numpy()
        return purity(clusters(embeddings, classes, self.seed), labels)

    @torch.no_grad()
    def _move(self, m: str, weight: float) -> None:
        for parameter, initial in zip(self._parameters(m), self._initial[m], strict=True):
            if parameter.requires_grad:
                parameter.lerp_(initial, weight)

    def metrics(self) -> dict[str, float]:
        """Return how far each branch was reset at the last diagnosis, in [0, 1]."""
        return {f"relearn.{m}": weight for m, weight in self._weights.items()}


def clusters(embeddings: npt.NDArray[np.float64], k: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the k-means cluster, (n,), of each row of (n, D) embeddings; at most `k` clusters."""
    distinct = len(np.unique(embeddings, axis=0))
    if distinct <= k:  # every distinct row is a cluster
        return np.unique(embeddings, axis=0, return_inverse=True)[1].reshape(-1)
    from scipy.cluster.vq import kmeans2  # imported here: a registry of all plugins loads faster

    _, labels = kmeans2(embeddings, k, minit="++", seed=seed)
    return np.asarray(labels, dtype=np.int64)


def purity(assigned: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> float:
    """Return the share of clips that belong to the most frequent class of their cluster."""
    counts = np.zeros((assigned.max() + 1, labels.max() + 1), dtype=np.int64)
    np.add.at(counts, (assigned, labels), 1)
    return float(counts.max(axis=1).sum() / len(labels))


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [Relearn]
