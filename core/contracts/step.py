"""Training context and training step that balancers receive."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from .model import Baseline, Encoded, Model, Outputs, Part, Presence
from .renamed import renamed
from .train_config import TrainConfig


@dataclass(frozen=True, slots=True)
class Clips:
    """Clips of one epoch, before shuffling.

    Attributes
    ----------
    indices : array
        (n,) int64, numbers of clips of the training part; a clip may occur several times.
    present : array or None
        (n, M) bool: the modalities that the strategy may see of each clip, columns in the order
        of the modalities. None means all.
    """

    indices: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """Period of a training in which parts of the model may be frozen.

    Attributes
    ----------
    name : str
        Name of the stage, written to the run directory with each epoch.
    branches : tuple of str or None
        Modalities whose branches are trained; None means all.
    head : bool
        Whether the fusion strategy is trained.
    candidate : bool
        Whether an epoch of this stage may be selected as the best. `patience` counts only epochs
        after the last epoch that may not be selected.
    """

    name: str
    branches: tuple[str, ...] | None = None
    head: bool = True
    candidate: bool = True


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward and backward pass and one optimiser step on a batch.

    Attributes
    ----------
    modalities : tuple of str or None
        Modalities that the strategy sees; the branches of other modalities get no gradient.
        None means all.
    """

    modalities: tuple[str, ...] | None = None


class Context(Protocol):
    """Training in which a balancer takes part.

    fusion checks every request before training starts. During this check, :meth:`Balancer.setup`
    receives a context without clips and with untrained baselines.
    """

    modalities: list[str]
    config: TrainConfig
    steps_per_epoch: int
    device: torch.device
    baselines: Mapping[str, Baseline]  # baselines by modality; empty unless `needs_baselines`
    checking: bool  # True during the request's check: outputs() and batch() fail

    @property
    def model(self) -> Model:
        """Branches, probes and strategy."""
        ...

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of class scores (B, C), a scalar.

        The loss is cross-entropy with the class weights and the label smoothing of the training.
        """
        ...

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context manager that sets the precision in which the networks are trained."""
        ...

    def outputs(self, part: Part, *, subsets: bool = False) -> Outputs:
        """Return the current model's outputs for the clips of `part`.

        The model is in evaluation mode; inputs are not augmented, and there are no gradients.
        The computation takes one pass over the part. The outputs are kept until the weights
        change: a second call before the next step returns the same tensors. With `subsets`, the
        strategy is also evaluated on each of the 2**M sets of modalities.
        """
        ...

    def batch(self, part: Part, size: int, generator: torch.Generator) -> Step:
        """Return a step on `size` random clips of `part`, with all fields up to `fused_loss`.

        The model is in evaluation mode, inputs are not augmented, and no balancer is called.
        Gradients can be computed from the fields of the step.
        """
        ...

    def warm_start(self) -> None:
        """Set the weights of every branch and probe to those of its single-modality baseline.

        Call this method in :meth:`Balancer.setup` of a balancer that `needs_baselines`.
        """
        ...

    def fuse(self, step: Step, modalities: Collection[str]) -> Tensor:
        """Return the strategy's class scores (B, C) from only some `modalities` of a step.

        The strategy treats the other modalities as absent. A strategy that does not accept
        missing modalities receives zeros instead. The running statistics of normalisation layers
        do not change, and the branches of the other modalities get no gradient.
        """
        ...

    def contributions(self, step: Step) -> dict[str, Tensor]:
        """Return the Shapley value (B, C) of each modality for the fused scores of a step."""
        ...


