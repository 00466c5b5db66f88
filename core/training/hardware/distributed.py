"""Distributed training: several processes, started by ``torchrun``, train one model together.

Each process has the whole model and reads every batch. The branches take most of the time, so each
process runs the branches on its share of the batch's clips only. The outputs are then gathered.
In every process, probes, strategy, losses and balancers work on the whole batch, so a balancer
sees the same values as in a single process. Batch normalisation takes its statistics over all
shares, and gradients of the branches are summed over the processes. Every process therefore takes
the step that a single process would take with the same batch.
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
"""Outputs of a branch: embedding, and map if the strategy takes maps."""

_TIMEOUT = timedelta(days=7)  # how long processes wait while the first one extracts features

# Process group in which the first process sends tasks; None outside of process_group(). This
# variable alone decides whether a training is distributed: environment variables and process
# groups that other code has created do not.
_tasks: dist.ProcessGroup | None = None


def launched() -> bool:
    """Return whether several processes train together: inside :func:`process_group`."""
    return _tasks is not None


def leads() -> bool:
    """Return whether this process writes files and messages, as the first or only process."""
    return not launched() or dist.get_rank() == 0


def refuse_trials(trials: int | None) -> None:
    """Raise UserError for a run with `trials`, which can't be distributed over processes."""
    if trials:
        raise UserError(
            "Distributed training (torchrun) does not support --tune: trials are not shared "
            "between processes.",
            hint="Tune in one process (fusion run --tune N), then train with its settings.",
        )


def processes_on_machine() -> int:
    """Return how many processes of the training share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join all processes of ``torchrun`` into a group; at exit, end the other processes' tasks."""
    global _tasks
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    _tasks = dist.new_group(backend="gloo", timeout=_TIMEOUT)
    yield
    # This code is not in a `finally`: after an error, other processes may be waiting in the middle
    # of a step. torchrun ends those processes when this process fails.
    if leads():
        send_task(None)
    _tasks = None
    dist.destroy_process_group()


def send_task(task: Any) -> None:
    """Send the next task to the other processes; None means that there are no more tasks."""
    dist.broadcast_object_list([task], src=0, group=_tasks, device=torch.device("cpu"))


def received_tasks() -> Iterator[Any]:
    """Yield the tasks that the first process sends, until it sends None."""
    while True:
        task: list[Any] = [None]
        dist.broadcast_object_list(task, src=0, group=_tasks, device=torch.device("cpu"))
        if task[0] is None:
            return
        yield task[0]


def from_first_process(decision: T) -> T:
    """Return the first process's `decision`, because rounding differs between processes."""
    if not launched():
        return decision
    values: list[Any] = [decision]
    dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    first: T = values[0]
    return first


class Sharing:
    """Distribution of a batch's clips over processes, for the branches of one model.

    Parameters
    ----------
    branches : sequence of Module
        Branches, with the same weights in every process. From now on, their batch normalisation
        takes statistics over all shares, and the gradients of their parameters are summed over
        the processes.
    """

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.split = False  # True while a share is computed
        for branch in branches:
            for parameter in branch.parameters():
                if parameter.requires_grad:
                    parameter.register_hook(_summed)  # type: ignore[no-untyped-call]
            for norm in branch.modules():
                if isinstance(norm, _BatchNorm):
                    local = norm.forward
                    norm.forward = MethodType(  # type: ignore[method-assign]
                        functools.partial(_normalised, self, local), norm
                    )

    def apply(self, branch: Callable[[Tensor], Outputs], x: Tensor) -> Outputs:
        """Return `branch(x)` for all clips `x`, (B, ...); each process computes a share."""
        if len(x) < 2 * self.size:  # every process computes all clips; gradients count once
            embedding, maps = branch(x)
            return _Once.apply(embedding, self.size), (  # type: ignore[no-untyped-call]
                None if maps is None else _Once.apply(maps, self.size)  # type: ignore[no-untyped-call]
            )
        bounds = [len(x) * i // self.size for i in range(self.size + 1)]
        share = x[bounds[self.rank] : bounds[self.rank + 1]]
        # Dropout in a branch draws random numbers for the clips of its share. Random numbers drawn
        # after the branch must be the same in every process.
        seed = int(torch.randint(2**31, ()))
        devices = [x.device] if x.device.type == "cuda" else []
        self.split = True
        try:
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(seed + self.rank)
                embedding, maps = branch(share)
        finally:
            self.split = False
        return _gathered(embedding, bounds), None if maps is None else _gathered(maps, bounds)


def broadcast_weights(module: nn.Module) -> None:
    """Copy the weights and statistics of the first process to every process."""
    for tensor in module.state_dict().values():
        dist.broadcast(tensor, src=0)


# -- communication between the processes -----------------------------------------------


def _summed(gradient: Tensor) -> Tensor:
    total = gradient.contiguous().clone()
    dist.all_reduce(total)
    return total


class _Once(torch.autograd.Function):
    """Identity whose gradient, computed in every process, is divided by the number of processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        ctx.size = size
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] / ctx.size, None


class _Gather(torch.autograd.Function):
    """Concatenation of the shares of all processes; each process gets the gradient of its share."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, bounds: Sequence[int]) -> Tensor:
        rank, size = dist.get_rank(), dist.get_world_size()
        ctx.own = slice(bounds[rank], bounds[rank + 1])
        lengths = [b - a for a, b in pairwise(bounds)]
        # all_gather needs parts of equal length.
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
    """Sum over the processes; its gradient is also summed, because every process uses the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor]:
        return (_summed(gradients[0]),)


def _normalised(
    sharing: Sharing, local: Callable[[Tensor], Tensor], norm: _BatchNorm, x: Tensor
) -> Tensor:
    """Apply batch normalisation over all shares (B, C, ...), or `local` if the batch is not split.

    torch's own SyncBatchNorm works on CUDA only.
    """
    if not (norm.training and sharing.split):
        return local(x)
    dims = [d for d in range(x.dim()) if d != 1]
    shape = [1, -1, *[1] * (x.dim() - 2)]
    values = x.float()
    local_count = values.new_full((1,), values.numel() / values.shape[1])
    sums: Tensor = _Sum.apply(torch.cat([values.sum(dim=dims), local_count]))  # type: ignore[no-untyped-call]
    count = sums[-1].detach()
    mean = sums[:-1] / count  # (C,)
    centred = values - mean.view(shape)
    squares: Tensor = _Sum.apply(centred.square().sum(dim=dims))  # type: ignore[no-untyped-call]
    variance = squares / count
    with torch.no_grad():
        _update_running(norm, mean, variance * count / (count - 1))
    out = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        out = out * norm.weight.view(shape) + norm.bias.view(shape)
    return out.to(x.dtype)


def _update_running(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics of `norm` as torch does."""
    if norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    momentum = norm.momentum
    if momentum is None:
        momentum = 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), momentum)
