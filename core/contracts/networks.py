"""Base classes of networks: branches, which embed one modality, and fusion strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from .data import Plugin
from .errors import ParameterError
from .held_out import fit_held_out
from .model import Baseline


class Branch(Plugin, nn.Module):
    """Network that computes a feature map and one embedding per clip from one modality.

    A branch has two steps. :meth:`maps` computes a feature map on a grid (positions in frequency
    and time, pixels, tokens). :meth:`pool` reduces the map to one embedding per clip. A strategy
    uses either the maps or the embeddings.

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
        Whether :meth:`maps` and :meth:`forward` run the same operations, all on the device, for
        every batch of the same shape. Their Python code must not read values of tensors, draw
        random numbers or count calls. On CUDA such operations are recorded once and replayed,
        which takes a fraction of the time.
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
        """Return whether this branch can take arrays of `shape`."""
        return True

    def maps(self, x: Tensor) -> Tensor:
        """Compute the feature map (B, map_channels, *grid) of a batch (B, *shape)."""
        raise NotImplementedError

    def pool(self, maps: Tensor) -> Tensor:
        """Reduce a feature map (B, map_channels, *grid) to an embedding (B, dim)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Compute the embedding (B, dim) of a batch (B, *shape)."""
        return self.pool(self.maps(x))


class Strategy(Plugin, nn.Module):
    """Network that fuses the modalities into class scores.

    A strategy works for any number of modalities, including one. `forward` receives a dict by
    modality. Read its entries by name, in the order of `dims`: the order of the dict may differ.

    Parameters
    ----------
    dims : dict of str to int
        Size of the embedding, by modality; the number of channels of the feature map if `takes`
        is ``"maps"``.
    num_classes : int
        Number of classes, C.

    Attributes
    ----------
    takes : {"embeddings", "maps"}
        Inputs of `forward`: embeddings (B, D_m), or feature maps (B, C_m, *grid_m).
    accepts_missing : bool
        Whether `forward` takes `present` and works without the modalities that a clip lacks.
        Other strategies receive zeros for an absent modality.
    needs_baselines : bool
        Whether the strategy starts from the single-modality baselines: the branches then start
        with the baselines' weights, and :meth:`adopt` is called.
    reads_validation : bool
        Whether the strategy chooses anything by the validation clips; comparisons mark such
        strategies.
    """

    takes: ClassVar[Literal["embeddings", "maps"]] = "embeddings"
    reads_validation: ClassVar[bool] = False
    accepts_missing: ClassVar[bool] = False
    needs_baselines: ClassVar[bool] = False

    def __init__(self, *_: object) -> None:
        # Subclasses take (dims, num_classes, **parameters), and need not pass these arguments here.
        super().__init__()

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Compute class scores (B, num_classes) from `inputs`, (B, D_m) by modality.

        A strategy that `accepts_missing` has a second argument, ``present: Tensor | None =
        None``. The tensor is (B, M) bool, with the columns in the order of `dims` and at least
        one True in each row. `inputs` contains zeros for an absent modality, and these zeros must
        not affect the scores.
        """
        raise NotImplementedError

    def adopt(self, baselines: Mapping[str, Baseline]) -> None:
        """Start from the single-modality baselines, for instance by copying their heads.

        This method is called once before training if the fused model starts from the baselines
        (``train.start``, the default) or if the strategy `needs_baselines`. The branches
        already have the baselines' weights when this method is called.
        """

    def held_out_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters that decide which modality to trust.

        These parameters are never trained on training clips, which the branches have memorised.
        Before every validation, :meth:`calibrate` fits the parameters to validation clips, on
        which no branch was trained. The fit shrinks the parameters towards 0. Parametrise
        the strategy so that 0 is the right value without any evidence.
        """
        return ()

    def calibrate(self, inputs: dict[str, Tensor], labels: Tensor) -> None:
        """Fit the parameters that must not learn from training clips to the validation clips.

        This method is called before every validation, in evaluation mode. `inputs` are the inputs
        of `forward`, (n, D_m) or (n, C_m, *grid_m), and `labels` are the classes (n,). Both are for
        the validation clips that have every modality, or for all validation clips if no clip has
        every modality.

        The default fits :meth:`held_out_parameters`, if any, by L-BFGS, starting from 0 each
        time. The fit minimises cross-entropy plus 0.02 times the sum of the squared parameters. A
        strategy that overrides this method keeps the result in a buffer.
        """
        fit_held_out(self, inputs, labels)

    def modality_weights(self, inputs: dict[str, Tensor]) -> Tensor | None:
        """Return the weight of each modality for each clip, (B, M), with rows that sum to 1.

        Return None (the default) if the strategy has no such weights. Runs report the mean
        weight over clips.
        """
        return None


def equal_dims(dims: Mapping[str, int], name: str) -> int:
    """Return the size that all of `dims` share; raise if they differ.

    Raises
    ------
    ParameterError
        If the sizes differ. The message calls the strategy `name`.
    """
    sizes = set(dims.values())
    if len(sizes) != 1:
        raise ParameterError(
            f"Strategy {name!r} needs embeddings of one size, and was given {dict(dims)}.",
            hint="Give every branch the same dim (--set train.dim=64).",
        )
    return sizes.pop()
