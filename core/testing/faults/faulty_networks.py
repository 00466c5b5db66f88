"""Branches and strategies that wrap a healthy network and add a deliberate fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...contracts import Baseline, Branch, Strategy
from ...contracts.errors import ParameterError
from .faulty_class import Label, like, make_class

Alter = Callable[[Tensor], Tensor]
"""Function of a tensor, (B, C, *grid), that returns a tensor of the same shape."""

ALL = "*"  # stands for all modalities where the name of a modality is expected


def unchanged(x: Tensor) -> Tensor:
    """Return the tensor itself."""
    return x


class Stateless(nn.Module):
    """Module that applies a function without parameters or state."""

    def __init__(self, alter: Alter) -> None:
        super().__init__()
        self.alter = alter

    def forward(self, x: Tensor) -> Tensor:
        """Return the altered tensor."""
        return self.alter(x)


@dataclass(frozen=True)
class NetworkFault:
    """Changes that a fault makes to a network, its inputs or its outputs.

    Attributes
    ----------
    alter : callable
        Function that returns the module that changes the output of a branch (embedding (B, D)
        and maps (B, C, *grid)), or the input of a strategy from a modality.
    see : callable
        Function that changes the input of a branch, (B, *shape).
    prepare : callable
        Function that changes the network itself after its construction.
    """

    alter: Callable[[], nn.Module] = lambda: Stateless(unchanged)
    see: Alter = unchanged
    prepare: Callable[[nn.Module], object] = lambda module: None


class FaultyBranch(Branch):
    """Healthy branch, `inner`, with a fault in its input or output.

    The fault acts once on the requested output: on the embedding, or on the maps. So, unlike in a
    healthy branch, ``forward(x)`` differs from ``pool(maps(x))``.
    """

    wrapped: ClassVar[type[Branch]]
    fault: ClassVar[NetworkFault]

    def __init__(self, *args: Any, **parameters: Any) -> None:
        inner = self.wrapped(*args, **parameters)
        super().__init__(inner.shape, inner.dim)
        self.inner = inner
        self.map_channels = inner.map_channels
        self.alter = self.fault.alter()
        self.fault.prepare(inner)

    @classmethod
    def accepts(cls, shape: tuple[int, ...]) -> bool:
        """Return True for the shapes that the healthy branch accepts."""
        return cls.wrapped.accepts(shape)

    def maps(self, x: Tensor) -> Tensor:
        """Return the altered feature maps, (B, C, *grid)."""
        maps: Tensor = self.alter(self.inner.maps(self.fault.see(x)))  # (B, C, *grid)
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Return the healthy branch's embedding of feature maps, (B, D)."""
        return self.inner.pool(maps)  # (B, D)

    def forward(self, x: Tensor) -> Tensor:
        """Return the altered embedding, (B, D)."""
        embedding: Tensor = self.alter(self.inner(self.fault.see(x)))  # (B, D)
        return embedding