@dataclass
class Step:
    """One training step; each field is set when it is computed.

    Attributes
    ----------
    context : Context
        The training that the step belongs to.
    epoch : int
        From 1 to `context.config.epochs`.
    index : int
        Steps taken since the start of the training.
    labels : Tensor
        (B,) int64.
    generator : torch.Generator
        Source of all random numbers of the step. The generator is on the CPU and is seeded per
        epoch.
    present : Tensor
        (B, M) bool: the modalities that the strategy may see of each clip, columns in the order
        of the modalities.
    presence : Presence or None
        Modalities that each clip has, including modalities that a balancer hides from the
        strategy; None if every clip has every modality. `inputs` contains zeros for a missing
        modality, and the branch of this modality never sees the clip.
    inputs : dict of Tensor
        Standardised inputs (B, *shape), by modality.
    encoded : Encoded
        Outputs of the branches for `inputs`.
    unimodal : dict of Tensor
        Class scores of the probes, (B, C), by modality. The scores measure how well a
        modality predicts the class. The gradient of the scores does not reach the strategy's
        inputs (embeddings or maps). Empty if the model is a baseline.
    current : Pass
        The current pass.
    representations : dict of Tensor
        Inputs of the strategy, by modality: embeddings (B, D) or maps (B, C_m, *grid_m).
    logits : Tensor
        Fused class scores, (B, C).
    fused_loss : Tensor
        Cross-entropy of `logits`, a scalar.
    passes : int
        Number of completed passes, each with one optimiser step.
    """

    context: Context
    epoch: int
    index: int
    labels: Tensor
    generator: torch.Generator
    present: Tensor
    presence: Presence | None = None
    inputs: dict[str, Tensor] = field(default_factory=dict)
    encoded: Encoded | None = None
    unimodal: dict[str, Tensor] = field(default_factory=dict)
    current: Pass = field(default_factory=Pass)
    representations: dict[str, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None
    fused_loss: Tensor | None = None
    passes: int = 0

    @property
    def model(self) -> Model:
        """Branches, probes and strategy."""
        return self.context.model

    @property
    def epochs(self) -> int:
        """Budget of the training in epochs."""
        return self.context.config.epochs

    @property
    def modalities(self) -> list[str]:
        """Modalities of the model, in their order."""
        return self.context.modalities

    @property
    def shown(self) -> list[str]:
        """Modalities that the strategy sees in the current pass."""
        names = self.current.modalities
        return self.modalities if names is None else [m for m in self.modalities if m in names]

    # -- clips that lack a modality ----------------------------------------------------

    known = renamed("batch_modalities", gone_in=2)
    there = renamed("has_modality", gone_in=2)

    @property
    def batch_modalities(self) -> list[str]:
        """Modalities that some clip of the batch has."""
        gaps = {} if self.presence is None else self.presence.rows
        return [m for m in self.modalities if m not in gaps or len(gaps[m])]

    def rows(self, modality: str, of: Tensor) -> Tensor:
        """Return the rows of `of`, (B, ...), for the clips that have the modality."""
        gaps = {} if self.presence is None else self.presence.rows
        return of[gaps[modality]] if modality in gaps else of

    @property
    def has_modality(self) -> dict[str, Tensor] | None:
        """Clips that have a modality, (B,) bool, by modality; None if no modality is missing."""
        if self.presence is None:
            return None
        return dict(zip(self.presence.modalities, self.presence.table.unbind(dim=1), strict=True))

    def sees(self, modalities: Collection[str]) -> Tensor | None:
        """Return (B,) bool: whether the strategy may see at least one of `modalities`.

        Return None if no clip lacks a modality, even if a balancer hides modalities.
        """
        if self.presence is None:
            return None
        flags = torch.zeros_like(self.present[:, 0])
        for i, m in enumerate(self.modalities):
            if m in modalities:
                flags = flags | self.present[:, i]
        return flags

    def cross_entropy(self, logits: Tensor, seen: Collection[str] | None = None) -> Tensor:
        """Return the loss of class scores (B, C), a scalar.

        The loss is cross-entropy with the class weights and the label smoothing of the training.
        `seen` lists the modalities from which the scores were computed, by default the modalities
        of the pass. If clips of the batch lack modalities, the loss is the mean over the clips of
        which the strategy sees at least one modality of `seen`. The loss is 0 without any such
        clip.
        """
        visible = self.sees(self.shown if seen is None else seen)
        if visible is None:
            return self.context.cross_entropy(logits, self.labels)
        # Rows are marked as ignored rather than removed, because removing rows would wait for the
        # device. Without a visible clip all rows count: the mean over no rows would be 0 / 0, whose
        # gradient stays NaN when multiplied by 0.
        counted = visible | ~visible.any()
        loss = self.context.cross_entropy(logits, self.labels.where(counted, _IGNORED))
        return loss * visible.any()

    def _own_loss(self, modality: str, logits: Tensor) -> Tensor:
        """Return the loss over the clips that have the modality; 0 if no clip has it."""
        own = self.rows(modality, logits)
        if not len(own):
            return 0.0 * logits.sum()
        return self.context.cross_entropy(own, self.rows(modality, self.labels))

    # -- predictions from each modality alone ------------------------------------------

    @cached_property
    def unimodal_losses(self) -> dict[str, Tensor]:
        """Cross-entropy of each probe, a scalar, by modality; see :attr:`unimodal`.

        Each loss is the mean over the clips that have the modality, or 0 without any such clip.
        """
        return {m: self._own_loss(m, logits) for m, logits in self.unimodal.items()}

    @cached_property
    def right(self) -> dict[str, Tensor]:
        """Probability of the right class according to each modality's probe, (B,), by modality.

        The probability is 0 for a clip that lacks the modality.
        """
        right = {m: right_probability(s, self.labels) for m, s in self.unimodal.items()}
        return right if self.presence is None else self.presence.blanked(right)

    def scores(self) -> dict[str, Tensor]:
        """Return the sum of :attr:`right` over the batch, a scalar, by modality.

        If some clips lack the modality, the sum over the clips that have it is scaled up to B
        clips, so that a rare modality does not score lower. The score is 0 if no clip of the
        batch has the modality.
        """
        return {m: self._score(m, right) for m, right in self.right.items()}

    def _score(self, modality: str, right: Tensor) -> Tensor:
        own = self.rows(modality, right)
        return right.sum() * (len(right) / max(1, len(own)))

    # -- embeddings and scores whose gradients reach the branches ----------------------

    @cached_property
    def embeddings(self) -> dict[str, Tensor]:
        """Embeddings (B, D) by modality, whose gradients reach the branches.

        The embeddings are available for every strategy, also for a strategy that takes maps. The
        embeddings do not contain changes that balancers make to the representations.
        """
        assert self.encoded is not None
        if not self.encoded.maps:
            return self.encoded.embeddings
        with self.context.autocast():
            branches = self.model.branches
            return {m: branches[m].pool(x) for m, x in self.encoded.maps.items()}  # type: ignore[operator]

    @cached_property
    def unimodal_logits(self) -> dict[str, Tensor]:
        """Class scores (B, C) of the probes, by modality; their gradients reach the branches.

        The weights of a probe receive no gradient from these scores: a probe learns from its own
        loss alone.
        """
        return {
            m: functional.linear(
                z.float(),
                self.model.probes[m].weight.detach(),  # type: ignore[operator]
                self.model.probes[m].bias.detach(),  # type: ignore[operator]
            )
            for m, z in self.embeddings.items()
        }

    def unimodal_loss(self, modality: str) -> Tensor:
        """Return the cross-entropy of :attr:`unimodal_logits`; its gradient reaches the branch."""
        return self._own_loss(modality, self.unimodal_logits[modality])

    # -- fusion of some of the modalities ----------------------------------------------

    def fuse(self, modalities: Collection[str]) -> Tensor:
        """Return the strategy's class scores (B, C) from only some `modalities`.

        The strategy treats the other modalities as absent. A strategy that does not accept
        missing modalities receives zeros instead. The running statistics of normalisation layers
        do not change, and the branches of the other modalities get no gradient.
        """
        return self.context.fuse(self, modalities)

    @cached_property
    def contributions(self) -> dict[str, Tensor]:
        """Shapley value (B, C) of each modality for the fused scores (Shapley 1953).

        The sum of the values is the scores with all modalities minus the scores without any. The
        computation takes 2**M passes through the strategy.
        """
        return self.context.contributions(self)


_IGNORED = -100  # label that torch's cross-entropy ignores


def right_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the probability of the right class, (B,), from scores (B, C), without gradient."""
    probabilities = logits.detach().float().softmax(dim=1)
    return probabilities.gather(1, labels[:, None])[:, 0]
