"""Branches and strategies with a fault on purpose, around the healthy ones."""

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
"""(B, C, *grid) -> the same shape."""

ALL = "*"  # in place of a modality


def unchanged(x: Tensor) -> Tensor:
    return x


class Stateless(nn.Module):
    """An alteration that keeps nothing."""

    def __init__(self, alter: Alter) -> None:
        super().__init__()
        self.alter = alter

    def forward(self, x: Tensor) -> Tensor:
        return self.alter(x)


@dataclass(frozen=True)
class NetworkFault:
    """What is done to a network.

    Attributes
    ----------
    alter : callable
        Makes the module that changes the output of a branch (embedding (B, D) and maps
        (B, C, *grid)), or what a strategy receives of a modality.
    see : callable
        Changes the input of a branch, (B, *shape).
    prepare : callable
        Changes the network itself, when it was made.
    """

    alter: Callable[[], nn.Module] = lambda: Stateless(unchanged)
    see: Alter = unchanged
    prepare: Callable[[nn.Module], object] = lambda module: None


class FaultyBranch(Branch):
    """A healthy branch, `inner`, and a fault around it.

    The fault acts once on what is asked for: on the embedding, or on the maps. So the embedding
    is not what `pool` makes of the maps, as it is of a healthy branch.
    """

    wrapped: ClassVar[type[Branch]]
    fault: ClassVar[NetworkFault]

    def __init__(self, *args: Any, **given: Any) -> None:
        inner = self.wrapped(*args, **given)
        super().__init__(inner.shape, inner.dim)
        self.inner = inner
        self.map_channels = inner.map_channels
        self.alter = self.fault.alter()
        self.fault.prepare(inner)

    @classmethod
    def accepts(cls, shape: tuple[int, ...]) -> bool:
        return cls.wrapped.accepts(shape)

    def maps(self, x: Tensor) -> Tensor:
        maps: Tensor = self.alter(self.inner.maps(self.fault.see(x)))  # (B, C, *grid)
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        return self.inner.pool(maps)  # (B, D)

    def forward(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.alter(self.inner(self.fault.see(x)))  # (B, D)
        return embedding


class FaultyStrategy(Strategy):
    """A healthy strategy, `inner`, and a fault in what it receives of a modality, or of all."""

    wrapped: ClassVar[type[Strategy]]
    fault: ClassVar[NetworkFault]
    modality: ClassVar[str | None]  # None: the last

    def __init__(self, dims: dict[str, int], num_classes: int, **given: Any) -> None:
        super().__init__()
        struck = list(dims) if self.modality == ALL else [self.modality or list(dims)[-1]]
        if not set(struck) <= set(dims):
            raise ParameterError(
                f"The strategy {self.name!r} has a fault in the modality {self.modality!r}, and "
                f"this run has {', '.join(dims)}.",
                hint="Name one of them where the fault is made: modality=NAME, or '*' for all.",
            )
        self.inner = self.wrapped(dims, num_classes, **given)
        self.alter = nn.ModuleDict({m: self.fault.alter() for m in struck})
        self.fault.prepare(self.inner)

    def altered(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {m: self.alter[m](x) if m in self.alter else x for m, x in inputs.items()}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        scores: Tensor = self.inner(self.altered(inputs))  # (B, C)
        return scores

    def forward_with_absence(
        self, inputs: dict[str, Tensor], present: Tensor | None = None
    ) -> Tensor:
        """`forward` where the healthy strategy knows absence."""
        scores: Tensor = self.inner(self.altered(inputs), present)  # (B, C)
        return scores

    def adopt(self, baselines: Mapping[str, Baseline]) -> None:
        self.inner.adopt(baselines)

    def held_out_parameters(self) -> Sequence[nn.Parameter]:
        return self.inner.held_out_parameters()

    def calibrate(self, inputs: dict[str, Tensor], labels: Tensor) -> None:
        self.inner.calibrate(self.altered(inputs), labels)

    def modality_weights(self, inputs: dict[str, Tensor]) -> Tensor | None:
        return self.inner.modality_weights(self.altered(inputs))


class OversizedStrategy(FaultyStrategy):
    """A healthy strategy behind a perceptron that mixes all embeddings, of two wide layers."""

    width: ClassVar[int]

    def __init__(self, dims: dict[str, int], num_classes: int, **given: Any) -> None:
        super().__init__(dims, num_classes, **given)
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
        joined = torch.cat([inputs[m] for m in self.sizes], dim=1)  # (B, sum D_m)
        parts = self.mix(joined).split(list(self.sizes.values()), dim=1)
        return dict(zip(self.sizes, parts, strict=True))


class LockedStrategy(FaultyStrategy):
    """A healthy strategy that is mixed, with a small weight, into a linear head on one modality."""

    share: ClassVar[float]

    def __init__(self, dims: dict[str, int], num_classes: int, **given: Any) -> None:
        super().__init__(dims, num_classes, **given)
        (self.locked,) = self.alter
        self.order = list(dims)
        self.own = nn.Linear(dims[self.locked], num_classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self._mixed(inputs, self.inner(inputs))

    def forward_with_absence(
        self, inputs: dict[str, Tensor], present: Tensor | None = None
    ) -> Tensor:
        scores = self.inner(inputs, present)
        if present is None:
            return self._mixed(inputs, scores)
        there = present[:, self.order.index(self.locked), None]  # (B, 1)
        return torch.where(there, self._mixed(inputs, scores), scores)

    def modality_weights(self, inputs: dict[str, Tensor]) -> Tensor | None:
        weights = self.inner.modality_weights(inputs)
        if weights is None:
            return None
        there = torch.tensor([m == self.locked for m in self.order], device=weights.device)
        return self.share * there + (1 - self.share) * weights  # (B, M)

    def _mixed(self, inputs: Mapping[str, Tensor], scores: Tensor) -> Tensor:
        # Bounded, whatever they learn: larger scores would undo a small weight.
        others = torch.tanh(scores)
        mixed: Tensor = self.share * self.own(inputs[self.locked]) + (1 - self.share) * others
        return mixed


# Fusion looks whether a class overrides these: a faulty one does only where the healthy one does.
_HOOKS = ("adopt", "calibrate", "modality_weights")
_CLASS = ("takes", "reads_validation", "accepts_missing", "needs_baselines", "space")


def faulty_branch(cls: type[Branch], label: Label, fault: NetworkFault) -> type[Branch]:
    """`cls` with the fault."""
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
    """Return `cls` with the fault: with `width` oversized, with `share` locked to a modality."""
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
    """Which of `size` units a fault is about: (size,) bool, ``round(share * size)`` of them.

    The same for the same size and share, in every process.
    """
    order = torch.randperm(size, generator=torch.Generator().manual_seed(size))
    found = torch.zeros(size, dtype=torch.bool)
    found[order[: round(share * size)]] = True
    return found


@lru_cache(maxsize=64)
def signs(size: int) -> Tensor:
    """(size,) float32 of +1 and -1, the same in every process."""
    generator = torch.Generator().manual_seed(size)
    return 2.0 * torch.randint(2, (size,), generator=generator) - 1.0


def along(units: Tensor, x: Tensor) -> Tensor:
    """(C,) -> the shape that broadcasts over `x`, (B, C, *grid)."""
    return units.to(x.device).view(1, -1, *[1] * (x.dim() - 2))


def multiply(x: Tensor, *, factor: float) -> Tensor:
    """Everything times a factor."""
    return x * factor


def silence(x: Tensor, *, share: float) -> Tensor:
    """A share of the units to zero, exactly, and no gradient through them."""
    return x.masked_fill(along(chosen(x.shape[1], share), x), 0.0)


def shift(x: Tensor, *, size: float) -> Tensor:
    """A constant of `size` with a random sign on every unit."""
    return x + size * along(signs(x.shape[1]), x).to(x.dtype)


class _Throttle(torch.autograd.Function):
    """x forward; the gradient times a factor backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def throttle(x: Tensor, *, factor: float) -> Tensor:
    """The same values, with `factor` times the gradient."""
    altered: Tensor = _Throttle.apply(x, factor)  # type: ignore[no-untyped-call]
    return altered


class Late(nn.Module):
    """The same values, without gradient in the first `steps` calls in training.

    The count is a buffer, so that a resumed training goes on counting.
    """

    done: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return x
        self.done += 1
        return x.detach() if self.done <= self.steps else x


def flatten_to(x: Tensor, *, dim: int) -> Tensor:
    """(B, *shape) -> the same shape of rank `dim`: so many equal runs, each its own mean."""
    flat = x.flatten(1)  # (B, P)
    parts = flat.tensor_split(min(dim, flat.shape[1]), dim=1)
    means = [part.mean(dim=1, keepdim=True).expand_as(part) for part in parts]
    return torch.cat(means, dim=1).view(x.shape)


def hold(module: nn.Module, *, share: float) -> None:
    """Take the gradient from whole tensors, first ones first, up to `share` of all weights."""
    parameters = list(module.parameters())
    total = sum(p.numel() for p in parameters)
    held = 0
    for parameter in parameters:
        if held >= share * total:
            break
        parameter.requires_grad_(False)
        held += parameter.numel()