class FaultyStrategy(Strategy):
    """Healthy strategy, `inner`, with a fault in its inputs from one modality or all modalities."""

    wrapped: ClassVar[type[Strategy]]
    fault: ClassVar[NetworkFault]
    modality: ClassVar[str | None]  # None for the last modality

    def __init__(self, dims: dict[str, int], num_classes: int, **parameters: Any) -> None:
        super().__init__()
        struck = list(dims) if self.modality == ALL else [self.modality or list(dims)[-1]]
        if not set(struck) <= set(dims):
            raise ParameterError(
                f"This run has no modality {self.modality!r}, in which the strategy {self.name!r} "
                f"has its fault; available: {', '.join(dims)}.",
                hint="Pass another modality to the fault: modality=NAME, or '*' for all.",
            )
        self.inner = self.wrapped(dims, num_classes, **parameters)
        self.alter = nn.ModuleDict({m: self.fault.alter() for m in struck})
        self.fault.prepare(self.inner)

    def altered(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the inputs with the fault."""
        return {m: self.alter[m](x) if m in self.alter else x for m, x in inputs.items()}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the healthy strategy's scores for the altered inputs, (B, C)."""
        scores: Tensor = self.inner(self.altered(inputs))  # (B, C)
        return scores

    def forward_with_absence(
        self, inputs: dict[str, Tensor], present: Tensor | None = None
    ) -> Tensor:
        """Return the scores, (B, C); used as `forward` if the strategy accepts absence."""
        scores: Tensor = self.inner(self.altered(inputs), present)  # (B, C)
        return scores

    def adopt(self, baselines: Mapping[str, Baseline]) -> None:
        """Let the healthy strategy adopt the baselines."""
        self.inner.adopt(baselines)

    def held_out_parameters(self) -> Sequence[nn.Parameter]:
        """Return the held-out parameters of the healthy strategy."""
        return self.inner.held_out_parameters()

    def calibrate(self, inputs: dict[str, Tensor], labels: Tensor) -> None:
        """Calibrate the healthy strategy on the altered inputs."""
        self.inner.calibrate(self.altered(inputs), labels)

    def modality_weights(self, inputs: dict[str, Tensor]) -> Tensor | None:
        """Return the healthy strategy's weights for the altered inputs, (B, M)."""
        return self.inner.modality_weights(self.altered(inputs))


class OversizedStrategy(FaultyStrategy):
    """Healthy strategy behind a perceptron of two wide layers that mixes all embeddings."""

    width: ClassVar[int]

    def __init__(self, dims: dict[str, int], num_classes: int, **parameters: Any) -> None:
        super().__init__(dims, num_classes, **parameters)
        self.sizes = dict(dims)
        total = sum(dims.values())
        self.mix = nn.Sequential(
            nn.Linear(total, self.width),
            nn.ReLU(),
            nn.Linear(self.width, self.width),
            nn.ReLU(),
            nn.Linear(self.width, total),
        )

    def altered(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mixed embeddings, in the sizes of the original embeddings."""
        joined = torch.cat([inputs[m] for m in self.sizes], dim=1)  # (B, sum D_m)
        parts = self.mix(joined).split(list(self.sizes.values()), dim=1)
        return dict(zip(self.sizes, parts, strict=True))


class LockedStrategy(FaultyStrategy):
    """Linear head on one modality, mixed with the scores of a healthy strategy."""

    share: ClassVar[float]

    def __init__(self, dims: dict[str, int], num_classes: int, **parameters: Any) -> None:
        super().__init__(dims, num_classes, **parameters)
        (self.locked,) = self.alter
        self.order = list(dims)
        self.own = nn.Linear(dims[self.locked], num_classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the mixed scores, (B, C)."""
        return self._mixed(inputs, self.inner(inputs))

    def forward_with_absence(
        self, inputs: dict[str, Tensor], present: Tensor | None = None
    ) -> Tensor:
        """Return the mixed scores, (B, C); the healthy scores for clips without the modality."""
        scores = self.inner(inputs, present)
        if present is None:
            return self._mixed(inputs, scores)
        has_modality = present[:, self.order.index(self.locked), None]  # (B, 1)
        return torch.where(has_modality, self._mixed(inputs, scores), scores)

    def modality_weights(self, inputs: dict[str, Tensor]) -> Tensor | None:
        """Return the healthy strategy's weights mixed with 1 for the modality, (B, M)."""
        weights = self.inner.modality_weights(inputs)
        if weights is None:
            return None
        is_locked = torch.tensor([m == self.locked for m in self.order], device=weights.device)
        return self.share * is_locked + (1 - self.share) * weights  # (B, M)

    def _mixed(self, inputs: Mapping[str, Tensor], scores: Tensor) -> Tensor:
        # tanh bounds the healthy scores. Without bounds, large scores could undo a small weight.
        bounded = torch.tanh(scores)
        mixed: Tensor = self.share * self.own(inputs[self.locked]) + (1 - self.share) * bounded
        return mixed


# Fusion tests whether a class overrides these methods, so a faulty class overrides a method only
# if the healthy class does.
_HOOKS = ("adopt", "calibrate", "modality_weights")
_CLASS = ("takes", "reads_validation", "accepts_missing", "needs_baselines", "space")


def faulty_branch(cls: type[Branch], label: Label, fault: NetworkFault) -> type[Branch]:
    """Return a faulty version of a branch class."""
    members = {
        "wrapped": cls,
        "fault": fault,
        "space": cls.space,
        "__init__": like(cls, FaultyBranch.__init__),
    }
    return make_class(FaultyBranch, cls, label, members)


def faulty_strategy(
    cls: type[Strategy],
    label: Label,
    fault: NetworkFault,
    modality: str | None,
    *,
    width: int | None = None,
    share: float | None = None,
) -> type[Strategy]:
    """Return a faulty version of a strategy class: oversized if `width`, locked if `share`."""
    base: type[FaultyStrategy] = FaultyStrategy
    if width is not None:
        base = OversizedStrategy
    if share is not None:
        base = LockedStrategy
    members = {
        "wrapped": cls,
        "fault": fault,
        "modality": modality,
        "width": width,
        "share": share,
        "__init__": like(cls, base.__init__),
        **{name: getattr(cls, name) for name in _CLASS},
        **{hook: getattr(Strategy, hook) for hook in _HOOKS if _inherits(cls, hook)},
        **({"forward": base.forward_with_absence} if cls.accepts_missing else {}),
    }
    return make_class(base, cls, label, members)


def _inherits(cls: type[Strategy], hook: str) -> bool:
    return bool(getattr(cls, hook) is getattr(Strategy, hook))


# -- alterations -----------------------------------------------------------------------


@lru_cache(maxsize=64)
def chosen(size: int, share: float) -> Tensor:
    """Return a mask, (size,) bool, of the ``round(share * size)`` units with the fault.

    The mask is the same for the same size and share in every process.
    """
    order = torch.randperm(size, generator=torch.Generator().manual_seed(size))
    mask = torch.zeros(size, dtype=torch.bool)
    mask[order[: round(share * size)]] = True
    return mask


@lru_cache(maxsize=64)
def signs(size: int) -> Tensor:
    """Return random signs +1 and -1, (size,) float32, which are the same in every process."""
    generator = torch.Generator().manual_seed(size)
    return 2.0 * torch.randint(2, (size,), generator=generator) - 1.0


def along(units: Tensor, x: Tensor) -> Tensor:
    """Return `units`, (C,), in the shape that broadcasts over `x`, (B, C, *grid)."""
    return units.to(x.device).view(1, -1, *[1] * (x.dim() - 2))


def multiply(x: Tensor, *, factor: float) -> Tensor:
    """Multiply all values by a factor."""
    return x * factor


def silence(x: Tensor, *, share: float) -> Tensor:
    """Set a share of the units to exactly zero, which also stops their gradient."""
    return x.masked_fill(along(chosen(x.shape[1], share), x), 0.0)


def shift(x: Tensor, *, size: float) -> Tensor:
    """Add a constant of `size` with a random sign to every unit."""
    return x + size * along(signs(x.shape[1]), x).to(x.dtype)


class _Throttle(torch.autograd.Function):
    """Identity in the forward pass that multiplies the gradient by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        """Return the same values."""
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the gradient times the factor."""
        return gradients[0] * ctx.factor, None


def throttle(x: Tensor, *, factor: float) -> Tensor:
    """Return the same values, and multiply their gradient by `factor`."""
    altered: Tensor = _Throttle.apply(x, factor)  # type: ignore[no-untyped-call]
    return altered


class Late(nn.Module):
    """Identity that stops the gradient in the first `steps` calls in training.

    The number of calls is a buffer, so that a resumed training continues the count.
    """

    done: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, detached in the first `steps` calls in training."""
        if not (self.training and torch.is_grad_enabled()):
            return x
        self.done += 1
        return x.detach() if self.done <= self.steps else x


def flatten_to(x: Tensor, *, dim: int) -> Tensor:
    """Divide a clip's values into `dim` runs and replace each run by its mean; keep the shape."""
    flat = x.flatten(1)  # (B, P)
    parts = flat.tensor_split(min(dim, flat.shape[1]), dim=1)
    means = [part.mean(dim=1, keepdim=True).expand_as(part) for part in parts]
    return torch.cat(means, dim=1).view(x.shape)


def hold(module: nn.Module, *, share: float) -> None:
    """Freeze whole tensors in order, until at least `share` of all weights is frozen."""
    parameters = list(module.parameters())
    total = sum(p.numel() for p in parameters)
    frozen = 0
    for parameter in parameters:
        if frozen >= share * total:
            break
        parameter.requires_grad_(False)
        frozen += parameter.numel()
