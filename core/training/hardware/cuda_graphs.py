"""Branches as CUDA graphs: one kernel launch per pass instead of a hundred.

With a small network, a GPU mostly waits for Python. A CUDA graph is recorded once and replayed,
so that the forward pass and the backward pass are one launch each. Losses, strategies, balancers
and the optimiser do not change, because autograd treats a recorded branch as one operation.

Each recording is checked on a batch with other values than the recorded batch. A recording is used
only if output, gradients and running statistics are the same as those of the branch. Otherwise, or
if recording fails, the branch runs without a recording. The summary of the training then contains
the reason.

The cost is memory: each recording keeps the activations of one batch until the training ends.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...contracts import Branch
from ...contracts.errors import TrainingError
from ...contracts.train_config import TrainConfig
from ...registry import profiler
from . import distributed

Call = Callable[[Tensor], Tensor]

_WARM_UPS = 3  # runs after which CUDA's libraries have chosen their kernels
_MOST = 4  # recordings per branch: batches of an epoch have two sizes, and stages differ
_TOLERANCE = 0.02  # relative; in bfloat16 the order of additions has a much smaller effect
_FLOOR = 1e-3  # share of the whole gradient's norm; a bias before a normalisation has only noise
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Tape(Protocol):
    """Recorder of the operations of a function."""

    def warm(self, call: Callable[[], object]) -> None:
        """Run `call` until its operations no longer change between runs."""
        ...

    def record(self, call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """Record `call`, and return its output tensor and a function that replays the recording."""
        ...


class CudaTape:
    """Recorder on a CUDA device; later recordings may read the results of earlier ones.

    Operations that wait for the device are rejected before recording starts. A recording that
    fails midway leaves torch's allocator in a state in which no other recording can start, so
    this process then records nothing more.
    """

    _broken: ClassVar[bool] = False

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def warm(self, call: Callable[[], object]) -> None:
        """Run `call` several times; the last run raises an error if `call` waits for the device.

        Raises
        ------
        RuntimeError
            If `call` waits for the device.
        """
        # The runs use a separate stream, because some libraries keep a workspace per stream.
        with self._side_stream():
            for _ in range(_WARM_UPS):
                call()
            before = torch.cuda.get_sync_debug_mode()
            torch.cuda.set_sync_debug_mode("error")
            try:
                call()
            finally:
                torch.cuda.set_sync_debug_mode(before)

    def record(self, call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """Record `call` as a CUDA graph, and return its output tensor and the replay function.

        Raises
        ------
        RuntimeError
            If recording fails, or if an earlier recording of this process failed midway.
        """
        if CudaTape._broken:
            raise RuntimeError("an earlier recording of this process failed midway")
        graph = torch.cuda.CUDAGraph()
        try:
            with (
                self._side_stream() as stream,
                torch.cuda.graph(graph, pool=self._pool, stream=stream),
            ):
                result = call()
        except BaseException:
            CudaTape._broken = True
            self._release()
            raise
        return result, graph.replay

    @contextlib.contextmanager
    def _side_stream(self) -> Iterator[torch.cuda.Stream]:
        """Switch to a new stream inside the with block, synchronised with the current stream."""
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(current)
            with torch.cuda.stream(side):
                yield side
            current.wait_stream(side)

    def _release(self) -> None:
        """End the recording in the allocator, which torch does not do after a failure."""
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
            with contextlib.suppress(Exception):
                getattr(torch._C, name)(index, self._pool)


class Graphs:
    """Recordings of one model's branches, made when a batch of a new kind arrives.

    Parameters
    ----------
    tape : callable
        Function that returns the recorder for a device.

    Attributes
    ----------
    plain : dict of str
        Reason why a branch is not recorded, by branch.
    """

    def __init__(self, tape: Callable[[torch.device], Tape] = CudaTape) -> None:
        self._tape = tape
        self._recordings: dict[str, dict[Hashable, Recording]] = {}
        self._hooked: set[str] = set()
        self.plain: dict[str, str] = {}

    @classmethod
    def for_training(cls, config: TrainConfig, device: torch.device) -> Graphs | None:
        """Return the recordings of a new training; None if recording would not help."""
        # Compiled branches launch few kernels. Distributed branches wait for other processes during
        # a pass. The profiler would not see the operations of a recording.
        if device.type != "cuda" or config.compile or not config.graphs:
            return None
        return None if distributed.launched() or profiler.active is not None else cls()

    def apply(self, name: str, branch: Branch, call: Call, x: Tensor) -> Tensor:
        """Return ``call(x)`` for a method `call` of `branch`, from a recording if possible."""
        recording = self._recording(name, branch, call, x)
        return call(x) if recording is None else recording(x)

    def summary(self) -> dict[str, str]:
        """Return, by branch, ``"recorded"`` or the reason why the branch was not recorded."""
        hooked = dict.fromkeys(self._hooked, "it has hooks, which a recording would skip")
        return {**hooked, **dict.fromkeys(self._recordings, "recorded"), **self.plain}

    def _recording(self, name: str, branch: Branch, call: Call, x: Tensor) -> Recording | None:
        if name in self.plain:
            return None
        modules = list(branch.modules())
        hooked = any(getattr(module, kind) for module in modules for kind in _HOOKS)
        if hooked:
            self._hooked.add(name)
        trained = any(p.requires_grad for p in branch.parameters())
        if hooked or not trained or x.requires_grad or not torch.is_grad_enabled():
            return None  # for this call only; a later call may be recorded
        recordings = self._recordings.setdefault(name, {})
        key = (x.shape, x.dtype, *_arithmetic(x.device), *_state(modules))
        if key not in recordings:
            try:
                recordings[key] = self._record(branch, call, x)
            except Exception as error:
                self.plain[name] = str(error).partition("\n")[0]
                del self._recordings[name]
                return None
            while len(recordings) > _MOST:
                del recordings[next(iter(recordings))]
        recordings[key] = recordings.pop(key)  # to the end: the least recently used is evicted
        return recordings[key]

    def _record(self, branch: Branch, call: Call, x: Tensor) -> Recording:
        if not branch.recordable:
            raise ValueError(f"{type(branch).__name__} does not declare itself recordable")
        recording = Recording(branch, call, x, self._tape(x.device))
        if not recording.matches(x):
            raise ValueError("its recording gives other results than the branch")
        return recording


def _state(modules: Iterable[nn.Module]) -> Iterator[Hashable]:
    """Yield the state that a recording depends on: modes, trained parameters, memory addresses."""
    for module in modules:
        yield module.training
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                yield tensor.data_ptr()
                yield tensor.requires_grad


class Recording:
    """Recorded forward and backward pass of a branch on batches of one shape.

    Parameters
    ----------
    branch : Branch
        The branch, in the mode to record.
    call : callable
        Method of the branch to record, which maps a batch (B, ...) to a tensor.
    example : Tensor
        A batch.
    tape : Tape
        Recorder for the device.

    Raises
    ------
    RuntimeError
        If the operations of the branch can't be recorded.

    Attributes
    ----------
    parameters : list of Parameter
        Parameters of the branch that get gradients.
    """

    def __init__(self, branch: Branch, call: Call, example: Tensor, tape: Tape) -> None:
        self._branch, self._call = branch, call
        self._number = 0
        self._live: Tensor | None = None
        # The recorded batch has other values than the example. The check on the example therefore
        # detects operations that depend on the values of the recorded batch.
        self._x = example.detach().clone(memory_format=torch.preserve_format).mul_(0.75)
        # The recording uses aliases of the parameters. The parameters themselves belong to the
        # autograd graph of the last step, on a stream that is not recorded.
        self._inside = _Inside(branch, call)
        self._aliases = {
            name: p.detach().requires_grad_()
            for name, p in self._inside.named_parameters()
            if p.requires_grad
        }
        with untouched(branch, example.device):
            before = [*_state(branch.modules())]
            self.parameters = self._reached()
            if [*_state(branch.modules())] != before:
                raise RuntimeError(
                    "it replaces its own buffers or parameters: write into them, x.copy_(...)"
                )
            tape.warm(self._both)
            self._out, self._forward = tape.record(self._run)
            self._flat, self._backward = tape.record(self._back)
        self._live = None
        self._out = self._out.detach()

    def __call__(self, x: Tensor) -> Tensor:
        """Replay the recording on `x`, as one operation for autograd."""
        out: Tensor = _Replay.apply(self, x, *self.parameters)  # type: ignore[no-untyped-call]
        return out

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        """Replay the forward pass on `x`; return its output and the number of this pass."""
        self._x.copy_(x)
        self._forward()
        self._number += 1
        return self._out.clone(), self._number

    def backward(self, gradient: Tensor, number: int) -> list[Tensor]:
        """Replay the backward pass; return the gradients of `parameters`.

        Only the last forward pass has a backward pass, which may be replayed any number of times.

        Raises
        ------
        TrainingError
            If pass `number` is not the last pass: a later pass has overwritten its activations.
        """
        if number != self._number:
            raise TrainingError(
                "A backward pass through a branch came after its forward pass on another batch.",
                hint="A recorded branch keeps the activations of its last batch only. Switch "
                "recording off: --set train.graphs=false.",
            )
        self._gradient.copy_(gradient)
        self._backward()
        return self._parted(self._flat.clone())

    def matches(self, x: Tensor) -> bool:
        """Return whether a replay and the branch agree in output, gradients and statistics."""
        expected, replayed = (self._results(call, x) for call in (self._call, self))
        return all(_close(*pair) for pair in zip(replayed, expected, strict=True))

    # -- recorded functions --------------------------------------------------------------

    def _run(self) -> Tensor:
        # The autocast cache is off, because each replay must convert the weights to bfloat16.
        kind = self._x.device.type
        enabled, dtype = _arithmetic(self._x.device)
        self._live = None
        with torch.enable_grad(), torch.autocast(kind, dtype, enabled, cache_enabled=False):
            self._live = functional_call(self._inside, self._aliases, (self._x,))
        return self._live

    def _back(self) -> Tensor:
        assert self._live is not None
        # The graph is retained, because a second backward pass reads the same activations.
        grads = torch.autograd.grad(self._live, self._wanted, self._gradient, retain_graph=True)
        flat = torch.empty_like(self._flat)
        torch._foreach_copy_(self._parted(flat), list(grads))
        return flat

    def _both(self) -> None:
        self._run()
        self._back()

    def _reached(self) -> list[nn.Parameter]:
        """Allocate gradients, and return the parameters that the output depends on."""
        out = self._run()
        self._gradient = torch.ones_like(out)
        if not out.requires_grad:
            raise RuntimeError("none of its weights is trained")
        aliases = list(self._aliases.values())
        grads = torch.autograd.grad(out, aliases, self._gradient, allow_unused=True)
        own = dict(self._inside.named_parameters())
        pairs = zip(self._aliases, grads, strict=True)
        names = [name for name, gradient in pairs if gradient is not None]
        self._wanted = [self._aliases[name] for name in names]
        reached = [own[name] for name in names]
        if len({p.dtype for p in reached}) != 1:
            raise RuntimeError("its parameters have several dtypes")
        self._sizes = [p.numel() for p in reached]
        self._strides = [torch.empty_like(p).stride() for p in reached]
        self._shapes = [p.shape for p in reached]
        self._flat = reached[0].new_empty(sum(self._sizes)).detach()
        return reached

    def _parted(self, flat: Tensor) -> list[Tensor]:
        """Split a flat vector into gradients, each with the memory layout of its parameter."""
        parts = flat.split(self._sizes)  # type: ignore[no-untyped-call]
        layouts = zip(parts, self._shapes, self._strides, strict=True)
        return [part.as_strided(shape, stride) for part, shape, stride in layouts]

    def _results(self, call: Call, x: Tensor) -> list[list[Tensor]]:
        """Return the output (in a list), gradients and buffers after one pass of `call` on `x`."""
        with untouched(self._branch, x.device), torch.enable_grad():
            out = call(x)
            # A weighted sum is needed: after a normalisation, the gradient of a plain sum is 0
            # apart from rounding.
            uneven = torch.linspace(-1.0, 1.0, out.numel(), device=x.device).to(out.dtype)
            grads = torch.autograd.grad(out, self.parameters, uneven.view(out.shape))
            return [[out.detach()], list(grads), [b.clone() for b in self._branch.buffers()]]


class _Inside(nn.Module):
    """Module that calls one method of a branch; one call may use other parameters."""

    def __init__(self, branch: Branch, call: Call) -> None:
        super().__init__()
        self.branch = branch
        self._call = (call,)  # in a tuple, so that a module is not registered a second time

    def forward(self, x: Tensor) -> Tensor:
        return self._call[0](x)


class _Replay(torch.autograd.Function):
    """Autograd function that replays a recording as one operation."""

    @staticmethod
    def forward(ctx: Any, recording: Recording, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.recording = recording
        out, ctx.number = recording.forward(x)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise TrainingError(
                "A second-order gradient (create_graph=True) passes through a recorded branch.",
                hint="Recorded branches have first-order gradients only. Switch recording off: "
                "--set train.graphs=false.",
            )
        return None, None, *ctx.recording.backward(gradient, ctx.number)


@contextlib.contextmanager
def untouched(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore the buffers of `module` and the random state after the with block."""
    saved = [
        (part, name, buffer, buffer.clone())
        for part in module.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        with torch.no_grad():
            for part, name, buffer, before in saved:
                buffer.copy_(before)
                part._buffers[name] = buffer  # the block may have replaced the tensor


def _close(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Return whether the tensors are pairwise equal, apart from rounding."""
    if [a.shape for a in actual] != [b.shape for b in expected]:
        return False
    sizes = [float(b.float().norm()) for b in expected]
    errors = [float((a.float() - b.float()).norm()) for a, b in zip(actual, expected, strict=True)]
    floor = _FLOOR * math.hypot(*sizes)
    return all(e <= _TOLERANCE * size + floor for e, size in zip(errors, sizes, strict=True))


def _arithmetic(device: torch.device) -> tuple[bool, torch.dtype]:
    """Return whether autocast is enabled on `device`, and its dtype."""
    return torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
