"""A whole training with every installed balancer; `pytest -k cuda` runs it on a GPU."""

import math

import numpy as np
import pytest
import torch
from arrays import Rows

from fusion import Balancer, Modality
from fusion.core.contracts.errors import UserError
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.data.features import Features
from fusion.core.registry.registry import Registry
from fusion.core.training.baselines import frozen
from fusion.core.training.model import BranchSpec, ModelSpec, build_model
from fusion.core.training.trainer import Trainer

REGISTRY = Registry()
NAMES = [entry.name for entry in REGISTRY.entries("balancer")]
CONFIG = TrainConfig(epochs=3, batch_size=12, dim=8, lr=3e-3)
TRAIN, VAL = np.arange(24), np.arange(36, 48)
# Parameters that make late rules act within three epochs.
EARLY = {"opm": {"warmup": 0}, "arl": {"start": 0}, "smv": {"start": 1}, "relearn": {"every": 1},
         "gblend": {"epochs": 1}, "greedy": {"warmup": 0},
         "reconboost": {"turn": 1, "common": 1}}  # fmt: skip
# Cosines replace a last linear layer, which a pool of log-probabilities doesn't have.
REFUSED = {("mmcosine", "gated")}


def clips(device, absent=False):
    """Return 48 clips of three classes, with two images of one size and a vector.

    If `absent`, every third clip lacks the vector, and its entries are NaN.
    """
    rng = np.random.default_rng(0)
    targets = np.arange(48) % 3
    axes = ("channel", "frequency", "time")
    modalities = {"a": Modality("a", (1, 16, 16), axes), "b": Modality("b", (2, 16, 16), axes),
                  "c": Modality("c", (5,))}  # fmt: skip
    arrays = {m: rng.normal(size=(48, *x.shape)).astype(np.float32) for m, x in modalities.items()}
    for array in arrays.values():
        array.reshape(48, -1)[np.arange(48), targets] += 3.0
    flags = np.arange(48) % 3 == np.arange(48) // 3 % 3
    if absent:
        arrays["c"][flags] = np.nan
    return Features(modalities, {m: Rows(a) for m, a in arrays.items()}, targets,
                    torch.device(device), resident_bytes=10**9,
                    absent={"c": flags} if absent else None)  # fmt: skip


def spec(features, strategy, adapters=()):
    branches = tuple(
        BranchSpec(m, "cnn" if m.axes else "mlp", {"blocks": 2, "channels": 4} if m.axes else {})
        for m in features.modalities.values()
    )
    return ModelSpec(branches, 3, CONFIG.dim, strategy, {}, adapters)


def trained(name, strategy, device, absent=False):
    features = clips(device, absent)
    cls = REGISTRY.balancer(name)
    balancer = cls(**EARLY.get(name, {}))
    adapters = ((name, {}),) if cls.adapt is not Balancer.adapt else ()
    described = spec(features, strategy, adapters)
    model = build_model(described, REGISTRY).to(device)
    baselines = {
        m: frozen(m, build_model(described.single(m), REGISTRY, 1).to(device), 0.5 + i / 10)
        for i, m in enumerate(features.modalities)
    }
    return Trainer(model, features, TRAIN, VAL, CONFIG, balancers=[balancer], baselines=baselines)


@pytest.mark.parametrize(
    ("strategy", "absent"),
    [("concat", False), ("gated", False), ("gated", True),
     # test_absent_balancers.py tests every balancer with a strategy without support for absence.
     pytest.param("concat", True, marks=pytest.mark.slow)],
)  # fmt: skip
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device"))],
)  # fmt: skip
def test_a_whole_training(name, strategy, device, absent):
    try:
        trainer = trained(name, strategy, device, absent)
    except UserError as error:
        if (name, strategy) in REFUSED:
            pytest.skip(f"{name}: {error.message}")
        assert error.hint and "pip install" in error.hint
        pytest.skip(f"{name}: {error.message}")
    assert (name, strategy) not in REFUSED
    history = trainer.fit().history
    assert len(history) == 3
    assert all(math.isfinite(record["train_loss"]) for record in history)
    assert all(torch.isfinite(t).all() for t in trainer.model.state_dict().values())
    own = {k: v for k, v in history[-1].items() if k.startswith(f"{name}.")}
    assert all(math.isfinite(v) for v in own.values())
