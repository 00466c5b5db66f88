"""Branches, probes and a strategy, put together from a description that survives JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ..contracts import Branch, Modality, Strategy
from ..contracts.errors import FusionError, ParameterError, PluginError
from ..contracts.model import Encoded, Presence, along
from ..registry.parameters import make
from ..registry.provenance import message_of
from ..toolkit.modules import quiet_statistics
from . import return_checks
from .hardware.distributed import Sharing

if TYPE_CHECKING:
    from ..registry.registry import Registry
    from .hardware.cuda_graphs import Graphs


@dataclass(frozen=True, slots=True)
class BranchSpec:
    """One modality and the branch that takes it."""

    modality: Modality
    branch: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything needed to build a model, weights apart.

    `strategy` None means a single modality with a linear head: a baseline. `adapters` are the
    balancers that change the strategy, with their parameters, in the order in which they do.
    """

    branches: tuple[BranchSpec, ...]
    num_classes: int
    dim: int
    strategy: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    adapters: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    @property
    def modalities(self) -> list[str]:
        """Their names, in the order of the branches."""
        return [branch.modality.name for branch in self.branches]

    def single(self, modality: str) -> ModelSpec:
        """The baseline of one modality: the same branch, alone, with a linear head."""
        own = tuple(spec for spec in self.branches if spec.modality.name == modality)
        return ModelSpec(own, self.num_classes, self.dim)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class LinearHead(Strategy):
    """A linear classifier on the one embedding there is: the head of every baseline."""

    name = "linear"

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        (self.modality,) = dims
        self.linear = nn.Linear(dims[self.modality], num_classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        scores: Tensor = self.linear(inputs[self.modality])  # (B, C)
        return scores


class Standardise(nn.Module):
    """Subtracts a mean and divides by a deviation, kept with the weights.

    Buffers `mean` and `scale` broadcast over a batch (B, *shape).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def set(self, mean: Tensor, deviation: Tensor) -> None:
        """Take statistics that broadcast to the modality's shape."""
        # A feature that never varies in training carries nothing: it is centred, not blown up.
        # Relative to its size: a feature in small units varies as much as any other.
        varies = deviation > 1e-6 * mean.abs()
        scale = torch.where(varies, 1 / deviation, torch.ones_like(deviation))
        self.mean.copy_(mean.expand_as(self.mean))
        self.scale.copy_(scale.expand_as(self.scale))

    def forward(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean).mul_(self.scale)


class FusionModel(nn.Module):
    """A branch and a probe for each modality, and a strategy over them.

    Parameters
    ----------
    branches : dict of Branch
        By modality; the order is the order of the modalities everywhere.
    strategy : Strategy
        Takes embeddings or feature maps of the same modalities.
    num_classes : int
        Number of classes, C.
    """

    def __init__(self, branches: dict[str, Branch], strategy: Strategy, num_classes: int) -> None:
        super().__init__()
        self.modalities = list(branches)
        self.num_classes = num_classes
        self.standardise = nn.ModuleDict({m: Standardise(b.shape) for m, b in branches.items()})
        self.branches = nn.ModuleDict(branches)
        self.probes = nn.ModuleDict({m: nn.Linear(b.dim, num_classes) for m, b in branches.items()})
        self.strategy = strategy
        self.sharing: Sharing | None = None

    @property
    def has_probes(self) -> bool:
        """A baseline's head already is its probe."""
        return not isinstance(self.strategy, LinearHead)

    def shape_of(self, modality: str) -> tuple[int, ...]:
        """Shape of one clip's array."""
        shape: tuple[int, ...] = self.branches[modality].shape  # type: ignore[assignment]
        return shape

    def standardised(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raw features -> standardised float32, modality -> (B, *shape)."""
        return {m: self.standardise[m](inputs[m]) for m in self.modalities}

    def encode(
        self,
        inputs: Mapping[str, Tensor],
        presence: Presence | None = None,
        graphs: Graphs | None = None,
    ) -> Encoded:
        """Standardised inputs -> embeddings, and maps where the strategy takes them.

        A branch sees the clips that have its modality and no others; of the others, what it
        would have made is zero. With `graphs`, work on whole batches is recorded and replayed,
        and only the last batch that they have seen can be gone through backward.
        """
        embeddings: dict[str, Tensor] = {}
        maps: dict[str, Tensor] = {}
        for m in self.modalities:
            rows = None if presence is None else presence.rows.get(m)
            if rows is None:
                embedding, own = self._branch(m, inputs[m], graphs)
            else:
                embedding, own = self._branch_on(m, inputs[m], rows)
            embeddings[m] = embedding  # (B, D)
            if own is not None:
                maps[m] = own
        return Encoded(embeddings, maps)

    def share(self) -> None:
        """Let the processes that train this model together share its branches' work."""
        self.sharing = Sharing(list(self.branches.values()))

    def _branch(
        self, modality: str, x: Tensor, graphs: Graphs | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Embedding, and map where the strategy takes maps."""
        if self.sharing is None:
            return self._whole(modality, x, graphs)
        return self.sharing.apply(lambda part: self._whole(modality, part), x)

    def _whole(
        self, modality: str, x: Tensor, graphs: Graphs | None = None
    ) -> tuple[Tensor, Tensor | None]:
        branch = cast(Branch, self.branches[modality])

        def out(call: Callable[[Tensor], Tensor]) -> Tensor:
            return call(x) if graphs is None else graphs.apply(modality, branch, call, x)

        embedding = (len(x), branch.dim)
        axes, of = return_checks.EMBEDDINGS, f" for {modality!r}"
        if self.strategy.takes != "maps":
            return return_checks.tensor(
                branch, "forward", out(branch), embedding, axes, of=of
            ), None
        channels = (len(x), branch.map_channels)
        maps = return_checks.feature_map(branch, "maps", out(branch.maps), channels, of=of)
        # Nothing but the probe reads it, and trains the pooling with itself.
        pooled = branch.pool(maps.detach())
        return return_checks.tensor(branch, "pool", pooled, embedding, axes, of=of), maps

    def _branch_on(self, modality: str, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """The same of the clips `rows` alone, zero for the others."""
        count = len(rows)
        if count > 1:
            found = self._branch(modality, x[rows])
        else:
            # Batch normalisation knows no variance of one clip: twice the same, or of none
            # any, only for the shape.
            pair = rows.repeat(2) if count else rows.new_zeros(2)
            with quiet_statistics(self.branches[modality]):
                found = self._branch(modality, x[pair])
        embedding, maps = (
            None if z is None else z.new_zeros(len(x), *z.shape[1:]).index_copy(0, rows, z[:count])
            for z in found
        )
        assert embedding is not None
        return embedding, maps

    def fuse(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        """What the strategy takes, by modality -> class scores (B, C).

        Parameters
        ----------
        inputs : dict of Tensor
            As :meth:`strategy_inputs` returns them.
        present : Tensor, optional
            (B, M) bool: which modalities each clip has. An absent one is blank (zero), and a
            strategy that knows absence is told.
        """
        clips = len(next(iter(inputs.values())))
        if present is None:
            return self._scores(self.strategy(inputs), clips)
        inputs = {
            m: inputs[m].masked_fill(along(~present[:, i], inputs[m]), 0.0)
            for i, m in enumerate(self.modalities)
        }
        if self.strategy.accepts_missing:
            # Of a clip without any modality, all is blank.
            present = present | ~present.any(dim=1, keepdim=True)
            return self._scores(self.strategy(inputs, present), clips)
        return self._scores(self.strategy(inputs), clips)

    def _scores(self, found: Any, clips: int) -> Tensor:
        shape = (clips, self.num_classes)
        return return_checks.tensor(self.strategy, "forward", found, shape, return_checks.SCORES)

    def strategy_inputs(self, encoded: Encoded) -> dict[str, Tensor]:
        """What the strategy takes: embeddings or maps."""
        return encoded.maps if self.strategy.takes == "maps" else encoded.embeddings

    def probe(self, encoded: Encoded) -> dict[str, Tensor]:
        """Class scores of each modality alone, (B, C).

        No gradient reaches what the strategy reads: the embeddings, or the feature maps.
        """
        if not self.has_probes:
            return {}
        if encoded.maps:
            return {m: self.probes[m](z) for m, z in encoded.embeddings.items()}
        return {m: self.probes[m](z.detach()) for m, z in encoded.embeddings.items()}

    def forward(self, inputs: Mapping[str, Tensor], presence: Presence | None = None) -> Tensor:
        """Raw features, modality -> (B, *shape) -> class scores (B, C)."""
        encoded = self.encode(self.standardised(inputs), presence)
        present = None if presence is None else presence.table
        return self.fuse(self.strategy_inputs(encoded), present)


def build_model(spec: ModelSpec, registry: Registry, seed: int = 0) -> FusionModel:
    """Make the model that `spec` describes, with fresh weights that depend on `seed` alone.

    Raises
    ------
    ParameterError
        If a branch can't take its modality's shape, or a strategy its embeddings.
    """
    torch.manual_seed(seed)
    branches: dict[str, Branch] = {}
    for part in spec.branches:
        cls = registry.branch(part.branch)
        if not cls.accepts(part.modality.shape):
            raise ParameterError(
                f"Branch {part.branch!r} can't take modality {part.modality.name!r} "
                f"of shape {part.modality.shape}.",
                hint=f"Choose another: --branch {part.modality.name}=NAME "
                "(fusion plugins list shows them).",
            )
        branches[part.modality.name] = make(
            cls,
            part.modality.shape,
            settings={**part.parameters, "dim": spec.dim},
            owner=f"branch.{part.modality.name}",
        )
    return FusionModel(branches, _build_strategy(spec, branches, registry), spec.num_classes)


def dims_for(strategy: type[Strategy], branches: Mapping[str, Branch]) -> dict[str, int]:
    """What a strategy is made with: size of each embedding, or channels of each map."""
    maps = strategy.takes == "maps"
    return {m: b.map_channels if maps else b.dim for m, b in branches.items()}


def _build_strategy(
    spec: ModelSpec, branches: Mapping[str, Branch], registry: Registry
) -> Strategy:
    if spec.strategy is None:
        return LinearHead({m: b.dim for m, b in branches.items()}, spec.num_classes)
    cls = registry.strategy(spec.strategy)
    dims = dims_for(cls, branches)
    strategy = make(cls, dims, spec.num_classes, settings=spec.parameters, owner=spec.strategy)
    for name, given in spec.adapters:
        balancer = make(registry.balancer(name), settings=given, owner=name)
        try:
            strategy = return_checks.instance(
                balancer, "adapt", balancer.adapt(strategy, dims), Strategy
            )
        except FusionError:
            raise
        except Exception as error:
            raise PluginError(
                f"The balancer {name!r} fails to adapt the strategy {spec.strategy!r}: "
                f"{message_of(error)}"
            ) from error
    return strategy


@torch.no_grad()
def check_model(model: FusionModel) -> None:
    """Send two clips of zeros through, so that a plugin's mistake shows before the long work.

    Raises
    ------
    PluginError
        Naming what failed, or the shape that was wrong.
    """
    model.eval()
    strategy = type(model.strategy).__name__
    try:
        inputs = {m: torch.zeros(2, *b.shape) for m, b in model.branches.items()}  # type: ignore[misc]
        encoded = model.encode(model.standardised(inputs))
    except FusionError:
        raise
    except Exception as error:
        raise PluginError(f"A branch fails on a batch of zeros: {message_of(error)}") from error
    try:
        model.fuse(model.strategy_inputs(encoded))
        weights = model.strategy.modality_weights(model.strategy_inputs(encoded))
    except FusionError:
        raise
    except Exception as error:
        raise PluginError(
            f"The strategy {strategy} fails on a batch of two clips: {message_of(error)}"
        ) from error
    if weights is not None:
        shape = (2, len(model.modalities))
        return_checks.tensor(
            model.strategy, "modality_weights", weights, shape, "(clips, modalities)"
        )


def default_branch(modality: Modality, preferred: str | None, registry: Registry) -> str:
    """The branch for a modality when the user named none.

    The extractor's own choice, or else the first registered branch that accepts the shape.
    """
    if preferred is not None:
        return preferred
    for entry in registry.entries("branch"):
        if issubclass(entry.cls, Branch) and entry.cls.accepts(modality.shape):
            return entry.name
    raise ParameterError(
        f"No branch accepts modality {modality.name!r} of shape {modality.shape}.",
        hint="Write one (a plugin with fusion_branches), or name one with --branch.",
    )


def count_parameters(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
