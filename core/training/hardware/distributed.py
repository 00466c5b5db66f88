"""Several processes train one model together, started by ``torchrun``.

Each process has the whole model and sees every batch; a branch, which is where the time goes, is
given a share of the batch's clips by each of them, and what it makes of them is gathered. Probes,
strategy, losses and balancers then work on the whole batch everywhere, alike: whatever a balancer
looks at is what it would see in one process. Normalisations take their statistics over all
shares, gradients of the branches are summed over the processes, and so every process takes the
same step as one process would with the same batch.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from types import MethodType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...contracts.errors import UserError

T = TypeVar("T")

Outputs = tuple[Tensor, Tensor | None]
"""Of a branch: embedding, and map where the strategy takes maps."""

_PATIENCE = timedelta(days=7)  # of the others, while the first extracts features

# The group in which orders are given; None while this process is on its own. Variables of the
# environment, and groups that somebody else has made, say nothing of what fusion is to do.
_orders: dist.ProcessGroup | None = None


def launched() -> bool:
    """Whether several processes train together now: inside of :func:`together`."""
    return _orders is not None


def leads() -> bool:
    """Whether this process is the one that writes and speaks: the first, or the only one."""
    return not launched() or dist.get_rank() == 0


def refuse_trials(trials: int | None) -> None:
    """Raise UserError for a run that is tuned: trials are not shared between processes."""
    if trials:
        raise UserError(
            "Trials are not shared between processes: torchrun goes without --tune.",
            hint="Tune in one process (fusion run --tune N), then train with its settings.",
        )


def beside() -> int:
    """How many processes share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextlib.contextmanager
def together() -> Iterator[None]:
    """All processes know each other for a while; the first sends the others home at the end."""
    global _orders
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    _orders = dist.new_group(backend="gloo", timeout=_PATIENCE)
    yield
    # Not after an error: the others may be waiting in the middle of a step, and torchrun, which
    # sees this process fail, ends them.
    if leads():
        tell(None)
    _orders = None
    dist.destroy_process_group()


def tell(message: Any) -> None:
    """Send the others what to do next; None: nothing more."""
    dist.broadcast_object_list([message], src=0, group=_orders, device=torch.device("cpu"))


def orders() -> Iterator[Any]:
    """What the first process tells this one, until there is nothing more."""
    while True:
        message: list[Any] = [None]
        dist.broadcast_object_list(message, src=0, group=_orders, device=torch.device("cpu"))
        if message[0] is None:
            return
        yield message[0]


def agreed(decision: T) -> T:
    """What the first process decides, in every process: rounding may differ between them."""
    if not launched():
        return decision
    told: list[Any] = [decision]
    dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
    found: T = told[0]
    return found


class Sharing:
    """How the branches of one model share the clips of a batch.

    Parameters
    ----------
    branches : iterable of Module
        On every process with the same weights. Their normalisations take statistics over all
        shares from now on, and gradients of their parameters are sums over the processes.
    """

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.split = False  # while a share is computed
        for branch in branches:
            for parameter in branch.parameters():
                if parameter.requires_grad:
                    parameter.register_hook(_summed)  # type: ignore[no-untyped-call]
            for norm in branch.modules():
                if isinstance(norm, _BatchNorm):
                    alone = norm.forward
                    norm.forward = MethodType(  # type: ignore[method-assign]
                        functools.partial(_normalised, self, alone), norm
                    )

    def apply(self, branch: Callable[[Tensor], Outputs], x: Tensor) -> Outputs:
        """`branch` of all clips `x`, (B, ...), each process computing its share of them."""
        if len(x) < 2 * self.size:  # everybody all of them; gradients count once
            embedding, maps = branch(x)
            return _Once.apply(embedding, self.size), (  # type: ignore[no-untyped-call]
                None if maps is None else _Once.apply(maps, self.size)  # type: ignore[no-untyped-call]
            )
        bounds = [len(x) * i // self.size for i in range(self.size + 1)]
        mine = x[bounds[self.rank] : bounds[self.rank + 1]]
        # Dropout in a branch draws for its own clips; what is drawn after it must be alike.
        seed = int(torch.randint(2**31, ()))
        devices = [x.device] if x.device.type == "cuda" else []
        self.split = True
        try:
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(seed + self.rank)
                embedding, maps = branch(mine)
        finally:
            self.split = False
        return _gathered(embedding, bounds), None if maps is None else _gathered(maps, bounds)


def alike(module: nn.Module) -> None:
    """Give every process the weights and statistics of the first."""
    for tensor in module.state_dict().values():
        dist.broadcast(tensor, src=0)


# -- what goes between the processes ---------------------------------------------------


def _summed(gradient: Tensor) -> Tensor:
    total = gradient.contiguous().clone()
    dist.all_reduce(total)
    return total


class _Once(torch.autograd.Function):
    """The same; its gradient, which every process has, is divided among them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        ctx.size = size
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] / ctx.size, None


class _Gather(torch.autograd.Function):
    """Shares, padded to one length -> the whole; a gradient goes back to whose share it is."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, bounds: Sequence[int]) -> Tensor:
        rank, size = dist.get_rank(), dist.get_world_size()
        ctx.own = slice(bounds[rank], bounds[rank + 1])
        lengths = [b - a for a, b in pairwise(bounds)]
        padded = share.new_zeros(max(lengths), *share.shape[1:])
        padded[: len(share)] = share
        parts = [torch.empty_like(padded) for _ in range(size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.own], None


def _gathered(share: Tensor, bounds: Sequence[int]) -> Tensor:
    whole: Tensor = _Gather.apply(share.contiguous(), bounds)  # type: ignore[no-untyped-call]
    return whole


class _Sum(torch.autograd.Function):
    """The sum over the processes; so is its gradient, since each of them uses the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor]:
        return (_summed(gradients[0]),)


def _normalised(
    sharing: Sharing, alone: Callable[[Tensor], Tensor], norm: _BatchNorm, x: Tensor
) -> Tensor:
    """Batch normalisation over all shares, (B, C, ...); `alone` where there are none.

    torch's own synchronised one works on CUDA only.
    """
    if not (norm.training and sharing.split):
        return alone(x)
    dims = [d for d in range(x.dim()) if d != 1]
    shape = [1, -1, *[1] * (x.dim() - 2)]
    values = x.float()
    here = values.new_full((1,), values.numel() / values.shape[1])
    sums: Tensor = _Sum.apply(torch.cat([values.sum(dim=dims), here]))  # type: ignore[no-untyped-call]
    count = sums[-1].detach()
    mean = sums[:-1] / count  # (C,)
    centred = values - mean.view(shape)
    squares: Tensor = _Sum.apply(centred.square().sum(dim=dims))  # type: ignore[no-untyped-call]
    variance = squares / count
    with torch.no_grad():
        _remember(norm, mean, variance * count / (count - 1))
    out = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        out = out * norm.weight.view(shape) + norm.bias.view(shape)
    return out.to(x.dtype)


def _remember(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    if norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    momentum = norm.momentum
    if momentum is None:
        momentum = 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), momentum)
