"""Cosine head: scores that do not depend on the norms of embeddings and weights."""

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

# Lower bound on the length of a vector: the gradient of a direction grows without bound
# as the vector shrinks, and a ReLU can output all zeros.
_SHORTEST = 1e-4


class MMCosine(Balancer):
    """Cosine classifier that replaces the last linear layer of the strategy.

    ::

        f = scale * sum over blocks b of cos(x_b, W_b)
        with concat:  f = scale * sum over m of cos(z_m, W_m)

    x is the input of the layer and W its weights; there is no bias. If x is the concatenation of
    the embeddings (concat), each modality is a block. With these blocks the rule is that of the
    paper: no modality gains by larger features or weights. The input of any other layer is one
    block: cos(x, W) then removes the effect of the norms of x and of the weights of a class.
    Modalities are then balanced only to the extent that the strategy keeps them separate.

    Departure from the paper: the paper's rule is for concat. Here the rule works with every
    strategy whose scores are the output of a linear layer (film, attention, normalised, early), or
    the mean or sum of the outputs of several linear layers (bottleneck). Other strategies are
    refused, such as lmf, whose scores are a sum of products. The layer is found by passing random
    clips through a copy of the strategy with perturbed weights. A vector shorter than 1e-4 is
    divided by 1e-4 instead of by its length.

    Parameters
    ----------
    scale : float
        Factor s on the cosines, > 0. Scores of M blocks are between -M * s and M * s.

    When to use
    -----------
    With concat if the embeddings of one modality are much larger than those of the other. For many
    classes or blocks another scale may fit better.

    Cost
    ----
    Negligible.

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
    """Cosine classifier from (B, in) to (B, out), scale * sum over blocks of cos(x_b, W_b).

    Parameters
    ----------
    linear : nn.Linear
        Layer whose weights are used; its bias is dropped.
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
        # In float32, because bfloat16 has only about three significant digits.
        with torch.autocast(x.device.type, enabled=False):
            sizes = list(self.blocks)
            inputs = torch.split(x.float(), sizes, dim=-1)
            weights = torch.split(self.weight.float(), sizes, dim=-1)
            cosines = [
                functional.linear(_direction(a), _direction(w))
                for a, w in zip(inputs, weights, strict=True)
            ]
            return self.scale * torch.stack(cosines).sum(dim=0)


def _direction(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.clamp_min(_SHORTEST)


# -- search for the layer --------------------------------------------------------------


@dataclass(frozen=True)
class _Call:
    """Call of a linear layer, recorded while random clips pass through a strategy."""

    layer: str
    output: Tensor
    blocks: tuple[int, ...]


def _final(strategy: Strategy, dims: Mapping[str, int]) -> list[_Call]:
    """Return the calls of linear layers whose output, or sum or mean of outputs, is the scores."""
    calls, scores = _trial(strategy, dims)
    calls = [call for call in calls if call.output.shape == scores.shape]
    equal = [call for call in calls if _equal(call.output, scores)]
    if equal:
        return equal[-1:]
    if calls:
        total = torch.stack([call.output for call in calls]).sum(dim=0)
        if _equal(total, scores) or _equal(total / len(calls), scores):
            return calls
    raise ParameterError(
        f"mmcosine can't be used with the strategy {_name(strategy)!r}: its scores are neither the "
        "output of a linear layer nor the sum or mean of such outputs.",
        hint="Use a strategy whose last layer is nn.Linear(..., num_classes), such as concat.",
    )


@torch.no_grad()
def _trial(strategy: Strategy, dims: Mapping[str, int]) -> tuple[list[_Call], Tensor]:
    """Pass two random clips through a copy of the strategy; return its linear calls and scores."""
    trial = _perturbed(copy.deepcopy(strategy).eval())
    calls: list[_Call] = []
    inputs: dict[str, Tensor] = {}

    def watch(layer: str, module: nn.Module) -> None:
        def record(module: nn.Module, args: Any, output: Any) -> None:
            calls.append(_Call(layer, output, _blocks(args[0], inputs)))

        module.register_forward_hook(record)

    for layer, module in trial.named_modules():
        if isinstance(module, nn.Linear):
            watch(layer, module)
    for grid in [()] if strategy.takes == "embeddings" else [(4, 4), (4,), ()]:
        calls.clear()
        inputs |= _random(trial, dims, grid)
        try:
            return calls, trial(inputs)
        except Exception as error:  # the plugin's error, or a grid that it does not accept
            failure = error
    raise ParameterError(
        f"mmcosine can't be used with the strategy {_name(strategy)!r}: it fails on two random "
        f"clips ({type(failure).__name__}: {failure})."
    ) from failure


def _perturbed(trial: Strategy) -> Strategy:
    """Perturb all weights, so that weights that start at zero, such as gates, take part."""
    generator = torch.Generator().manual_seed(1)
    for weight in trial.parameters():
        weight.add_(0.1 * torch.randn(weight.shape, generator=generator).to(weight))
    return trial


def _blocks(x: Tensor, inputs: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return the sizes of the modalities if a layer's input is the concatenated embeddings.

    Otherwise the input is one block.
    """
    if all(z.dim() == 2 for z in inputs.values()):
        joined = torch.cat(list(inputs.values()), dim=1)
        if _equal(x, joined):
            return tuple(z.shape[1] for z in inputs.values())
    return (x.shape[-1],)


def _random(trial: Strategy, dims: Mapping[str, int], grid: tuple[int, ...]) -> dict[str, Tensor]:
    # Random, so that layers differ; a separate generator leaves the global random state unchanged.
    generator = torch.Generator().manual_seed(0)
    like = next(trial.parameters(), torch.zeros(()))
    return {m: torch.randn(2, d, *grid, generator=generator).to(like) for m, d in dims.items()}


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-5, atol=1e-6)


def _replace(strategy: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Replace every occurrence of the module `old` by `new`."""
    for parent in strategy.modules():
        for name, child in list(parent._modules.items()):  # named_children skips repeats
            if child is old:
                parent.register_module(name, new)


def _name(strategy: Strategy) -> str:
    return getattr(strategy, "name", type(strategy).__name__)


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [MMCosine]
