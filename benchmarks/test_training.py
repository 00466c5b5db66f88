"""Time of a training step relative to a plain loop, and of its parts and balancers.

pytest benchmarks/test_training.py -s

benchmarks/training.py, balancers.py and roofline.py measure the same with more rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import balancers
import pytest
import roofline
import torch
import training
from networks import BATCH, IMAGES, MEL, our_step, our_trainer
from timing import busy, in_turn

from fusion.core.training.hardware.memory import keep_freed_memory
from fusion.core.training.inference import outputs_and_weights
from fusion.core.training.input_statistics import input_statistics
from fusion.core.training.recorder import validation_record


@pytest.fixture(autouse=True)
def as_a_worker() -> Iterator[None]:
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


STEPS = {
    "mel": lambda: our_trainer([MEL], None),
    "mel, float32": lambda: our_trainer([MEL], None, precision="float32"),
    "gated": lambda: our_trainer([MEL, IMAGES], "gated"),
    "gated + gradscale": lambda: our_trainer([MEL, IMAGES], "gated", ["gradscale"]),
}


@pytest.mark.parametrize("name", STEPS)
def test_training_step(benchmark: Callable[..., object], name: str) -> None:
    benchmark.extra_info["clips per step"] = BATCH
    benchmark.pedantic(our_step(STEPS[name]()), rounds=5, warmup_rounds=2)


def test_samples_per_second(capsys: pytest.CaptureFixture[str]) -> None:
    apart = training.check_equal()
    speeds = training.samples_per_second(
        3, ["ours, the same blocks, float32", "ours, default branch"]
    )
    with capsys.disabled():
        print(f"\nweights after 2 steps differ from those of a bare loop by {apart:.0e}")
        print("\n".join(filter(None, [busy(), training.table(speeds)])))
    # Only the order is tested: block order, memory format and precision must make ours faster.
    assert speeds["ours, default branch"] > speeds[training.PLAIN]


def test_balancers_reuse_the_forward_pass(capsys: pytest.CaptureFixture[str]) -> None:
    """Balancers take one forward pass a step, except those with teachers or validation clips."""
    counted = {name: balancers.passes([name]) for name in balancers.available()}
    more = {name: round(forward, 2) for name, (forward, _) in counted.items() if forward > 1}
    with capsys.disabled():
        print("\nmore than one backward pass: " + ", ".join(
            f"{name} {backward:.2f}" for name, (_, backward) in counted.items() if backward > 1
        ))  # fmt: skip
    # g2d and umt evaluate the modalities trained alone on the batch; lfm evaluates a validation
    # batch every few steps.
    assert set(more) <= {"g2d", "umt", "lfm"}
    assert max(more.values()) <= 2


def test_cost_of_some_balancers(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [balancers.line(n, balancers.cost([n], 5)) for n in ("gradscale", "mmpareto", "mla")]
    with capsys.disabled():
        print("\n" + "\n".join([balancers.HEADER, *lines]))


def test_distance_from_the_roofline(capsys: pytest.CaptureFixture[str]) -> None:
    figures = roofline.measure(3)
    with capsys.disabled():
        print("\n" + "\n".join(filter(None, [busy(), roofline.table(figures)])))
    assert all(step["floor as written"] > 0 for step in figures["steps"].values())


def test_recording_costs_less_than_a_twentieth(capsys: pytest.CaptureFixture[str]) -> None:
    """Recording costs less than 5 % of a training with the reference system's size of epochs."""
    steps, n_recorded = 36, 4  # steps per epoch (576 clips), and those that are recorded
    plain = our_step(our_trainer([MEL, IMAGES], "gated"))
    watched = our_step(our_trainer([MEL, IMAGES], "gated"), recorded=True)
    rounds = [in_turn({"plain": plain, "watched": watched}, 3) for _ in range(5)]
    extra = statistics.median(seconds["watched"] - seconds["plain"] for seconds in rounds)
    trainer = our_trainer([MEL, IMAGES], "gated")
    outputs, _ = outputs_and_weights(trainer.model, trainer.features, trainer.val, torch.float32)
    other_seconds = in_turn(
        {
            "end": lambda: validation_record(outputs),
            "inputs": lambda: input_statistics(trainer.features, trainer.train, trainer.model),
        },
        3,
    )
    inputs = other_seconds["inputs"] * 576 / len(trainer.train)
    epoch = steps * statistics.median(seconds["plain"] for seconds in rounds)
    share = (n_recorded * max(0.0, extra) + other_seconds["end"]) / epoch
    once = inputs / (80 * epoch)
    with capsys.disabled():
        print(
            f"\nrecording: {1e3 * extra:+.2f} ms on {n_recorded} of {steps} steps and "
            f"{1e3 * other_seconds['end']:.2f} ms per epoch: {share:.2%} of training; statistics "
            f"of the inputs, once: {once:.2%} of 80 epochs"
        )
    assert share + once < 0.05
