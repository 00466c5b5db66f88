"""Diagnosing and re-learning: a branch that learned its clips by heart is sent back."""

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
    """Moves each branch part of the way back to its first weights, by how it over-fits.

    After every `every` epochs, at most `times` times, for each modality m:

        purity     = 1/n sum over clusters of the number of clips of their most frequent class
                     k-means on the embeddings z_m, as many clusters as classes
        w_m        = tanh(strength * |purity on train - purity on validation|)
        theta_m   <- w_m theta_m at the start + (1 - w_m) theta_m

    A branch whose clusters are purer on the training clips than on others has learned clips
    instead of classes, and unlearns most; one that has learned little has little to lose (Wei
    et al. 2024). The clusters are found on each part for itself, on the unaugmented clips that
    have the modality. With
    few validation clips their purity is too high by chance: read w with that in mind.

    Only what is trained is moved. Running statistics of normalisations stay, and follow within
    the next epoch; the optimiser's running means stay, too, and take some steps to forget, as
    does the averaged model that is validated (``train.average``). A branch that stands still in
    the epoch (another balancer's stage) is not moved. The last epoch moves nothing.

    The weights at the start are those of the baselines where training starts from these
    (``train.start=baselines``). Unlearning then leads back to a trained branch: use
    ``train.start=scratch`` for the rule of the paper.

    A single modality is left alone.

    Parameters
    ----------
    every : int
        Epochs between two diagnoses, >= 1; 20 here.
    times : int
        Most diagnoses of a training, >= 0; 3 here.
    strength : float
        Factor on the difference of purities, >= 0; 3 in the paper. 0 changes nothing.
    seed : int
        Of the k-means.

    When to use
    -----------
    In long trainings on few clips, where the branches' training scores run far ahead of their
    validation scores. It needs the epochs after a diagnosis to recover, and changes nothing in a
    training of no more than `every` epochs.

    Cost
    ----
    Per diagnosis a pass over the training and validation clips and 2 M small k-means; a copy
    of the branches' first weights, also in the checkpoint.

    References
    ----------
    Y. Wei, S. Li, R. Feng, D. Hu: Diagnosing and Re-learning for Balanced Multimodal Learning.
    ECCV 2024.
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
        """How far each branch went back at the last diagnosis, in [0, 1]."""
        return {f"relearn.{m}": weight for m, weight in self._weights.items()}


def clusters(embeddings: npt.NDArray[np.float64], k: int, seed: int) -> npt.NDArray[np.int64]:
    """k-means of (n, D): which of at most `k` clusters each row belongs to, (n,)."""
    distinct = len(np.unique(embeddings, axis=0))
    if distinct <= k:  # nothing to search for
        return np.unique(embeddings, axis=0, return_inverse=True)[1].reshape(-1)
    from scipy.cluster.vq import kmeans2  # which a registry of all plugins need not wait for

    _, found = kmeans2(embeddings, k, minit="++", seed=seed)
    return np.asarray(found, dtype=np.int64)


def purity(found: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> float:
    """Share of clips whose class is the most frequent one of their cluster."""
    counts = np.zeros((found.max() + 1, labels.max() + 1), dtype=np.int64)
    np.add.at(counts, (found, labels), 1)
    return float(counts.max(axis=1).sum() / len(labels))


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [Relearn]
