"""One training on a CPU: the loop that people write against ours.

python benchmarks/training.py [--rounds N] [--data PATH --epochs N N --seeds N] [--out FILE.json]

Samples per second: every loop in a process of its own, taking turns, the same clips and batch
size. Ours on one thread, as trainings run side by side, and on all, as one runs that is alone.
With --data, a copy of RAVDESS, also the validation accuracy of each epoch on real clips, and the
seconds until ours is as good as the plain loop ever was, both on all threads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from elsewhere import Elsewhere
from networks import (
    BATCH,
    CLASSES,
    MEL,
    PLAIN_BLOCKS,
    PlainLoop,
    our_epoch,
    our_trainer,
    random_clips,
)
from timing import busy, in_turn, keep
from torch import nn

from fusion import Clips

CLIPS = 6 * BATCH
PLAIN = "plain loop, torch's threads"
CPU = torch.device("cpu")
STILL = {"masks": 0, "shift_time": 0.0, "shift_frequency": 0.0, "label_smoothing": 0.0,
         "average": 0.0, "clip": 0.0, "class_weights": "none", "precision": "float32"}  # fmt: skip

# Branch, precision, threads (0: all).
OURS: Mapping[str, tuple[Mapping[str, Any] | None, str, int]] = {
    "ours, the same blocks, float32": (PLAIN_BLOCKS, "float32", 1),
    "ours, the same blocks": (PLAIN_BLOCKS, "auto", 1),
    "ours, the same blocks, all threads": (PLAIN_BLOCKS, "auto", 0),
    "ours, default branch, float32": (None, "float32", 1),
    "ours, default branch": (None, "auto", 1),
    "ours, default branch, all threads": (None, "auto", 0),
}


def make_plain(clips: int, device: str = "cpu") -> Callable[[], object]:
    inputs = torch.from_numpy(random_clips([MEL], clips)["mel"])
    return PlainLoop(inputs, torch.arange(clips) % CLASSES, torch.device(device)).epoch


def make_ours(
    clips: int, branch: Mapping[str, Any] | None, precision: str, device: str = "cpu"
) -> Callable[[], object]:
    trainer = our_trainer(
        [MEL], None, clips=clips, branch=branch, precision=precision, device=device
    )
    return lambda: our_epoch(trainer)


def check_equal(steps: int = 4, device: str = "cpu", tolerance: float = 1e-4) -> float:
    """Largest relative difference of the weights after steps of the engine and of a bare loop.

    Of the same network, without what ours adds to it (augmentation, averaging, clipping).
    """
    branch = {"blocks": 3, "dropout": 0.0}
    ours, bare = (
        our_trainer([MEL], None, branch=branch, epochs=9, device=device, **STILL) for _ in range(2)
    )
    model, config = bare.model.train(), bare.config
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=config.weight_decay)
    ours.model.train()
    generator = torch.Generator().manual_seed(0)
    for index in range(steps):
        rows = ours.train[index * BATCH : (index + 1) * BATCH]
        ours.stepper.step(1, index, Clips(rows), generator)
        inputs, labels = bare.features.batch(rows)
        optimizer.param_groups[0]["lr"] = config.lr * bare.optimizer.schedule(index)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    with torch.no_grad():
        pairs = zip(ours.model.parameters(), model.parameters(), strict=True)
        found = max(float((a - b).norm() / b.norm().clamp_min(1e-6)) for a, b in pairs)
    if not found < tolerance:
        raise SystemExit(f"A step of the engine is not that of a bare loop: {found:.1e} apart.")
    return found


def samples_per_second(rounds: int, names: list[str] | None = None) -> dict[str, float]:
    """Of each loop; `names` of ours, or all."""
    with ExitStack() as stack:

        def started(*given: Any, **settings: Any) -> Elsewhere:
            process = Elsewhere(*given, **settings)
            stack.callback(process.close)
            return process

        calls: dict[str, Callable[[], object]] = {
            PLAIN: started(make_plain, CLIPS, threads=0),
            "plain loop, one thread": started(make_plain, CLIPS),
        }
        for name, (branch, precision, threads) in OURS.items():
            if names is None or name in names:
                calls[name] = started(
                    make_ours, CLIPS, branch, precision, threads=threads, worker=True
                )
        return {name: CLIPS / seconds for name, seconds in in_turn(calls, rounds).items()}


def table(speeds: Mapping[str, float]) -> str:
    lines = [f"One training of mel, batch {BATCH}, clips per second:"]
    for name, speed in speeds.items():
        lines.append(f"  {name:<36}{speed:8.1f}{speed / speeds[PLAIN]:8.2f} x")
    return "\n".join(lines)


# -- on real clips ---------------------------------------------------------------------


def real_clips(data: str) -> tuple[np.ndarray, np.ndarray, Any]:
    """Mel of all clips, (n, 1, 64, 128), their classes, and the run's own split."""
    from tempfile import mkdtemp

    from fusion.core.registry.registry import Registry
    from fusion.core.runs.config import RunConfig
    from fusion.core.runs.execution.jobs import features_of
    from fusion.core.runs.plan import make_plan
    from fusion.core.runs.run import Run
    from fusion.core.runs.trainings import Training, spec_of
    from fusion.core.workflows.experiment import prepare_run

    registry = Registry()
    config = RunConfig((data,), features=("mel",), strategy="concat")
    with Run.create(Path(mkdtemp()) / "run", registry) as run:
        prepare_run(run, make_plan(config, registry))
    features = features_of(run, spec_of(run, Training(0, "mel")), resident_bytes=0, fold=0)
    split = run.data.splits[0]
    array = features.arrays["mel"].take(np.arange(len(features))).astype(np.float32)
    return array, run.data.targets, split


