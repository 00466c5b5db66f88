"""Networks: branches turn one modality into an embedding, strategies join modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from .data import Plugin
from .errors import ParameterError
from .held_out import fit_held_out
from .model import Baseline


class Branch(Plugin, nn.Module):
    """Turns one modality into an embedding, by way of a feature map.

    A branch works in two steps so that strategies may take either: :meth:`maps` gives a
    feature map with a grid (positions in frequency and time, pixels, tokens), and
    :meth:`pool` turns it into one embedding per clip.

    Parameters
    ----------
    shape : tuple of int
        Shape of one clip's array.
    dim : int
        Size of the embedding.

    Attributes
    ----------
    dim : int
        Size of the embedding, D.
    map_channels : int
        Channels of the feature map, C.
    recordable : bool
        Whether :meth:`maps` and :meth:`forward` do the same work on every batch of a shape, and
        all of it on the device: no value is looked at, nothing is drawn or counted in Python.
        On CUDA such work is recorded once and replayed, which takes a fraction of the time.
    """

    recordable: ClassVar[bool] = False
    dim: int
    map_channels: int

    def __init__(self, shape: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.shape = shape
        self.dim = dim

    @classmethod
    def accepts(cls, shape: tuple[int, ...]) -> bool:
        """Whether this branch can take arrays of `shape`."""
        return True

    def maps(self, x: Tensor) -> Tensor:
        """(B, *shape) -> feature map (B, map_channels, *grid)."""
        raise NotImplementedError

    def pool(self, maps: Tensor) -> Tensor:
        """(B, map_channels, *grid) -> embedding (B, dim)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) -> embedding (B, dim)."""
        return self.pool(self.maps(x))


class Strategy(Plugin, nn.Module):
    """Joins the modalities into class scores.

    Works for any number of modalities, one included. `forward` receives a dict by
    modality: take them by name, in the order of `dims`, since the dict may have another.

    Parameters
    ----------
    dims : dict of str to int
        Modality -> size of its embedding (or channels of its feature map, where `takes`
        is ``"maps"``).
    num_classes : int
        Number of classes, C.

    Attributes
    ----------
    takes : {"embeddings", "maps"}
        What `forward` receives: embeddings (B, D_m), or feature maps (B, C_m, *grid_m).
    accepts_missing : bool
        Whether `forward` takes `present` and works without the modalities that a clip lacks.
        Where not, an absent modality is blank: all zeros.
    needs_baselines : bool
        Whether the strategy starts from the modalities trained alone: its branches then start
        with their weights, and :meth:`adopt` is called.
    reads_validation : bool
        Whether it chooses something by the validation clips: comparisons mark it.
    """

    takes: ClassVar[Literal["embeddings", "maps"]] = "embeddings"
    reads_validation: ClassVar[bool] = False
    accepts_missing: ClassVar[bool] = False
    needs_baselines: ClassVar[bool] = False

    def __init__(self, *_: object) -> None:
        # Subclasses take (dims, num_classes, **parameters); they may pass them on or not.
        super().__init__()

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """dict of (B, D_m) -> class scores (B, num_classes).

        A strategy that `accepts_missing` has a second argument, ``present: Tensor | None =
        None``: (B, M) bool, columns in the order of `dims`, at least one True in each row.
        What is absent is zero in `inputs`, and may not change the scores.
        """
        raise NotImplementedError

    def adopt(self, baselines: Mapping[str, Baseline]) -> None:
        """Start from the modalities trained alone: copy their heads, for instance.

        Called once before training where the fused model starts from the baselines
        (``train.start``, the default) or where the strategy `needs_baselines`. The branches
        have the baselines' weights by then.
        """

    def held_out_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters that decide which modality to trust.

        They are never trained on training clips, which branches know by heart, but fitted to
        clips that no branch was trained on (validation) before every validation: by
        :meth:`calibrate`. Parametrise them so that 0 is the right value without any evidence,
        because the fit pulls them towards 0.
        """
        return ()

    def calibrate(self, inputs: dict[str, Tensor], labels: Tensor) -> None:
        """Fit what must not learn from training clips to the validation clips.

        Called before every validation, in evaluation mode, with what `forward` receives of all
        validation clips, (n, D_m) or (n, C_m, *grid_m), and their classes (n,). The default
        fits :meth:`held_out_parameters`, if there are any, by L-BFGS: cross-entropy plus a
        ridge of 0.02 on their squares, from 0 each time. A strategy that overrides this keeps
        its choice in a buffer.
        """
        fit_held_out(self, inputs, labels)

    def modality_weights(self, inputs: dict[str, Tensor]) -> Tensor | None:
        """How much each modality counts for each clip, (B, M), rows summing to 1.

        None (the default) where the strategy has no such weights. Runs report its mean.
        """
        return None


def equal_dims(dims: Mapping[str, int], name: str) -> int:
    """The one size that all of `dims` share.

    Raises
    ------
    ParameterError
        If they differ; `name` is the strategy that needs them equal.
    """
    sizes = set(dims.values())
    if len(sizes) != 1:
        raise ParameterError(
            f"Strategy {name!r} needs embeddings of one size and was given {dict(dims)}.",
            hint="Give every branch the same dim (--set train.dim=64).",
        )
    return sizes.pop()
