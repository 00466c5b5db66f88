"""Training steps never wait for the device.

Torch's device without values ("meta") raises an error if code reads a value, and `Copies` records
copies from the CPU. On a GPU the same is tested with CUDA's own check below.
"""

import contextlib

import numpy as np
import pytest
import torch
from arrays import Rows
from torch.utils._python_dispatch import TorchDispatchMode

from fusion import Balancer, Clips, Modality
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.data.features import Features
from fusion.core.registry.parameters import make
from fusion.core.registry.registry import Registry
from fusion.core.training.baselines import frozen
from fusion.core.training.context import TrainingContext
from fusion.core.training.model import BranchSpec, ModelSpec, build_model
from fusion.core.training.optim import Optimizer
from fusion.core.training.trainer import Trainer

SOUND = Modality("sound", (1, 8, 12), ("channel", "frequency", "time"))
IMAGE = Modality("image", (2, 6, 6))
CLIPS, CLASSES = 24, 3
REGISTRY = Registry()
EVERY = sorted(entry.name for entry in REGISTRY.entries("balancer"))
# This balancer uses the aggregators of another library, which read values.
WAITING = {"aggregate"}
_WAITS = pytest.mark.skip(reason="its library looks at the numbers")
# Balancers that can't run on meta: their epochs begin with measurements, or they need autocast.
ON_CUDA_ONLY = {"gblend", "mmcosine"}


class Copies(TorchDispatchMode):
    """Records copies from the CPU that wait for the device."""

    def __init__(self):
        super().__init__()
        self.waited = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func._overloadpacket
        if name is torch.ops.aten._to_copy:
            self._look(args[0], out, (kwargs or {}).get("non_blocking", False))
        elif name is torch.ops.aten.copy_:
            self._look(args[1], args[0], args[2] if len(args) > 2 else False)
        return out

    def _look(self, source, target, non_blocking):
        if source.device.type == "cpu" != target.device.type and not non_blocking:
            self.waited.append(tuple(source.shape))


def trainer_on(device, balancers=(), *, optimizer="adamw", absent=False):
    registry, rng = REGISTRY, np.random.default_rng(0)
    created = [make(registry.balancer(b), settings={}, owner=b) for b in balancers]
    modalities = (SOUND, IMAGE)
    branches = tuple(BranchSpec(m, "cnn", {"blocks": 1, "channels": 4}) for m in modalities)
    adapters = tuple((b.name, {}) for b in created if type(b).adapt is not Balancer.adapt)
    spec = ModelSpec(branches, CLASSES, 6, "concat", adapters=adapters)
    lacking = {"image": np.arange(CLIPS) % 4 == 0} if absent else None
    features = Features(
        {m.name: m for m in modalities},
        {m.name: Rows(rng.normal(size=(CLIPS, *m.shape)).astype(np.float32)) for m in modalities},
        np.arange(CLIPS) % CLASSES,
        torch.device(device),
        resident_bytes=10**9,
        absent=lacking,
    )
    baselines = {
        m.name: frozen(m.name, build_model(spec.single(m.name), registry).to(device), 0.5)
        for m in modalities
    }
    config = TrainConfig(epochs=9, batch_size=8, dim=6, optimizer=optimizer)
    everything = np.arange(CLIPS)
    return Trainer(
        build_model(spec, registry).to(device), features, everything, everything, config,
        balancers=created, baselines=baselines,
    )  # fmt: skip


def take_steps(trainer, epochs, around):
    """Take two steps per epoch, and watch the second one.

    The first step may set something up. The index of the second is 10, a multiple of five and ten,
    so that rules with these periods act in it.
    """
    generator = torch.Generator().manual_seed(0)
    for epoch in epochs:
        trainer._enter(trainer._stage(epoch))
        for balancer in trainer.balancers:
            balancer.epoch_start(epoch)
        for index, watched in ((0, contextlib.nullcontext()), (10, around)):
            clips = Clips(trainer.train[index : index + 8])
            with watched:
                trainer.stepper.step(epoch, index, clips, generator)


CASES = [
    *(pytest.param(n, {}, id=n, marks=_WAITS if n in WAITING else ()) for n in EVERY),
    pytest.param(None, {}, id="none"),
    pytest.param(None, {"absent": True}, id="absent"),
    pytest.param("dropout", {"absent": True}, id="dropout-absent"),
]
SGD = [pytest.param(n, {"optimizer": "sgd"}, id=f"sgd-{n}") for n in (None, "gradscale")]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_no_step_reads_a_value_or_waits_for_a_copy(name, settings, monkeypatch):
    if name in ON_CUDA_ONLY:
        pytest.skip("only on CUDA")
    # Class weights are counted before the first step, where waiting does no harm.
    weights = torch.ones(CLASSES)
    monkeypatch.setattr(TrainingContext, "_class_weights", lambda context: weights)
    # Torch has other optimiser implementations for each device.
    monkeypatch.setattr(Optimizer, "step", lambda *passed: None)
    trainer = trainer_on("meta", [name] if name else [], **settings)
    copies = Copies()
    take_steps(trainer, (1, 2, 8), copies)
    assert copies.waited == []


def test_a_wait_is_detected():
    with pytest.raises(RuntimeError, match="meta"):
        float(torch.ones(3, device="meta").sum())
    with Copies() as copies:
        torch.ones(3).to("meta")
        torch.ones(4).to("meta", non_blocking=True)
        torch.empty(5, device="meta").copy_(torch.ones(5))
    assert copies.waited == [(3,), (5,)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("name", "settings"), CASES + SGD)
def test_no_step_waits_for_a_cuda_device(name, settings):
    trainer = trainer_on("cuda", [name] if name else [], **settings)
    take_steps(trainer, (1, 2, 8), Refusing())


class Refusing:
    """A context in which CUDA refuses operations that wait."""

    def __enter__(self):
        torch.cuda.set_sync_debug_mode("error")

    def __exit__(self, *raised):
        torch.cuda.set_sync_debug_mode("default")
