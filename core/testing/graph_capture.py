"""Emulation of CUDA graph capture on the CPU, to check `recordable` branches without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_VALUE = "the code reads a value of a tensor (.item(), float(x), if x > 0)"
_SHAPE = "the shape of a result depends on values (x[x > 0], nonzero, unique)"
_ATEN = torch.ops.aten
_READS_VALUES = {
    **dict.fromkeys([_ATEN._local_scalar_dense, _ATEN.equal], _VALUE),
    **dict.fromkeys(
        [_ATEN.nonzero, _ATEN.masked_select, _ATEN._unique2, _ATEN.unique_dim, _ATEN.bincount,
         _ATEN.unique_consecutive],
        _SHAPE,
    ),
}  # fmt: skip
_INDEXING = {_ATEN.index, _ATEN.index_put, _ATEN.index_put_}


class _Capturing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that raises RuntimeError for operations that a CUDA graph can't record."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        why = _READS_VALUES.get(func._overloadpacket)
        if func._overloadpacket in _INDEXING and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        ):
            why = _SHAPE
        if why is not None:
            raise RuntimeError(why)
        return func(*args, **(kwargs or {}))


class CpuTape:
    """A :class:`~fusion.core.training.hardware.cuda_graphs.Tape` that computes on the CPU.

    A replay repeats the recorded call. Like a CUDA graph, a replay writes the result to the tensor
    that the recording returned. Most operations that read values of tensors raise RuntimeError
    while a call is recorded. Conversions that leave torch (.tolist(), .numpy()) are not detected.
    """

    def __init__(self, device: torch.device) -> None:
        del device  # the interface of Tape has a device; CpuTape always uses the CPU

    def warm(self, call: Callable[[], object]) -> None:
        """Make one call that is not recorded."""
        call()

    def record(self, call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """Record a call; return its result tensor and a function that recomputes this tensor."""
        with _Capturing():  # type: ignore[no-untyped-call]
            result = call()
        static = result.detach().clone()

        def replay() -> None:
            with torch.enable_grad():
                static.copy_(call().detach())

        return static, replay
