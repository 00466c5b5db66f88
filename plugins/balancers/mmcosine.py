"""Cosine head: scores that neither the size of an embedding nor of a weight can sway."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...core.contracts import Balancer, LogUniform, Space, Strategy, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain

# A shorter vector counts as of this length: the gradient of a direction grows without end
# as the vector shrinks, and a ReLU may leave nothing at all.
_SHORTEST = 1e-4


class MMCosine(Balancer):
    """Puts a cosine classifier in place of the strategy's last linear layer.

        f = scale * sum over blocks b of cos(x_b, W_b)

    x is what the layer received and W its weights; there is no bias. Where x is the embeddings
    side by side (concat), each modality is a block of its own and f = scale * sum over m of
    cos(z_m, W_m): the paper's, in which no modality gains by growing its features or weights.
    Any other layer is one block: cos(x, W) then evens out the norms of classes and clips, and
    modalities are balanced only as far as the strategy keeps them apart.

    MMCosine (Xu et al. 2023, ICASSP). Departure: the paper's rule is for concat; this
    works with every strategy whose scores are those of a linear layer (gated, film, attention,
    normalised, early), or the mean or sum of several (bottleneck). Others (lmf, whose
    scores are a sum of products) are refused. The layer is found by sending random clips
    through a copy of the strategy with its weights stirred. A vector shorter than 1e-4 counts
    as of that length.

    Parameters
    ----------
    scale : float
        Factor s on the cosines, > 0. Scores of M blocks lie between -M * s and M * s.

    When to use
    -----------
    With concat where embeddings of one modality are much larger than those of the other. For
    many classes or blocks another scale may fit better.

    Cost
    ----
    Next to nothing.

    References
    ----------
    Xu, R., Feng, R., Zhang, S.-X., Hu, D. (2023). MMCosine: multi-modal cosine loss towards
    balanced audio-visual fine-grained learning. ICASSP.
    """

    name = "mmcosine"
    space: ClassVar[Mapping[str, Space]] = {"scale": LogUniform(3.0, 30.0)}
    takes_over: ClassVar[tuple[Domain, ...]] = ("head",)

    def __init__(self, *, scale: float = 10.0) -> None:
        if scale <= 0:
            raise ParameterError(f"mmcosine.scale must be above 0, and is {scale}.")
        self.scale = scale

    def adapt(self, strategy: Strategy, dims: Mapping[str, int]) -> Strategy:
        if any(isinstance(module, CosineHead) for module in strategy.modules()):
            return strategy
        blocks = {call.layer: call.blocks for call in _final(strategy, dims)}
        for layer, sizes in blocks.items():
            old = strategy.get_submodule(layer)
            assert isinstance(old, nn.Linear)
            _replace(strategy, old, CosineHead(old, sizes, self.scale))
        return strategy


class CosineHead(nn.Module):
    """scale * sum over blocks of cos(x_b, W_b): (B, in) -> (B, out).

    Parameters
    ----------
    linear : nn.Linear
        Its weights are taken over; its bias is left out.
    blocks : tuple of int
        Sizes of the blocks; they sum to the layer's inputs.
    scale : float
        Factor on the cosines.
    """

    def __init__(self, linear: nn.Linear, blocks: tuple[int, ...], scale: float) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.blocks = blocks
        self.scale = scale
        self.weight = nn.Parameter(linear.weight.detach().clone())  # (out, in)

    def forward(self, x: Tensor) -> Tensor:
        # In float32: three digits of a cosine times ten would be all of bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            sizes = list(self.blocks)
            given = torch.split(x.float(), sizes, dim=-1)
            weights = torch.split(self.weight.float(), sizes, dim=-1)
            cosines = [
                functional.linear(_direction(a), _direction(w))
                for a, w in zip(given, weights, strict=True)
            ]
            return self.scale * torch.stack(cosines).sum(dim=0)


def _direction(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.clamp_min(_SHORTEST)


# -- finding the layer -----------------------------------------------------------------


@dataclass(frozen=True)
class _Call:
    """A linear layer at work in a trial."""

    layer: str
    output: Tensor
    blocks: tuple[int, ...]


def _final(strategy: Strategy, dims: Mapping[str, int]) -> list[_Call]:
    """The linear layers that make the scores."""
    calls, scores = _trial(strategy, dims)
    calls = [call for call in calls if call.output.shape == scores.shape]
    same = [call for call in calls if _equal(call.output, scores)]
    if same:
        return same[-1:]
    if calls:
        total = torch.stack([call.output for call in calls]).sum(dim=0)
        if _equal(total, scores) or _equal(total / len(calls), scores):
            return calls
    raise ParameterError(
        f"mmcosine can't be used with the strategy {_name(strategy)!r}: its scores are not those "
        "of a linear layer, nor the sum or mean of several.",
        hint="It replaces a last nn.Linear(..., num_classes), as concat, gated or attention have.",
    )


@torch.no_grad()
def _trial(strategy: Strategy, dims: Mapping[str, int]) -> tuple[list[_Call], Tensor]:
    """Send two random clips through a copy: what its linear layers did, and its scores."""
    trial = _stirred(copy.deepcopy(strategy).eval())
    calls: list[_Call] = []
    inputs: dict[str, Tensor] = {}

    def watch(layer: str, module: nn.Module) -> None:
        def record(module: nn.Module, given: Any, output: Any) -> None:
            calls.append(_Call(layer, output, _blocks(given[0], inputs)))

        module.register_forward_hook(record)

    for layer, module in trial.named_modules():
        if isinstance(module, nn.Linear):
            watch(layer, module)
    for grid in [()] if strategy.takes == "embeddings" else [(4, 4), (4,), ()]:
        calls.clear()
        inputs |= _random(trial, dims, grid)
        try:
            return calls, trial(inputs)
        except Exception as error:  # a plugin's own, or a grid that it does not take
            failure = error
    raise ParameterError(
        f"mmcosine can't be used with the strategy {_name(strategy)!r}: it fails on two random "
        f"clips ({type(failure).__name__}: {failure})."
    ) from failure


def _stirred(trial: Strategy) -> Strategy:
    """Move all weights: what starts at zero, such as a gate, must not hide a part."""
    generator = torch.Generator().manual_seed(1)
    for weight in trial.parameters():
        weight.add_(0.1 * torch.randn(weight.shape, generator=generator).to(weight))
    return trial


def _blocks(given: Tensor, inputs: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Sizes of the modalities where a layer is given the embeddings side by side."""
    if all(x.dim() == 2 for x in inputs.values()):
        joined = torch.cat(list(inputs.values()), dim=1)
        if _equal(given, joined):
            return tuple(x.shape[1] for x in inputs.values())
    return (given.shape[-1],)


def _random(trial: Strategy, dims: Mapping[str, int], grid: tuple[int, ...]) -> dict[str, Tensor]:
    # Random, so that layers differ; from a generator, so that no other numbers are used up.
    generator = torch.Generator().manual_seed(0)
    like = next(trial.parameters(), torch.zeros(()))
    return {m: torch.randn(2, d, *grid, generator=generator).to(like) for m, d in dims.items()}


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-5, atol=1e-6)


def _replace(strategy: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` wherever `old` is."""
    for parent in strategy.modules():
        for name, child in list(parent._modules.items()):  # named_children names it once
            if child is old:
                parent.register_module(name, new)


def _name(strategy: Strategy) -> str:
    return getattr(strategy, "name", type(strategy).__name__)


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [MMCosine]
