"""Graph capture without a GPU: what a CUDA graph would do to a branch, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_VALUE = "it looks at a value (.item(), float(x), if x > 0)"
_SHAPE = "the shape of what it makes depends on values (x[x > 0], nonzero, unique)"
_ATEN = torch.ops.aten
_LOOKS = {
    **dict.fromkeys([_ATEN._local_scalar_dense, _ATEN.equal], _VALUE),
    **dict.fromkeys(
        [_ATEN.nonzero, _ATEN.masked_select, _ATEN._unique2, _ATEN.unique_dim, _ATEN.bincount,
         _ATEN.unique_consecutive],
        _SHAPE,
    ),
}  # fmt: skip
_INDEXING = {_ATEN.index, _ATEN.index_put, _ATEN.index_put_}


class _Capturing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses what a device can't record."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        why = _LOOKS.get(func._overloadpacket)
        if func._overloadpacket in _INDEXING and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        ):
            why = _SHAPE
        if why is not None:
            raise RuntimeError(why)
        return func(*args, **(kwargs or {}))


class CpuTape:
    """A :class:`~fusion.core.training.hardware.cuda_graphs.Tape` that works on the CPU each time.

    As of a CUDA graph, the results are written to the tensors of the recording, and recording
    refuses most of what waits for a value; not what leaves torch (.tolist(), .numpy()).
    """

    def __init__(self, device: torch.device) -> None:
        del device  # that of the clips

    def warm(self, call: Callable[[], object]) -> None:
        call()

    def record(self, call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        with _Capturing():  # type: ignore[no-untyped-call]
            found = call()
        held = found.detach().clone()

        def replay() -> None:
            with torch.enable_grad():
                held.copy_(call().detach())

        return held, replay
