"""Seeds, small steps of training and comparisons of tensors for the checks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A seed of torch's generator for a while; the caller's numbers go on where they were."""
    elsewhere = gpu() is not None
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed keeps a traceback of each call for a CUDA that may start later.
        (torch.manual_seed if elsewhere else torch.default_generator.manual_seed)(seed)
        yield


def gpu() -> torch.device | None:
    """The accelerator that training would use; None where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps") if torch.backends.mps.is_available() else None


def channels_last(x: Tensor) -> Tensor:
    """Images in the layout that convolutions make, where .view() may fail."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def descend(network: nn.Module, loss: Tensor) -> None:
    network.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    update(network)


@torch.no_grad()
def update(network: nn.Module) -> None:
    for parameter in network.parameters():
        if parameter.grad is not None:
            parameter.sub_(parameter.grad, alpha=0.05)


def reached(tensors: dict[str, Tensor] | dict[str, nn.Parameter]) -> set[str]:
    """Names of the tensors with a gradient that is more than rounding."""
    sizes = {n: float(t.grad.abs().max()) for n, t in tensors.items() if t.grad is not None}
    floor = 1e-6 * max(sizes.values(), default=0.0)
    return {name for name, size in sizes.items() if size > floor}


def leaves(output: Tensor) -> list[Tensor]:
    """Every tensor that backward from `output` would write a gradient into."""
    waiting, seen, found = [output.grad_fn], set(), []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting += [following for following, _ in node.next_functions]
    return found


def equal(a: object, b: object) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b


def close(a: Tensor, b: Tensor) -> bool:
    size = max(1.0, float(b.abs().max()))
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4 * size)


def difference(a: Tensor, b: Tensor) -> str:
    if a.shape != b.shape:
        return f"their shapes, {tuple(a.shape)} and {tuple(b.shape)}"
    return f"{float((a - b).abs().max()):.3g}"


def listed(names: Any) -> str:
    return ", ".join(str(name) for name in sorted(names))
