"""Seeds, small steps of training and comparisons of tensors for the checks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator within the context, and restore the generator's state afterwards."""
    has_gpu = gpu() is not None
    with torch.random.fork_rng(devices=[]):
        # Without a GPU, torch.manual_seed stores a traceback of each call until CUDA starts.
        (torch.manual_seed if has_gpu else torch.default_generator.manual_seed)(seed)
        yield


def gpu() -> torch.device | None:
    """Return the accelerator that training would use; None if there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps") if torch.backends.mps.is_available() else None


def channels_last(x: Tensor) -> Tensor:
    """Return images in the layout of a convolution's output, for which .view() may fail."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def descend(network: nn.Module, loss: Tensor) -> None:
    """Compute the gradients of a loss and make one step of gradient descent."""
    network.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    update(network)


@torch.no_grad()
def update(network: nn.Module) -> None:
    """Make one step of gradient descent at a learning rate of 0.05."""
    for parameter in network.parameters():
        if parameter.grad is not None:
            parameter.sub_(parameter.grad, alpha=0.05)


def reached(tensors: dict[str, Tensor] | dict[str, nn.Parameter]) -> set[str]:
    """Return the names of tensors whose gradient exceeds 1e-6 of the largest gradient."""
    sizes = {n: float(t.grad.abs().max()) for n, t in tensors.items() if t.grad is not None}
    floor = 1e-6 * max(sizes.values(), default=0.0)
    return {name for name, size in sizes.items() if size > floor}


def leaves(output: Tensor) -> list[Tensor]:
    """Return every tensor into which a backward pass from `output` would write a gradient."""
    waiting, visited, variables = [output.grad_fn], set(), []
    while waiting:
        node = waiting.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        if hasattr(node, "variable"):
            variables.append(node.variable)
        waiting += [following for following, _ in node.next_functions]
    return variables


def equal(a: object, b: object) -> bool:
    """Return True if two tensors, or two other objects, are equal."""
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b


def close(a: Tensor, b: Tensor) -> bool:
    """Return True if two tensors have the same shape and the same values up to rounding."""
    size = max(1.0, float(b.abs().max()))
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4 * size)


def difference(a: Tensor, b: Tensor) -> str:
    """Return as text the largest difference of two tensors, or both shapes if the shapes differ."""
    if a.shape != b.shape:
        return f"their shapes, {tuple(a.shape)} and {tuple(b.shape)}"
    return f"{float((a - b).abs().max()):.3g}"


def listed(names: Any) -> str:
    """Return names in alphabetical order, separated by commas."""
    return ", ".join(str(name) for name in sorted(names))