def balanced(said: torch.Tensor, truth: torch.Tensor) -> float:
    """Unweighted average recall."""
    return float(np.mean([float((said[truth == c] == c).double().mean()) for c in truth.unique()]))


Epochs = list[tuple[float, float]]
"""Seconds so far, validation among them, and its UAR, after each epoch."""

OVER = 3  # epochs that are averaged: one alone is luck


def plain_accuracy(
    array: np.ndarray, targets: np.ndarray, split: Any, epochs: int, seed: int
) -> Epochs:
    train = array[split.train]
    array = (array - train.mean()) / train.std()  # which people do
    loop = PlainLoop(torch.from_numpy(array[split.train]), torch.from_numpy(targets[split.train]),
                     CPU, seed=seed)  # fmt: skip
    val, truth = torch.from_numpy(array[split.val]), torch.from_numpy(targets[split.val])
    found: Epochs = []
    seconds = 0.0
    for _ in range(epochs):
        started = time.perf_counter()
        loop.epoch()
        uar = balanced(loop.says(val), truth)
        seconds += time.perf_counter() - started
        found.append((seconds, uar))
    return found


class Reached(Exception):  # noqa: N818 - no error
    """The training may stop."""


def our_accuracy(
    array: np.ndarray, targets: np.ndarray, split: Any, epochs: int, branch: Any, seed: int,
    goal: float,
) -> Epochs:  # fmt: skip
    """As far as the `goal`; the learning rate is that of a training of all `epochs`."""
    found: Epochs = []
    trainer = our_trainer([MEL], None, arrays={"mel": array}, targets=targets, seed=seed,
                          parts=(split.train, split.val), branch=branch, epochs=epochs)  # fmt: skip
    begun = time.perf_counter()

    def on_epoch(record: Mapping[str, Any]) -> None:
        found.append((time.perf_counter() - begun, record["val_uar"]))
        if reached(found, goal) is not None:
            raise Reached

    trainer.on_epoch = on_epoch
    with suppress(Reached):
        trainer.fit()
    return found


def accuracy(data: str, plain_epochs: int, our_epochs: int, seeds: int) -> list[dict[str, Epochs]]:
    """Of each seed, the plain loop and ours, all on torch's own number of threads."""
    from fusion.core.training.hardware.memory import keep_freed_memory

    array, targets, split = real_clips(data)
    torch.set_num_threads(torch.multiprocessing.cpu_count())
    found = [{"plain": plain_accuracy(array, targets, split, plain_epochs, seed)}
             for seed in range(seeds)]  # fmt: skip
    keep_freed_memory()
    for seed, one in enumerate(found):
        goal = best(one["plain"])
        for name, branch in (("same blocks", PLAIN_BLOCKS), ("default branch", None)):
            one[name] = our_accuracy(array, targets, split, our_epochs, branch, seed, goal)
        print(story(one, f"seed {seed}"), flush=True)
    return found


def means(epochs: Epochs) -> list[float]:
    """UAR over OVER epochs, from the first on that has as many."""
    uars = [uar for _, uar in epochs]
    return [float(np.mean(uars[i - OVER : i])) for i in range(OVER, len(uars) + 1)]


def best(epochs: Epochs) -> float:
    return max(means(epochs))


def reached(epochs: Epochs, goal: float) -> float | None:
    """Seconds until the mean UAR of OVER epochs was `goal`; None where it never was."""
    for index, mean in enumerate(means(epochs)):
        if mean >= goal:
            return epochs[index + OVER - 1][0]
    return None


def times_faster(found: Mapping[str, Epochs], name: str) -> float | None:
    goal = best(found["plain"])
    first, ours = (reached(found[n], goal) for n in ("plain", name))
    return None if first is None or ours is None else first / ours


def story(found: Mapping[str, Epochs], of: str) -> str:
    goal = best(found["plain"])
    lines = [
        f"On real clips, {of}: seconds until the validation UAR, a mean of {OVER} epochs, is "
        f"{goal:.3f}, the plain loop's best of {len(found['plain'])} epochs:"
    ]
    for name, epochs in found.items():
        seconds, times = reached(epochs, goal), times_faster(found, name)
        said = "never" if times is None else f"{seconds:.1f} s, {times:.1f} x"
        lines.append(f"  {name:<16}{said:<18} {epochs[-1][0] / len(epochs):.2f} s an epoch, "
                     f"{len(epochs)} epochs")  # fmt: skip
    return "\n".join(lines)


def summary(found: Sequence[Mapping[str, Epochs]]) -> str:
    lines = [f"Median of {len(found)} seeds, times as fast to the same accuracy:"]
    for name in list(found[0])[1:]:
        times = [times_faster(one, name) or 0.0 for one in found]
        lines.append(
            f"  {name:<16}{np.median(times):.1f} x  ({min(times):.1f} to {max(times):.1f})"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--data", help="a copy of RAVDESS")
    parser.add_argument("--epochs", type=int, nargs=2, default=(12, 30),
                        metavar=("PLAIN", "OURS"))  # fmt: skip
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    print(f"a step is that of a bare loop: weights {check_equal():.0e} apart after 4 steps")
    figures: dict[str, Any] = {"clips per second": samples_per_second(given.rounds)}
    print("\n".join(filter(None, [busy(), table(figures["clips per second"])])))
    if given.data:
        figures["epochs"] = accuracy(given.data, *given.epochs, given.seeds)
        print(summary(figures["epochs"]))
    if given.out:
        keep(figures, given.out)


if __name__ == "__main__":
    main()
