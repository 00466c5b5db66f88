"""One step of a training, and the training that it belongs to, as balancers see them."""

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
from .train_config import TrainConfig


@dataclass(frozen=True, slots=True)
class Clips:
    """The clips of one epoch, before they are shuffled.

    Attributes
    ----------
    indices : array
        (n,) int64, numbers of clips of the training part; one may occur several times.
    present : array or None
        (n, M) bool: which modalities each of them shows, columns in the order of the
        modalities. None means all.
    """

    indices: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a training in which some of the model stands still.

    Attributes
    ----------
    name : str
        Written to the run directory with each epoch.
    branches : tuple of str or None
        Modalities whose branches are trained; None means all.
    head : bool
        Whether the fusion strategy is trained.
    candidate : bool
        Whether the model of such an epoch may be chosen. While it may not, a training does
        not run out of patience either.
    """

    name: str
    branches: tuple[str, ...] | None = None
    head: bool = True
    candidate: bool = True


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward and backward pass, and one step of the optimiser, on a batch.

    Attributes
    ----------
    modalities : tuple of str or None
        What the strategy is shown; no gradient reaches the branches of the others. None
        means all.
    """

    modalities: tuple[str, ...] | None = None


class Context(Protocol):
    """The training that a balancer takes part in.

    While a request is checked, before the long work starts, :meth:`Balancer.setup` receives
    one without clips, whose baselines are untrained.
    """

    modalities: list[str]
    config: TrainConfig
    steps_per_epoch: int
    device: torch.device
    baselines: Mapping[str, Baseline]  # by modality; empty unless `needs_baselines`
    checking: bool  # no clips yet: neither outputs nor batch can be asked for

    @property
    def model(self) -> Model:
        """Branches, probes and strategy."""
        ...

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of class scores (B, C), with the class weights and label smoothing."""
        ...

    def autocast(self) -> AbstractContextManager[object]:
        """The arithmetic that the networks are trained in."""
        ...

    def outputs(self, part: Part, *, subsets: bool = False) -> Outputs:
        """What the model says now: in evaluation mode, unaugmented, without gradients.

        One pass over the part; asked again before the next step, the same tensors. With
        `subsets` the strategy goes over each of the 2**M sets of modalities as well.
        """
        ...

    def batch(self, part: Part, size: int, generator: torch.Generator) -> Step:
        """A step on `size` random clips, up to and with `fused_loss`, with gradients.

        In evaluation mode, unaugmented, no balancer called.
        """
        ...

    def warm_start(self) -> None:
        """Give every branch, and its probe, the weights it has when trained alone.

        In :meth:`Balancer.setup`, for a balancer that `needs_baselines`.
        """
        ...

    def fuse(self, step: Step, modalities: Collection[str]) -> Tensor:
        """Class scores (B, C) of the strategy when it sees no more than `modalities` of a step.

        The others are absent for it, or blank (zero) where it knows no absence. Neither the
        running statistics of normalisations nor the branches of the others notice.
        """
        ...

    def contributions(self, step: Step) -> dict[str, Tensor]:
        """Shapley value of each modality for the fused scores of a step, (B, C), by modality."""
        ...


@dataclass
class Step:
    """One training step. Filled in as the step goes on; later fields exist only then.

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
        For anything random; seeded per epoch, on the CPU.
    present : Tensor
        (B, M) bool: which modalities of each clip the strategy may see, columns in the order
        of the modalities.
    presence : Presence or None
        Which modalities the clips have at all, whatever the strategy may see; None where they
        have all. What a clip lacks is zero in `inputs`, and its branch never sees the clip.
    inputs : dict of Tensor
        By modality, (B, *shape), standardised.
    encoded : Encoded
        What the branches made of them.
    unimodal : dict of Tensor
        Class scores of the probes, (B, C), by modality. Their gradient stops at the
        embedding: they tell what a modality knows, and change nothing in its branch. Empty
        where the model is a baseline.
    current : Pass
        The pass that is under way.
    representations : dict of Tensor
        What the strategy received, by modality: embeddings (B, D) or maps (B, C_m, *grid_m).
    logits : Tensor
        Fused class scores, (B, C).
    fused_loss : Tensor
        Cross-entropy of `logits`, a scalar.
    passes : int
        Passes done so far, each with a step of the optimiser.
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
        """The budget."""
        return self.context.config.epochs

    @property
    def modalities(self) -> list[str]:
        return self.context.modalities

    @property
    def shown(self) -> list[str]:
        """Modalities that the strategy sees in the pass that is under way."""
        names = self.current.modalities
        return self.modalities if names is None else [m for m in self.modalities if m in names]

    # -- clips that lack a modality ----------------------------------------------------

    @property
    def known(self) -> list[str]:
        """Modalities that some clip of the batch has."""
        gaps = {} if self.presence is None else self.presence.rows
        return [m for m in self.modalities if m not in gaps or len(gaps[m])]

    def rows(self, modality: str, of: Tensor) -> Tensor:
        """The rows of `of`, (B, ...), of the clips that have the modality."""
        gaps = {} if self.presence is None else self.presence.rows
        return of[gaps[modality]] if modality in gaps else of

    @property
    def there(self) -> dict[str, Tensor] | None:
        """Which clips have each modality, (B,) bool; None where all clips have everything."""
        if self.presence is None:
            return None
        return dict(zip(self.presence.modalities, self.presence.table.unbind(dim=1), strict=True))

    def sees(self, modalities: Collection[str]) -> Tensor | None:
        """Which clips show one of `modalities` or more, (B,) bool.

        None where all clips have everything: then what a balancer hides is its own affair.
        """
        if self.presence is None:
            return None
        flags = torch.zeros_like(self.present[:, 0])
        for i, m in enumerate(self.modalities):
            if m in modalities:
                flags = flags | self.present[:, i]
        return flags

    def cross_entropy(self, logits: Tensor, seen: Collection[str] | None = None) -> Tensor:
        """Loss of class scores (B, C), with the training's class weights and smoothing.

        Over the clips that have something to show: of a batch in which clips lack modalities,
        those that show one of `seen`, the modalities that made the scores (by default those of
        the pass). 0 where none does.
        """
        there = self.sees(self.shown if seen is None else seen)
        if there is None:
            return self.context.cross_entropy(logits, self.labels)
        # Which they are is known on the device: rows are marked, not taken out. The mean of
        # none would be 0 / 0, and its gradient NaN whatever it is multiplied by.
        counted = there | ~there.any()
        loss = self.context.cross_entropy(logits, self.labels.where(counted, _IGNORED))
        return loss * there.any()

    def _own_loss(self, modality: str, logits: Tensor) -> Tensor:
        """The same over the clips that have the modality; 0 where none has."""
        own = self.rows(modality, logits)
        if not len(own):
            return 0.0 * logits.sum()
        return self.context.cross_entropy(own, self.rows(modality, self.labels))

    # -- what each modality knows ------------------------------------------------------

    @cached_property
    def unimodal_losses(self) -> dict[str, Tensor]:
        """Cross-entropy of each probe, a scalar, by modality; no gradient into the branches.

        Over the clips that have the modality; 0 where none of the batch has it.
        """
        return {m: self._own_loss(m, logits) for m, logits in self.unimodal.items()}

    @cached_property
    def right(self) -> dict[str, Tensor]:
        """Probability that the probe of each modality gives to the right class, (B,).

        0 for a clip that lacks the modality.
        """
        right = {m: right_probability(s, self.labels) for m, s in self.unimodal.items()}
        return right if self.presence is None else self.presence.blanked(right)

    def scores(self) -> dict[str, Tensor]:
        """Sum of :attr:`right` over the batch, a scalar, by modality.

        Of a modality that some clips lack, the mean over the clips that have it, times B: so
        that it is not behind for being seldom there. 0 where none of the batch has it.
        """
        return {m: self._score(m, right) for m, right in self.right.items()}

    def _score(self, modality: str, right: Tensor) -> Tensor:
        own = self.rows(modality, right)
        return right.sum() * (len(right) / max(1, len(own)))

    # -- the same, for losses that teach the branches ----------------------------------

    @cached_property
    def embeddings(self) -> dict[str, Tensor]:
        """Embedding of each modality, (B, D): a loss on it reaches the branch.

        Whatever the strategy takes, and whatever balancers made of its representations.
        """
        assert self.encoded is not None
        if not self.encoded.maps:
            return self.encoded.embeddings
        with self.context.autocast():
            branches = self.model.branches
            return {m: branches[m].pool(x) for m, x in self.encoded.maps.items()}  # type: ignore[operator]

    @cached_property
    def unimodal_logits(self) -> dict[str, Tensor]:
        """Scores of the probes, (B, C), by modality: a loss on them reaches the branch.

        It does not reach the probe, which learns from its own loss alone.
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
        """Cross-entropy of :attr:`unimodal_logits`: a scalar whose gradient reaches the branch."""
        return self._own_loss(modality, self.unimodal_logits[modality])

    # -- what the strategy makes of a part of the modalities ---------------------------

    def fuse(self, modalities: Collection[str]) -> Tensor:
        """Class scores (B, C) of the strategy when it sees no more than `modalities`.

        The others are absent for it, or blank (zero) where it knows no absence. Neither the
        running statistics of normalisations nor the branches of the others notice.
        """
        return self.context.fuse(self, modalities)

    @cached_property
    def contributions(self) -> dict[str, Tensor]:
        """Shapley value of each modality for the fused scores, (B, C), by modality.

        They sum to the scores with all modalities minus the scores with none; 2**M passes
        through the strategy (Shapley 1953).
        """
        return self.context.contributions(self)


_IGNORED = -100  # a class that torch's cross-entropy leaves out


def right_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Probability of the right class for class scores (B, C): (B,), without gradient."""
    probabilities = logits.detach().float().softmax(dim=1)
    return probabilities.gather(1, labels[:, None])[:, 0]
