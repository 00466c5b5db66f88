"""The work of branches as CUDA graphs: one launch in the place of a hundred.

A small network keeps a GPU waiting for Python. Recorded once and replayed, its forward and its
backward pass are a launch each, while losses, strategies, balancers and the optimiser stay what
they are: for autograd a recorded branch is one operation.

A recording is believed only after it has said, of numbers it was not made from, what the branch
itself says: the same output, gradients and running statistics. Where it does not, or where
recording fails, the branch runs as ever, and the summary of the training says why.

What it costs: each recording keeps the activations of a batch as long as the training goes on.
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

_WARM_UPS = 3  # as many as CUDA's libraries may need until they have chosen their kernels
_MOST = 4  # recordings per branch: batches of an epoch have two sizes, and stages differ
_APART = 0.02  # relative; another order of additions in bfloat16 stays well below it
_FLOOR = 1e-3  # of the whole gradient's size: behind a normalisation, a bias has nothing but noise
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Tape(Protocol):
    """What work is recorded on."""

    def warm(self, call: Callable[[], object]) -> None:
        """Do the work as often as it takes until it is always done in the same way."""
        ...

    def record(self, call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """Record the work. Returns the tensor it writes to, and what does it again."""
        ...


class CudaTape:
    """Records on a CUDA device; what is recorded later may read what was earlier.

    Work that waits for the device is refused before it is recorded: a recording that breaks off
    leaves torch's allocator in a state in which no other can begin, so that after one of those
    this process records nothing more.
    """

    _broken: ClassVar[bool] = False

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def warm(self, call: Callable[[], object]) -> None:
        # Not on the stream that everything else runs on: some libraries keep a workspace each.
        with self._aside():
            for _ in range(_WARM_UPS):
                call()
            before = torch.cuda.get_sync_debug_mode()
            torch.cuda.set_sync_debug_mode("error")
            try:
                call()
            finally:
                torch.cuda.set_sync_debug_mode(before)

    def record(self, call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        if CudaTape._broken:
            raise RuntimeError("an earlier recording of this process broke off")
        graph = torch.cuda.CUDAGraph()
        try:
            with self._aside() as stream, torch.cuda.graph(graph, pool=self._pool, stream=stream):
                found = call()
        except BaseException:
            CudaTape._broken = True
            self._release()
            raise
        return found, graph.replay

    @contextlib.contextmanager
    def _aside(self) -> Iterator[torch.cuda.Stream]:
        """Another stream, and whatever happens, the old one afterwards."""
        with torch.cuda.device(self._device):
            now = torch.cuda.current_stream()
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(now)
            with torch.cuda.stream(aside):
                yield aside
            now.wait_stream(aside)

    def _release(self) -> None:
        """Tell the allocator that the recording is over; torch does not where it broke off."""
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
            with contextlib.suppress(Exception):
                getattr(torch._C, name)(index, self._pool)


class Graphs:
    """The recordings of one model's branches, made as batches come.

    Parameters
    ----------
    tape : callable
        Makes, for a device, what a branch's work is recorded on.

    Attributes
    ----------
    plain : dict of str
        Branches that are not recorded, and why not.
    """

    def __init__(self, tape: Callable[[torch.device], Tape] = CudaTape) -> None:
        self._tape = tape
        self._known: dict[str, dict[Hashable, Recording]] = {}
        self._hooked: set[str] = set()
        self.plain: dict[str, str] = {}

    @classmethod
    def wanted(cls, config: TrainConfig, device: torch.device) -> Graphs | None:
        """Those of a training, where there is anything to be gained."""
        # Compiled branches launch little, divided ones wait for each other inside, and traced
        # ones would not be counted.
        if device.type != "cuda" or config.compile or not config.graphs:
            return None
        return None if distributed.launched() or profiler.active is not None else cls()

    def apply(self, name: str, branch: Branch, call: Call, x: Tensor) -> Tensor:
        """``call(x)``, where `call` is of `branch`; recorded where that can be."""
        recording = self._recording(name, branch, call, x)
        return call(x) if recording is None else recording(x)

    def summary(self) -> dict[str, str]:
        """By branch, ``"recorded"`` or why it was not."""
        hooked = dict.fromkeys(self._hooked, "it has hooks, which a recording would pass over")
        return {**hooked, **dict.fromkeys(self._known, "recorded"), **self.plain}

    def _recording(self, name: str, branch: Branch, call: Call, x: Tensor) -> Recording | None:
        if name in self.plain:
            return None
        modules = list(branch.modules())
        hooked = any(getattr(module, kind) for module in modules for kind in _HOOKS)
        if hooked:
            self._hooked.add(name)
        trained = any(p.requires_grad for p in branch.parameters())
        if hooked or not trained or x.requires_grad or not torch.is_grad_enabled():
            return None  # this time
        known = self._known.setdefault(name, {})
        key = (x.shape, x.dtype, *_arithmetic(x.device), *_state(modules))
        if key not in known:
            try:
                known[key] = self._made(branch, call, x)
            except Exception as error:
                self.plain[name] = str(error).partition("\n")[0]
                del self._known[name]
                return None
            while len(known) > _MOST:
                del known[next(iter(known))]
        known[key] = known.pop(key)  # the last one used is the last to go
        return known[key]

    def _made(self, branch: Branch, call: Call, x: Tensor) -> Recording:
        if not branch.recordable:
            raise ValueError(f"{type(branch).__name__} does not declare itself recordable")
        made = Recording(branch, call, x, self._tape(x.device))
        if not made.says_the_same(x):
            raise ValueError("recorded, it says something else")
        return made


def _state(modules: Iterable[nn.Module]) -> Iterator[Hashable]:
    """By what a recording is another one: modes, what is trained, where the tensors lie."""
    for module in modules:
        yield module.training
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                yield tensor.data_ptr()
                yield tensor.requires_grad


class Recording:
    """A branch's forward and backward pass on batches of one shape.

    Parameters
    ----------
    branch : Branch
        In the mode that is recorded.
    call : callable
        What of it is recorded: (B, ...) -> tensor.
    example : Tensor
        A batch.
    tape : Tape
        What is recorded on.

    Raises
    ------
    RuntimeError
        If the device can't record what the branch does.

    Attributes
    ----------
    parameters : list of Parameter
        Those of the branch that get gradients.
    """

    def __init__(self, branch: Branch, call: Call, example: Tensor, tape: Tape) -> None:
        self._branch, self._call = branch, call
        self._number = 0
        self._live: Tensor | None = None
        # Of other numbers: what is fixed to those it was recorded with, the check will find.
        self._x = example.detach().clone(memory_format=torch.preserve_format).mul_(0.75)
        # Aliases of the parameters. Those themselves belong to the graph of the last step, too, and
        # with it to a stream that is not recorded.
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
                raise RuntimeError("it replaces tensors of its own: write into them, x.copy_(...)")
            tape.warm(self._both)
            self._out, self._forward = tape.record(self._run)
            self._flat, self._backward = tape.record(self._back)
        self._live = None
        self._out = self._out.detach()

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = _Replay.apply(self, x, *self.parameters)  # type: ignore[no-untyped-call]
        return out

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        """What the branch says of `x`, and the number of this pass."""
        self._x.copy_(x)
        self._forward()
        self._number += 1
        return self._out.clone(), self._number

    def backward(self, gradient: Tensor, number: int) -> list[Tensor]:
        """Gradients of `parameters`; of the last forward pass, as often as is wanted.

        Raises
        ------
        TrainingError
            After another forward pass: what this one needs has been written over.
        """
        if number != self._number:
            raise TrainingError(
                "A backward pass through a branch came after the branch had seen another batch.",
                hint="Recorded branches keep one batch: train with --set train.graphs=false.",
            )
        self._gradient.copy_(gradient)
        self._backward()
        return self._parted(self._flat.clone())

    def says_the_same(self, x: Tensor) -> bool:
        """Whether a replay does what the branch does: output, gradients, statistics."""
        expected, found = (self._seen(call, x) for call in (self._call, self))
        return all(_close(*pair) for pair in zip(found, expected, strict=True))

    # -- what is recorded ----------------------------------------------------------------

    def _run(self) -> Tensor:
        # A weight's copy in bfloat16 must be made anew in each replay.
        kind = self._x.device.type
        enabled, dtype = _arithmetic(self._x.device)
        self._live = None
        with torch.enable_grad(), torch.autocast(kind, dtype, enabled, cache_enabled=False):
            self._live = functional_call(self._inside, self._aliases, (self._x,))
        return self._live

    def _back(self) -> Tensor:
        assert self._live is not None
        # The graph is kept: a second backward pass must find what the first one read.
        found = torch.autograd.grad(self._live, self._wanted, self._gradient, retain_graph=True)
        flat = torch.empty_like(self._flat)
        torch._foreach_copy_(self._parted(flat), list(found))
        return flat

    def _both(self) -> None:
        self._run()
        self._back()

    def _reached(self) -> list[nn.Parameter]:
        """Parameters that the output depends on; makes room for their gradients."""
        out = self._run()
        self._gradient = torch.ones_like(out)
        if not out.requires_grad:
            raise RuntimeError("no weight of it is trained")
        aliases = list(self._aliases.values())
        found = torch.autograd.grad(out, aliases, self._gradient, allow_unused=True)
        own = dict(self._inside.named_parameters())
        pairs = zip(self._aliases, found, strict=True)
        names = [name for name, gradient in pairs if gradient is not None]
        self._wanted = [self._aliases[name] for name in names]
        reached = [own[name] for name in names]
        if len({p.dtype for p in reached}) != 1:
            raise RuntimeError("its parameters have several types")
        self._sizes = [p.numel() for p in reached]
        self._strides = [torch.empty_like(p).stride() for p in reached]
        self._shapes = [p.shape for p in reached]
        self._flat = reached[0].new_empty(sum(self._sizes)).detach()
        return reached

    def _parted(self, flat: Tensor) -> list[Tensor]:
        """A long vector as gradients, each laid out as its parameter."""
        parts = flat.split(self._sizes)  # type: ignore[no-untyped-call]
        layouts = zip(parts, self._shapes, self._strides, strict=True)
        return [part.as_strided(shape, stride) for part, shape, stride in layouts]

    def _seen(self, call: Call, x: Tensor) -> list[list[Tensor]]:
        """Output, gradients, statistics."""
        with untouched(self._branch, x.device), torch.enable_grad():
            out = call(x)
            # Uneven: behind a normalisation, the gradient of a plain sum is nothing but rounding.
            uneven = torch.linspace(-1.0, 1.0, out.numel(), device=x.device).to(out.dtype)
            grads = torch.autograd.grad(out, self.parameters, uneven.view(out.shape))
            return [[out.detach()], list(grads), [b.clone() for b in self._branch.buffers()]]


class _Inside(nn.Module):
    """What is called of a branch, as a module whose parameters can be replaced for one call."""

    def __init__(self, branch: Branch, call: Call) -> None:
        super().__init__()
        self.branch = branch
        self._call = (call,)  # in a tuple: a module would be registered a second time

    def forward(self, x: Tensor) -> Tensor:
        return self._call[0](x)


class _Replay(torch.autograd.Function):
    """A recording as one operation."""

    @staticmethod
    def forward(ctx: Any, recording: Recording, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.recording = recording
        out, ctx.number = recording.forward(x)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise TrainingError(
                "A gradient of a gradient (create_graph=True) goes through a recorded branch.",
                hint="Recorded branches have first gradients only: --set train.graphs=false.",
            )
        return None, None, *ctx.recording.backward(gradient, ctx.number)


@contextlib.contextmanager
def untouched(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Whatever runs in the body, running statistics and random numbers are then as before."""
    kept = [
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
            for part, name, buffer, before in kept:
                buffer.copy_(before)
                part._buffers[name] = buffer  # another may lie there now


def _close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Each the same, but for rounding."""
    if [a.shape for a in found] != [b.shape for b in expected]:
        return False
    sizes = [float(b.float().norm()) for b in expected]
    apart = [float((a.float() - b.float()).norm()) for a, b in zip(found, expected, strict=True)]
    floor = _FLOOR * math.hypot(*sizes)
    return all(d <= _APART * size + floor for d, size in zip(apart, sizes, strict=True))


def _arithmetic(device: torch.device) -> tuple[bool, torch.dtype]:
    """Whether autocast is on, and to what."""
    return torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
