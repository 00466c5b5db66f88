"""Fusion model of branches, probes and a strategy, built from a JSON-serialisable specification."""

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
    """One modality with the name and the parameters of its branch."""

    modality: Modality
    branch: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Specification of a model: everything needed to build it, except weights.

    If `strategy` is None, the model is a baseline: one modality with a linear head. `adapters`
    lists the balancers that change the strategy, with their parameters, in call order.
    """

    branches: tuple[BranchSpec, ...]
    num_classes: int
    dim: int
    strategy: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    adapters: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities, in the order of the branches."""
        return [branch.modality.name for branch in self.branches]

    def single(self, modality: str) -> ModelSpec:
        """Return the specification of one modality's baseline: its branch with a linear head."""
        own = tuple(spec for spec in self.branches if spec.modality.name == modality)
        return ModelSpec(own, self.num_classes, self.dim)

    def to_json(self) -> dict[str, Any]:
        """Return the specification as JSON-serialisable values."""
        return asdict(self)


class LinearHead(Strategy):
    """Linear classifier on the embedding of one modality: the head of every baseline."""

    name = "linear"

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        (self.modality,) = dims
        self.linear = nn.Linear(dims[self.modality], num_classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Compute class scores (B, C) of the modality's embedding (B, D)."""
        scores: Tensor = self.linear(inputs[self.modality])  # (B, C)
        return scores


class Standardise(nn.Module):
    """Standardisation by a mean and a deviation that are stored with the weights.

    Buffers `mean` and `scale` (1 / deviation) broadcast over a batch (B, *shape).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def set(self, mean: Tensor, deviation: Tensor) -> None:
        """Set the mean and the deviation; both must broadcast to the modality's shape."""
        # A feature that is constant in training is centred but not scaled, because scaling would
        # amplify noise. The threshold is relative to the mean, because a feature may have any unit.
        varies = deviation > 1e-6 * mean.abs()
        scale = torch.where(varies, 1 / deviation, torch.ones_like(deviation))
        self.mean.copy_(mean.expand_as(self.mean))
        self.scale.copy_(scale.expand_as(self.scale))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise a batch (B, *shape); the result is float32."""
        return (x.float() - self.mean).mul_(self.scale)


class FusionModel(nn.Module):
    """Model with a branch and a probe for each modality, and a strategy that fuses them.

    Parameters
    ----------
    branches : dict of Branch
        Branches by modality; their order is the order of the modalities everywhere.
    strategy : Strategy
        Strategy that fuses the embeddings or feature maps of these modalities.
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
        """False for a baseline, whose head is also its probe; True for any other model."""
        return not isinstance(self.strategy, LinearHead)

    def shape_of(self, modality: str) -> tuple[int, ...]:
        """Return the shape of one clip's array."""
        shape: tuple[int, ...] = self.branches[modality].shape  # type: ignore[assignment]
        return shape

    def standardised(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Standardise raw features, (B, *shape) by modality; the result is float32."""
        return {m: self.standardise[m](inputs[m]) for m in self.modalities}

    def encode(
        self,
        inputs: Mapping[str, Tensor],
        presence: Presence | None = None,
        graphs: Graphs | None = None,
    ) -> Encoded:
        """Compute embeddings of standardised inputs, and maps if the strategy takes maps.

        A branch sees only the clips that have its modality. The outputs for other clips are zero.
        With `graphs`, branches that see whole batches are recorded as CUDA graphs and replayed.
        In that case only the latest batch has a backward pass.
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
        """Distribute the branches' work over the processes that train this model together."""
        self.sharing = Sharing(list(self.branches.values()))

    def _branch(
        self, modality: str, x: Tensor, graphs: Graphs | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Compute a branch's embedding of `x`, and the map if the strategy takes maps."""
        if self.sharing is None:
            return self._branch_here(modality, x, graphs)
        return self.sharing.apply(lambda part: self._branch_here(modality, part), x)

    def _branch_here(
        self, modality: str, x: Tensor, graphs: Graphs | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Compute embedding and map of `x` in this process, and check their shapes."""
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
        # Only the probe reads this embedding. The probe's loss trains the pooling, not the maps.
        pooled = branch.pool(maps.detach())
        return return_checks.tensor(branch, "pool", pooled, embedding, axes, of=of), maps

    def _branch_on(self, modality: str, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute embedding and map of the clips `rows`; the outputs of other clips are zero."""
        count = len(rows)
        if count > 1:
            outputs = self._branch(modality, x[rows])
        else:
            # Batch normalisation needs two clips to compute a variance: a single clip is
            # repeated. Without any clip, the first clip is used to determine the output's shape.
            pair = rows.repeat(2) if count else rows.new_zeros(2)
            with quiet_statistics(self.branches[modality]):
                outputs = self._branch(modality, x[pair])
        embedding, maps = (
            None if z is None else z.new_zeros(len(x), *z.shape[1:]).index_copy(0, rows, z[:count])
            for z in outputs
        )
        assert embedding is not None
        return embedding, maps

    def fuse(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Compute class scores (B, C) from the strategy's inputs by modality.

        Parameters
        ----------
        inputs : dict of Tensor
            Inputs as :meth:`strategy_inputs` returns them.
        present : Tensor, optional
            (B, M) bool: the modalities of each clip. Inputs of an absent modality are set to
            zero, and a strategy that `accepts_missing` also receives `present`.
        """
        clips = len(next(iter(inputs.values())))
        if present is None:
            return self._scores(self.strategy(inputs), clips)
        inputs = {
            m: inputs[m].masked_fill(along(~present[:, i], inputs[m]), 0.0)
            for i, m in enumerate(self.modalities)
        }
        if self.strategy.accepts_missing:
            # Each row needs a True: a clip without any modality counts as having all (zeros).
            present = present | ~present.any(dim=1, keepdim=True)
            return self._scores(self.strategy(inputs, present), clips)
        return self._scores(self.strategy(inputs), clips)

    def _scores(self, scores: Any, clips: int) -> Tensor:
        """Return `scores` after a check that they are a tensor of shape (clips, classes)."""
        shape = (clips, self.num_classes)
        return return_checks.tensor(self.strategy, "forward", scores, shape, return_checks.SCORES)

    def strategy_inputs(self, encoded: Encoded) -> dict[str, Tensor]:
        """Return the inputs of the strategy by modality: embeddings or maps."""
        return encoded.maps if self.strategy.takes == "maps" else encoded.embeddings

    def probe(self, encoded: Encoded) -> dict[str, Tensor]:
        """Compute the probes' class scores, (B, C) by modality; empty for a baseline.

        The gradient of these scores does not reach the strategy's inputs (embeddings or maps).
        """
        if not self.has_probes:
            return {}
        if encoded.maps:
            return {m: self.probes[m](z) for m, z in encoded.embeddings.items()}
        return {m: self.probes[m](z.detach()) for m, z in encoded.embeddings.items()}

    def forward(self, inputs: Mapping[str, Tensor], presence: Presence | None = None) -> Tensor:
        """Compute class scores (B, C) of raw features, (B, *shape) by modality."""
        encoded = self.encode(self.standardised(inputs), presence)
        present = None if presence is None else presence.table
        return self.fuse(self.strategy_inputs(encoded), present)


def build_model(spec: ModelSpec, registry: Registry, seed: int = 0) -> FusionModel:
    """Build the model that `spec` describes, with initial weights that depend only on `seed`.

    Raises
    ------
    ParameterError
        If a branch does not accept its modality's shape, or the strategy rejects its input sizes.
    """
    torch.manual_seed(seed)
    branches: dict[str, Branch] = {}
    for part in spec.branches:
        cls = registry.branch(part.branch)
        if not cls.accepts(part.modality.shape):
            raise ParameterError(
                f"Branch {part.branch!r} does not accept modality {part.modality.name!r} "
                f"of shape {part.modality.shape}.",
                hint=f"Choose another branch: --branch {part.modality.name}=NAME "
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
    """Return the argument `dims` of a strategy: sizes of embeddings, or channels of maps."""
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
    for name, parameters in spec.adapters:
        balancer = make(registry.balancer(name), settings=parameters, owner=name)
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
    """Run the model on two clips of zeros, so that a plugin's error shows before training.

    Raises
    ------
    PluginError
        If a branch or the strategy fails or returns a wrong shape; the message names the plugin.
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
    """Return the name of the branch of a modality if the user has not named a branch.

    The result is the branch that the extractor prefers, or else the first registered branch that
    accepts the shape.

    Raises
    ------
    ParameterError
        If no branch accepts the shape.
    """
    if preferred is not None:
        return preferred
    for entry in registry.entries("branch"):
        if issubclass(entry.cls, Branch) and entry.cls.accepts(modality.shape):
            return entry.name
    raise ParameterError(
        f"No branch accepts modality {modality.name!r} of shape {modality.shape}.",
        hint="Write a branch (a plugin with fusion_branches), or name one with --branch.",
    )


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable weights."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
