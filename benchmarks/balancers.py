"""Cost of every balancer, relative to training the same model without a balancer.

python benchmarks/balancers.py [--rounds N] [--only NAME,NAME] [--out FILE.json]

Two things are measured for a model of mel and persistence: a step, and a whole epoch including
validation and the passes over all clips that a balancer makes between steps. Both are reported as
multiples of the cost without a balancer; the measurements alternate. Forward and backward passes
through the branches are counted, not timed: 1 and 1 is plain training, 1 and 2 is a second backward
pass that reuses the forward pass.
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
    """Counter of convolutions and their backward passes."""

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
    """Return an epoch in which every balancer is active."""
    return max([2, *(b.acts_from for b in trainer.balancers)])


def passes(balancers: Sequence[str]) -> tuple[float, float]:
    """Return the mean number of forward and backward passes through the branches per step."""
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
    """Return the passes per step, and the time of a step and an epoch relative to plain ones."""
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
    """Return the names of all installed balancers."""
    return [entry.name for entry in Registry().entries("balancer")]


def line(name: str, figures: dict[str, float]) -> str:
    return (
        f"{name:<16}{figures['forward']:9.2f}{figures['backward']:10.2f}"
        f"{figures['step']:8.2f}{figures['epoch']:8.2f}"
    )


HEADER = f"{'balancer':<16}{'forward':>9}{'backward':>10}{'step':>8}{'epoch':>8}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", help="names of balancers, separated by commas [default: all]")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    names = options.only.split(",") if options.only else available()
    print("\n".join(filter(None, [busy(), HEADER])))
    figures: dict[str, dict[str, float]] = {}
    for name in ["", *names]:
        figures[name or "(none)"] = cost([name] if name else [], options.rounds)
        print(line(name or "(none)", figures[name or "(none)"]), flush=True)
    if options.out:
        keep({"strategy": STRATEGY, "costs": figures}, options.out)


if __name__ == "__main__":
    main()
