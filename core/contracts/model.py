"""Model of a training as plugins see it, its outputs, and the modalities of each clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

Part = Literal["train", "val"]


@dataclass
class Encoded:
    """Outputs of the branches for a batch.

    Attributes
    ----------
    embeddings : dict of Tensor
        Embeddings (B, D), by modality.
    maps : dict of Tensor
        Feature maps (B, C_m, *grid_m), by modality; empty unless the strategy takes maps.
    """

    embeddings: dict[str, Tensor]
    maps: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Presence:
    """Modalities that each clip of a batch has.

    Attributes
    ----------
    modalities : tuple of str
        Modalities, in the order of the columns of `table`.
    table : Tensor
        (B, M) bool: whether the clip has the modality.
    rows : dict of Tensor
        (k,) int64, by modality: rows of the clips that have the modality. Only modalities that
        some clip lacks are included.
    """

    modalities: tuple[str, ...]
    table: Tensor
    rows: dict[str, Tensor]

    def blanked(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return `inputs`, (B, ...) by modality, set to zero where a clip lacks the modality."""
        return {
            m: x.masked_fill(along(~self.table[:, self.modalities.index(m)], x), 0.0)
            if m in self.rows
            else x
            for m, x in inputs.items()
        }


def along(clips: Tensor, x: Tensor) -> Tensor:
    """Reshape `clips`, (B,), to (B, 1, ...), so that `clips` broadcasts over `x`, (B, ...)."""
    return clips.view(-1, *[1] * (x.dim() - 1))


class Model(Protocol):
    """Model of a training, as plugins see it; a :class:`torch.nn.Module`.

    Attributes
    ----------
    modalities : list of str
        Modalities, in the order of the run.
    num_classes : int
        Number of classes, C.
    branches : nn.ModuleDict
        The :class:`Branch` of each modality.
    probes : nn.ModuleDict
        Linear classifier on the embedding of each modality.
    strategy : nn.Module
        The :class:`Strategy`; for a baseline, its linear head.
    """

    modalities: list[str]
    num_classes: int

    @property
    def branches(self) -> nn.ModuleDict:
        """Branches, each a :class:`Branch`, by modality."""
        ...

    @property
    def probes(self) -> nn.ModuleDict:
        """Linear classifiers on the embeddings, by modality."""
        ...

    @property
    def strategy(self) -> nn.Module:
        """The :class:`Strategy`; for a baseline, its linear head."""
        ...

    def encode(self, inputs: Mapping[str, Tensor], presence: Presence | None = None) -> Encoded:
        """Compute embeddings of standardised inputs, and maps if the strategy takes maps."""
        ...

    def strategy_inputs(self, encoded: Encoded) -> dict[str, Tensor]:
        """Return the inputs of the strategy by modality: embeddings or maps."""
        ...

    def fuse(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Compute class scores (B, C) from the strategy's inputs by modality."""
        ...


@dataclass(frozen=True)
class Baseline:
    """Frozen single-modality model of the run, trained on the same split as the fused model.

    Attributes
    ----------
    modality : str
        Name of the modality.
    model : Model
        Model of that modality with the weights of its best epoch, in evaluation mode.
    val_uar : float
        UAR on the validation clips, in [0, 1].
    """

    modality: str
    model: Model
    val_uar: float

    @torch.no_grad()
    def embedding(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Compute the embedding (B, D) of standardised inputs."""
        return self.model.encode(inputs).embeddings[self.modality].float()

    @torch.no_grad()
    def logits(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Compute class scores (B, C) of standardised inputs."""
        encoded = self.model.encode(inputs)
        return self.model.fuse(self.model.strategy_inputs(encoded)).float()


@dataclass(frozen=True)
class Outputs:
    """Outputs of a model for the clips of a part, in the order of the clips.

    The embeddings and probabilities of a long clip are means over its windows; its class scores are
    the logarithms of the mean probabilities.

    Attributes
    ----------
    indices : array
        (n,) int64, numbers of the clips.
    labels : Tensor
        (n,) int64, classes of the clips.
    embeddings : dict of Tensor
        (n, D) float32, by modality.
    logits : Tensor
        (n, C) float32, fused class scores.
    unimodal : dict of Tensor
        (n, C) float32, class scores of the probes, by modality; empty for a baseline. A clip that
        lacks the modality has the probe's scores for a zero embedding.
    subsets : dict of Tensor
        (n, C) float32, fused class scores for each set of modalities that the strategy may see.
        A key is a tuple of modalities in the order of the run, from the empty tuple to all
        modalities. Empty unless requested.
    present : dict of Tensor
        (n,) bool, by modality: whether the clip has the modality. Only modalities that some clip
        lacks are included.
    """

    indices: Any
    labels: Tensor
    embeddings: dict[str, Tensor]
    logits: Tensor
    unimodal: dict[str, Tensor]
    subsets: dict[tuple[str, ...], Tensor] = field(default_factory=dict)
    present: dict[str, Tensor] = field(default_factory=dict)

    def rows(self, modality: str, of: Tensor) -> Tensor:
        """Return the rows of `of`, (n, ...), for the clips that have the modality."""
        return of[self.present[modality]] if modality in self.present else of
