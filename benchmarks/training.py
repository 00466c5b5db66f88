"""Speed of one training on a CPU: a plain training loop compared with ours.

python benchmarks/training.py [--rounds N] [--data PATH --epochs N N --seeds N] [--out FILE.json]

The command measures samples per second. Every loop runs in a separate process, the loops alternate,
and all use the same clips and batch size. Ours runs on one thread, as in parallel trainings, and on
all threads, as in a single training. With --data, a copy of RAVDESS, the command also measures two
things on real clips, with all threads: the validation UAR of each epoch, and the seconds until ours
reaches the plain loop's best UAR.
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

# Branch parameters, precision, number of threads (0: all).
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


def check_equal(steps: int = 2, device: str = "cpu", tolerance: float = 1e-4) -> float:
    """Return the largest relative difference of weights after steps of the engine and a bare loop.

    Both train the same network, without the engine's additions (augmentation, averaging, clipping).
    The command exits if the difference is not below `tolerance`. After more than a few steps, the
    weights differ on some processors: AdamW gives each gradient the same size, even one that is
    only rounding.
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
        apart = max(float((a - b).norm() / b.norm().clamp_min(1e-6)) for a, b in pairs)
    if not apart < tolerance:
        raise SystemExit(f"A step of the engine differs from that of a bare loop by {apart:.1e}.")
    return apart


def samples_per_second(rounds: int, names: list[str] | None = None) -> dict[str, float]:
    """Return the samples per second of the plain loop and of ours (those in `names`, or all)."""
    with ExitStack() as stack:

        def started(*arguments: Any, **settings: Any) -> Elsewhere:
            process = Elsewhere(*arguments, **settings)
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
    """Return mel of all clips, (n, 1, 64, 128), their classes, and the split of a run."""
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


def balanced(predicted: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the unweighted average recall, in [0, 1]."""
    return float(
        np.mean([float((predicted[truth == c] == c).double().mean()) for c in truth.unique()])
    )


Epochs = list[tuple[float, float]]
"""Seconds so far, including validation, and the validation UAR after each epoch."""

OVER = 3  # epochs that are averaged, because the UAR of a single epoch is noisy


def plain_accuracy(
    array: np.ndarray, targets: np.ndarray, split: Any, epochs: int, seed: int
) -> Epochs:
    train = array[split.train]
    array = (array - train.mean()) / train.std()  # standardised, as is common
    loop = PlainLoop(torch.from_numpy(array[split.train]), torch.from_numpy(targets[split.train]),
                     CPU, seed=seed)  # fmt: skip
    val, truth = torch.from_numpy(array[split.val]), torch.from_numpy(targets[split.val])
    curve: Epochs = []
    seconds = 0.0
    for _ in range(epochs):
        started = time.perf_counter()
        loop.epoch()
        uar = balanced(loop.predict(val), truth)
        seconds += time.perf_counter() - started
        curve.append((seconds, uar))
    return curve


class Reached(Exception):  # noqa: N818 - no error
    """Signal that the goal is reached and the training may stop."""


def our_accuracy(
    array: np.ndarray, targets: np.ndarray, split: Any, epochs: int, branch: Any, seed: int,
    goal: float,
) -> Epochs:  # fmt: skip
    """Train until the `goal`; the learning rate follows the schedule of all `epochs`."""
    curve: Epochs = []
    trainer = our_trainer([MEL], None, arrays={"mel": array}, targets=targets, seed=seed,
                          parts=(split.train, split.val), branch=branch, epochs=epochs)  # fmt: skip
    begun = time.perf_counter()

    def on_epoch(record: Mapping[str, Any]) -> None:
        curve.append((time.perf_counter() - begun, record["val_uar"]))
        if reached(curve, goal) is not None:
            raise Reached

    trainer.on_epoch = on_epoch
    with suppress(Reached):
        trainer.fit()
    return curve


def accuracy(data: str, plain_epochs: int, our_epochs: int, seeds: int) -> list[dict[str, Epochs]]:
    """Return the curves of the plain loop and ours for each seed, using all cores."""
    from fusion.core.training.hardware.memory import keep_freed_memory

    array, targets, split = real_clips(data)
    torch.set_num_threads(torch.multiprocessing.cpu_count())
    curves = [{"plain": plain_accuracy(array, targets, split, plain_epochs, seed)}
             for seed in range(seeds)]  # fmt: skip
    keep_freed_memory()
    for seed, of_seed in enumerate(curves):
        goal = best(of_seed["plain"])
        for name, branch in (("same blocks", PLAIN_BLOCKS), ("default branch", None)):
            of_seed[name] = our_accuracy(array, targets, split, our_epochs, branch, seed, goal)
        print(story(of_seed, f"seed {seed}"), flush=True)
    return curves


def means(epochs: Epochs) -> list[float]:
    """Return the moving average of the UAR over OVER epochs."""
    uars = [uar for _, uar in epochs]
    return [float(np.mean(uars[i - OVER : i])) for i in range(OVER, len(uars) + 1)]


def best(epochs: Epochs) -> float:
    return max(means(epochs))


def reached(epochs: Epochs, goal: float) -> float | None:
    """Return the seconds until the mean UAR of OVER epochs reached `goal`, or None."""
    for index, mean in enumerate(means(epochs)):
        if mean >= goal:
            return epochs[index + OVER - 1][0]
    return None


def times_faster(curves: Mapping[str, Epochs], name: str) -> float | None:
    goal = best(curves["plain"])
    first, ours = (reached(curves[n], goal) for n in ("plain", name))
    return None if first is None or ours is None else first / ours


def story(curves: Mapping[str, Epochs], of: str) -> str:
    goal = best(curves["plain"])
    lines = [
        f"On real clips, {of}: seconds until the validation UAR, a mean of {OVER} epochs, is "
        f"{goal:.3f}, the plain loop's best of {len(curves['plain'])} epochs:"
    ]
    for name, epochs in curves.items():
        seconds, times = reached(epochs, goal), times_faster(curves, name)
        text = "never" if times is None else f"{seconds:.1f} s, {times:.1f} x"
        lines.append(f"  {name:<16}{text:<18} {epochs[-1][0] / len(epochs):.2f} s an epoch, "
                     f"{len(epochs)} epochs")  # fmt: skip
    return "\n".join(lines)


def summary(seeds: Sequence[Mapping[str, Epochs]]) -> str:
    lines = [f"Median of {len(seeds)} seeds, speed-up to equal accuracy:"]
    for name in list(seeds[0])[1:]:
        times = [times_faster(curves, name) or 0.0 for curves in seeds]
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
    options = parser.parse_args()
    print(f"weights after 2 steps differ from those of a bare loop by {check_equal():.0e}")
    figures: dict[str, Any] = {"clips per second": samples_per_second(options.rounds)}
    print("\n".join(filter(None, [busy(), table(figures["clips per second"])])))
    if options.data:
        figures["epochs"] = accuracy(options.data, *options.epochs, options.seeds)
        print(summary(figures["epochs"]))
    if options.out:
        keep(figures, options.out)


if __name__ == "__main__":
    main()
