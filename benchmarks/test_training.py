"""Training step: the network as it is usually written against ours, in one run.

pytest benchmarks/test_training.py -s
"""

import statistics
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fusion import Clips, Gradients, Modality
from fusion.core.config import TrainConfig
from fusion.core.device import choose_precision
from fusion.core.engine import Trainer
from fusion.core.features import Features
from fusion.core.inference import said_of
from fusion.core.inputs import input_statistics
from fusion.core.model import BranchSpec, ModelSpec, build_model
from fusion.core.recorder import validation_record
from fusion.core.registry import Registry

BATCH, CLASSES, CLIPS = 16, 6, 64
MEL = Modality("mel", (1, 128, 256), ("channel", "frequency", "time"))
IMAGES = Modality("persistence", (6, 32, 32), ("channel", "birth", "persistence"))


class Rows:
    def __init__(self, array):
        self.array, self.nbytes = array, array.nbytes

    def take(self, indices):
        return np.take(self.array, indices, axis=0)

    def __len__(self):
        return len(self.array)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plain_step():
    """Seven blocks of convolution, ReLU, batch norm, pooling; float32; Adam."""
    layers, channels = [], 1
    for _ in range(7):
        layers += [nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(32),
                   nn.MaxPool2d(2)]  # fmt: skip
        channels = 32
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES))
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(BATCH, *MEL.shape), torch.randint(0, CLASSES, (BATCH,))

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def our_trainer(modalities, strategy, balancers=(), precision="auto"):
    registry = Registry()
    rng = np.random.default_rng(0)
    arrays = {
        m.name: Rows(rng.normal(size=(CLIPS, *m.shape)).astype(np.float32)) for m in modalities
    }
    features = Features({m.name: m for m in modalities}, arrays, np.arange(CLIPS) % CLASSES,
                        torch.device("cpu"), resident_bytes=10**9)  # fmt: skip
    branches = tuple(BranchSpec(m, "cnn", {"blocks": 7 if m is MEL else 3}) for m in modalities)
    model = build_model(ModelSpec(branches, CLASSES, 64, strategy), registry)
    train = np.arange(CLIPS)
    return Trainer(model, features, train, train, TrainConfig(precision=precision),
                   balancers=[registry.balancer(b)() for b in balancers])  # fmt: skip


def our_step(modalities, strategy, balancers=(), precision="auto", recorded=False):
    """A whole step of the engine: gather, standardise, augment, probes, balancer, average."""
    trainer = our_trainer(modalities, strategy, balancers, precision)
    if not recorded:  # as most steps are
        trainer.stepper.recorder = None
    generator = torch.Generator().manual_seed(0)
    trainer.model.train()
    clips = Clips(trainer.train[:BATCH])
    return lambda: trainer.stepper.step(1, 0, clips, generator)


def median_seconds(step, rounds=7):
    for _ in range(2):
        step()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


STEPS = {
    "plain mel": plain_step,
    "mel": lambda: our_step([MEL], None),
    "mel, float32": lambda: our_step([MEL], None, precision="float32"),
    "gated": lambda: our_step([MEL, IMAGES], "gated"),
    **{
        f"gated + {name}": lambda name=name: our_step([MEL, IMAGES], "gated", [name])
        for name in ("gradscale", "unimodal_loss", "agm", "mmpareto", "mla")
    },
}


@pytest.mark.parametrize("name", STEPS)
def test_training_step(benchmark, name):
    step = STEPS[name]()
    benchmark.extra_info["clips per step"] = BATCH
    benchmark.pedantic(step, rounds=5, warmup_rounds=2)


def test_ratio_to_the_plain_network(capsys):
    times = {name: median_seconds(make()) for name, make in STEPS.items()}
    with capsys.disabled():
        print(
            f"\ntraining, one thread, batch {BATCH}; auto is "
            f"{choose_precision('auto', torch.device('cpu'))}"
        )
        for name, seconds in times.items():
            ratio = times["plain mel"] / seconds
            of_gated = f"   {seconds / times['gated']:5.2f} of gated" if "+" in name else ""
            print(
                f"  {name:<22} {1e3 * seconds / BATCH:6.2f} ms per clip   "
                f"{ratio:5.2f} x plain{of_gated}"
            )
    # Not a time limit: the point of the order, format and precision of the blocks.
    assert times["mel"] < times["plain mel"]


def test_recording_costs_less_than_a_twentieth(capsys):
    """What a training records of itself, beside an epoch of the reference system's size."""
    steps, looked = 36, 4  # 576 clips; of each epoch so many steps are looked at
    plain, watched = (
        our_step([MEL, IMAGES], "gated"),
        our_step([MEL, IMAGES], "gated", recorded=True),
    )
    extra = statistics.median(
        median_seconds(watched, 3) - median_seconds(plain, 3) for _ in range(5)
    )
    trainer = our_trainer([MEL, IMAGES], "gated")
    said, _ = said_of(trainer.model, trainer.features, trainer.val, torch.float32)
    end = median_seconds(lambda: validation_record(said))
    inputs = median_seconds(
        lambda: input_statistics(trainer.features, trainer.train, trainer.model), 3
    ) * 576 / CLIPS  # fmt: skip
    epoch = steps * median_seconds(plain)
    share = (looked * max(0.0, extra) + end) / epoch
    once = inputs / (80 * epoch)
    with capsys.disabled():
        print(
            f"\nrecording: {1e3 * extra:.2f} ms on {looked} of {steps} steps and "
            f"{1e3 * end:.2f} ms per epoch: {share:.2%} of training; statistics of the inputs, "
            f"once: {once:.2%} of 80 epochs"
        )
    assert share + once < 0.05


def test_cost_of_probes_and_balancers_is_small(benchmark):
    """Gradient norms and factors of one step, alone."""
    balancer = Registry().balancer("gradscale")()
    balancer.setup(SimpleNamespace(modalities=["a", "b"]))
    grads = {m: [torch.randn(64, 64) for _ in range(20)] for m in "ab"}
    benchmark(lambda: balancer.gradients(Gradients(grads), None))
