"""Time of a training step relative to the lower bound that this machine's limits set.

python benchmarks/roofline.py [--rounds N] [--out FILE.json]

The benchmark counts the operations and bytes of every call into torch during one step. In the same
run, on one thread, it measures how many operations and bytes this machine handles per second. The
counts divided by these rates give a lower bound ("floor"), which is compared with the measured
time. There are two floors: "as written", where each call reads its inputs from memory and writes
its outputs to memory, and "if fused", which only counts the operations.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from networks import BATCH, IMAGES, MEL, PLAIN_BLOCKS, our_step, our_trainer
from timing import busy, in_turn, keep
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from fusion.core.training.hardware.memory import keep_freed_memory


@dataclass
class Limits:
    """Operations and bytes that the machine handles per second.

    Attributes
    ----------
    operations : dict
        Data type -> multiplications and additions per second of a large matrix product.
    memory : float
        Bytes per second, read and written, of a copy that exceeds all caches.
    cache : float
        Bytes per second of a copy as large as one activation of the first block.
    """

    operations: dict[torch.dtype, float] = field(default_factory=dict)
    memory: float = 0.0
    cache: float = 0.0

    @classmethod
    def measured(cls, rounds: int, size: int = 1536) -> Limits:
        limits = cls()
        calls: dict[Any, Callable[[], object]] = {}
        for dtype in (torch.float32, torch.bfloat16):
            a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
            calls[dtype] = lambda a=a, b=b: a @ b  # type: ignore[misc]
        large, near = torch.randn(2**26), torch.randn(2**20)  # 256 MB, 4 MB
        to_large, to_near = torch.empty_like(large), torch.empty_like(near)
        calls["memory"] = lambda: to_large.copy_(large)
        calls["cache"] = lambda: [to_near.copy_(near) for _ in range(16)]
        seconds = in_turn(calls, rounds)
        limits.operations = {d: 2 * size**3 / seconds[d] for d in (torch.float32, torch.bfloat16)}
        limits.memory = 2 * large.nbytes / seconds["memory"]
        limits.cache = 16 * 2 * near.nbytes / seconds["cache"]
        return limits


class Count(TorchDispatchMode):
    """Counter of the operations and bytes of every call into torch while the mode is active."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, float, float, torch.dtype]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = _storages((args, kwargs))
        outputs = _storages(out)
        if func.is_view or (set(outputs) <= set(inputs) and not func._schema.is_mutable):
            return out
        counted = flop_registry.get(func._overloadpacket)
        flops = counted(*args, **(kwargs or {}), out_val=out) if counted else 0
        # Tensors that are written in place are read as well.
        moved = sum(inputs.values()) + sum(outputs.values())
        dtype = next((x.dtype for x in tree_leaves(args) if isinstance(x, Tensor)), torch.float32)
        self.calls.append((str(func._overloadpacket), float(flops), float(moved), dtype))
        return out


def _storages(values: Any) -> dict[int, int]:
    """Return the bytes of each distinct tensor among some values, by address."""
    return {
        x.data_ptr(): x.numel() * x.element_size()
        for x in tree_leaves(values)
        if isinstance(x, Tensor)
    }


@dataclass(frozen=True)
class Floor:
    """Lower bounds of a step's seconds, with its counts of operations and bytes."""

    operations: float
    bytes: float
    as_written: float
    fused: float

    @classmethod
    def of(cls, step: Callable[[], object], limits: Limits) -> Floor:
        step()
        with Count() as count:
            step()
        as_written = fused = 0.0
        for _, operations, moved, dtype in count.calls:
            computing = operations / limits.operations.get(dtype, limits.operations[torch.float32])
            # The faster of the two memory speeds, because a small tensor may be in the cache.
            as_written += max(computing, moved / max(limits.memory, limits.cache))
            fused += computing
        return cls(
            sum(c[1] for c in count.calls), sum(c[2] for c in count.calls), as_written, fused
        )


def steps() -> dict[str, Callable[[], object]]:
    plain = {"branch": PLAIN_BLOCKS}
    return {
        "mel, the plain loop's blocks, float32": our_step(
            our_trainer([MEL], None, precision="float32", **plain)
        ),
        "mel, the plain loop's blocks": our_step(our_trainer([MEL], None, **plain)),
        "mel, default branch": our_step(our_trainer([MEL], None)),
        "mel and persistence, gated": our_step(our_trainer([MEL, IMAGES], "gated")),
    }


def measure(rounds: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    keep_freed_memory()
    limits = Limits.measured(rounds)
    calls = steps()
    floors = {name: Floor.of(step, limits) for name, step in calls.items()}
    seconds = in_turn(calls, rounds, warm=2)
    return {
        "limits": {
            **{str(d).removeprefix("torch."): v for d, v in limits.operations.items()},
            "memory": limits.memory,
            "cache": limits.cache,
        },
        "steps": {
            name: {
                "operations per clip": floor.operations / BATCH,
                "bytes per clip": floor.bytes / BATCH,
                "ms per clip": 1e3 * seconds[name] / BATCH,
                "floor as written": 1e3 * floor.as_written / BATCH,
                "floor if fused": 1e3 * floor.fused / BATCH,
            }
            for name, floor in floors.items()
        },
    }


def table(figures: dict[str, Any]) -> str:
    limits = figures["limits"]
    lines = [
        "One thread of this machine: "
        f"{limits['float32'] / 1e9:.0f} Gflop/s in float32, {limits['bfloat16'] / 1e9:.0f} in "
        f"bfloat16; {limits['memory'] / 1e9:.1f} GB/s from memory, {limits['cache'] / 1e9:.1f} "
        "from the cache.",
        f"{'per clip':<40}{'Mflop':>8}{'MB':>7}{'ms':>7}{'as written':>12}{'if fused':>12}",
    ]
    for name, step in figures["steps"].items():
        spent, written, fused = (
            step[k] for k in ("ms per clip", "floor as written", "floor if fused")
        )
        lines.append(
            f"{name:<40}{step['operations per clip'] / 1e6:8.0f}{step['bytes per clip'] / 1e6:7.1f}"
            f"{spent:7.2f}{written:6.2f}{spent / written:5.1f}x{fused:6.2f}{spent / fused:5.1f}x"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    figures = measure(options.rounds)
    print("\n".join(filter(None, [busy(), table(figures)])))
    if options.out:
        keep(figures, options.out)


if __name__ == "__main__":
    main()
