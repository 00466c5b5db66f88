"""The model of a training as plugins see it, what it says, and which clips have what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

Part = Literal["train", "val"]


@dataclass
class Encoded:
    """What the branches made of a batch.

    Attributes
    ----------
    embeddings : dict of Tensor
        (B, D) by modality.
    maps : dict of Tensor
        (B, C_m, *grid_m) by modality; empty unless the strategy takes maps.
    """

    embeddings: dict[str, Tensor]
    maps: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Presence:
    """Which modalities the clips of a batch have.

    Attributes
    ----------
    modalities : tuple of str
        In the order of the columns.
    table : Tensor
        (B, M) bool.
    rows : dict of Tensor
        Modality -> (k,) int64, the clips of the batch that have it; only of modalities that some
        clip lacks.
    """

    modalities: tuple[str, ...]
    table: Tensor
    rows: dict[str, Tensor]

    def blanked(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`inputs`, (B, ...) by modality, zero where a clip lacks the modality."""
        return {
            m: x.masked_fill(along(~self.table[:, self.modalities.index(m)], x), 0.0)
            if m in self.rows
            else x
            for m, x in inputs.items()
        }


def along(clips: Tensor, x: Tensor) -> Tensor:
    """(B,) -> the shape that broadcasts over `x`, (B, ...)."""
    return clips.view(-1, *[1] * (x.dim() - 1))


class Model(Protocol):
    """The model of a training, as plugins see it; a :class:`torch.nn.Module`.

    Attributes
    ----------
    modalities : list of str
        In the order of the run.
    num_classes : int
        Number of classes, C.
    branches : nn.ModuleDict
        Modality -> its :class:`Branch`.
    probes : nn.ModuleDict
        Modality -> the linear classifier on its embedding.
    strategy : nn.Module
        The :class:`Strategy`, or of a baseline its linear head.
    """

    modalities: list[str]
    num_classes: int

    @property
    def branches(self) -> nn.ModuleDict: ...

    @property
    def probes(self) -> nn.ModuleDict: ...

    @property
    def strategy(self) -> nn.Module: ...

    def encode(self, inputs: Mapping[str, Tensor], presence: Presence | None = None) -> Encoded:
        """Standardised inputs -> embeddings, and maps where the strategy takes them."""
        ...

    def strategy_inputs(self, encoded: Encoded) -> dict[str, Tensor]:
        """What the strategy takes: embeddings or maps."""
        ...

    def fuse(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        """What the strategy takes, by modality -> class scores (B, C)."""
        ...


@dataclass(frozen=True)
class Baseline:
    """A modality trained alone on the same split: the run's own baseline, frozen.

    Attributes
    ----------
    modality : str
        Its name.
    model : Model
        Of that one modality, with the weights of its best epoch, in evaluation mode.
    val_uar : float
        UAR on validation, in [0, 1].
    """

    modality: str
    model: Model
    val_uar: float

    @torch.no_grad()
    def embedding(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Standardised inputs -> embedding (B, D)."""
        return self.model.encode(inputs).embeddings[self.modality].float()

    @torch.no_grad()
    def logits(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Standardised inputs -> class scores (B, C)."""
        encoded = self.model.encode(inputs)
        return self.model.fuse(self.model.strategy_inputs(encoded)).float()


@dataclass(frozen=True)
class Outputs:
    """What a model says about the clips of a part, in their order.

    Attributes
    ----------
    indices : array
        (n,) int64, numbers of the clips.
    labels : Tensor
        (n,) int64.
    embeddings : dict of Tensor
        (n, D) float32, by modality.
    logits : Tensor
        (n, C) float32, fused.
    unimodal : dict of Tensor
        (n, C) float32, scores of the probes, by modality; empty for a baseline. Of a clip that
        lacks the modality, those of a probe that sees nothing.
    subsets : dict of Tensor
        (n, C) float32, fused, by what the strategy was shown: a tuple of modalities in their
        order, from none to all. Empty unless asked for.
    present : dict of Tensor
        (n,) bool, by modality: which clips have it; only of modalities that some clip lacks.
    """

    indices: Any
    labels: Tensor
    embeddings: dict[str, Tensor]
    logits: Tensor
    unimodal: dict[str, Tensor]
    subsets: dict[tuple[str, ...], Tensor] = field(default_factory=dict)
    present: dict[str, Tensor] = field(default_factory=dict)

    def rows(self, modality: str, of: Tensor) -> Tensor:
        """The rows of `of`, (n, ...), of the clips that have the modality."""
        return of[self.present[modality]] if modality in self.present else of
