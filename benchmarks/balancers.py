"""What every balancer costs, beside plain training of the same model.

python benchmarks/balancers.py [--rounds N] [--only NAME,NAME] [--out FILE.json]

A step of mel and persistence under a strategy, and a whole epoch (what a balancer asks of all
clips between the steps is in there, and validation), both as multiples of the same without a
balancer, taken in turn. Forward and backward passes through the branches are counted, not timed:
1 and 1 is plain training, 1 and 2 a second backward pass that reuses the forward pass.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from networks import BATCH, IMAGES, MEL, our_step, our_trainer
from timing import busy, in_turn, keep
from torch.utils._python_dispatch import TorchDispatchMode

from fusion.core.registry.registry import Registry
from fusion.core.training.hardware.memory import keep_freed_memory
from fusion.core.training.trainer import Trainer

CLIPS, STRATEGY, EPOCHS = 8 * BATCH, "concat", 40


class Passes(TorchDispatchMode):
    """Counts convolutions and their backward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.forward = self.backward = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.forward += func is torch.ops.aten.convolution.default
        self.backward += func is torch.ops.aten.convolution_backward.default
        return func(*args, **(kwargs or {}))


def trainer_with(balancers: Sequence[str], device: str = "cpu") -> Trainer:
    return our_trainer([MEL, IMAGES], STRATEGY, balancers, device=device, clips=CLIPS,
                       epochs=EPOCHS)  # fmt: skip


def acting_epoch(trainer: Trainer) -> int:
    """An epoch in which every balancer does what it is there for."""
    return max([2, *(b.acts_from for b in trainer.balancers)])


def passes(balancers: Sequence[str]) -> tuple[float, float]:
    """Forward and backward passes through the branches per step, a mean of some steps."""
    trainer, steps = trainer_with(balancers), 4
    step = our_step(trainer, epoch=acting_epoch(trainer))
    with Passes() as count:
        for _ in range(steps):
            step()
    convolutions = sum(isinstance(m, torch.nn.Conv2d) for m in trainer.model.branches.modules())
    each = steps * convolutions
    return count.forward / each, count.backward / each


def epoch_of(trainer: Trainer) -> Callable[[], object]:
    number = acting_epoch(trainer)
    return lambda: trainer._epoch(number)


def cost(balancers: Sequence[str], rounds: int) -> dict[str, float]:
    """Passes, and how many times a plain step and a plain epoch a balanced one takes."""
    plain, other = trainer_with(()), trainer_with(balancers)
    epoch = acting_epoch(other)
    step = in_turn({"plain": our_step(plain), "other": our_step(other, epoch=epoch)}, rounds, 2)
    plain, other = trainer_with(()), trainer_with(balancers)
    whole = in_turn({"plain": epoch_of(plain), "other": epoch_of(other)}, max(2, rounds // 3))
    forward, backward = passes(balancers)
    return {
        "forward": forward,
        "backward": backward,
        "step": step["other"] / step["plain"],
        "epoch": whole["other"] / whole["plain"],
    }


def available() -> list[str]:
    """Every balancer that is there, alone."""
    return [entry.name for entry in Registry().entries("balancer")]


def line(name: str, found: dict[str, float]) -> str:
    return (
        f"{name:<16}{found['forward']:9.2f}{found['backward']:10.2f}"
        f"{found['step']:8.2f}{found['epoch']:8.2f}"
    )


HEADER = f"{'balancer':<16}{'forward':>9}{'backward':>10}{'step':>8}{'epoch':>8}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", help="names, separated by commas")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    names = given.only.split(",") if given.only else available()
    print("\n".join(filter(None, [busy(), HEADER])))
    figures: dict[str, dict[str, float]] = {}
    for name in ["", *names]:
        figures[name or "(none)"] = cost([name] if name else [], given.rounds)
        print(line(name or "(none)", figures[name or "(none)"]), flush=True)
    if given.out:
        keep({"strategy": STRATEGY, "costs": figures}, given.out)


if __name__ == "__main__":
    main()
