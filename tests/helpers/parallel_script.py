"""One of two processes that train together for test_distributed.py; the variable RANK is set."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from arrays import Rows

from fusion import Balancer, Modality
from fusion.core.contracts.errors import UserError
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.data.features import Features
from fusion.core.data.windows import ClipRows
from fusion.core.registry.registry import Registry
from fusion.core.training.baselines import frozen
from fusion.core.training.hardware import distributed
from fusion.core.training.model import BranchSpec, ModelSpec, build_model
from fusion.core.training.trainer import Trainer

CONFIG = TrainConfig(epochs=2, batch_size=12, dim=8, lr=3e-3, precision="float32", patience=0)
TRAIN, VAL = np.arange(35), np.arange(35, 48)
# Parameters that make late rules act within two epochs.
EARLY = {"opm": {"warmup": 0}, "arl": {"start": 0}, "smv": {"start": 1}, "relearn": {"every": 1},
         "gblend": {"epochs": 1}, "greedy": {"warmup": 0},
         "reconboost": {"turn": 1, "common": 1}}  # fmt: skip


def clips(kind):
    """Return 48 clips of three classes: an image and a vector, which every third clip may lack.

    `kind` is "absent" if clips lack the vector, and "windows" if clips have two or three windows.
    """
    rng = np.random.default_rng(0)
    targets = np.arange(48) % 3
    modalities = {"a": Modality("a", (1, 16, 16), ("channel", "frequency", "time")),
                  "b": Modality("b", (5,))}  # fmt: skip
    arrays = {m: rng.normal(size=(48, *x.shape)).astype(np.float32) for m, x in modalities.items()}
    for array in arrays.values():
        array.reshape(48, -1)[np.arange(48), targets] += 3.0
    flags = np.arange(48) % 3 == np.arange(48) // 3 % 3
    rows = None
    if kind == "windows":
        counts = 2 + np.arange(48) % 2
        arrays = {m: np.repeat(array, counts, axis=0) for m, array in arrays.items()}
        arrays["b"] += rng.normal(size=arrays["b"].shape).astype(np.float32)
        rows = ClipRows(np.cumsum([0, *counts]), ("b",))
    return Features(modalities, {m: Rows(a) for m, a in arrays.items()}, targets,
                    torch.device("cpu"), resident_bytes=10**9, rows=rows,
                    absent={"b": flags} if kind == "absent" else None)  # fmt: skip


def trained(registry, strategy, balancer=None, *, kind="", optimizer="sgd"):
    """Return weights and losses of two epochs, without dropout, whose masks differ by process."""
    features = clips(kind)
    branches = tuple(
        BranchSpec(m, "cnn" if m.axes else "mlp",
                   {"blocks": 2, "channels": 4, "dropout": 0.0} if m.axes else {"dropout": 0.0})
        for m in features.modalities.values()
    )  # fmt: skip
    parameters = {"dropout": 0.0} if "dropout" in _parameters(registry.strategy(strategy)) else {}
    adapters, balancers = (), []
    if balancer is not None:
        cls = registry.balancer(balancer)
        balancers = [cls(**EARLY.get(balancer, {}))]
        adapters = ((balancer, {}),) if cls.adapt is not Balancer.adapt else ()
    spec = ModelSpec(branches, 3, CONFIG.dim, strategy, parameters, adapters)
    baselines = {
        m: frozen(m, build_model(spec.single(m), registry, 1), 0.5 + i / 10)
        for i, m in enumerate(features.modalities)
    }
    trainer = Trainer(build_model(spec, registry), features, TRAIN, VAL,
                      replace(CONFIG, optimizer=optimizer), balancers=balancers,
                      baselines=baselines)  # fmt: skip
    history = trainer.fit().history
    return trainer.model.state_dict(), [record["train_loss"] for record in history]


def _parameters(cls):
    from fusion.core.registry.parameters import parameters_of

    return parameters_of(cls)


def all_of(names):
    """Return weights and losses by case, without cases that need a missing package."""
    registry = Registry()
    found = {}
    for name in names:
        strategy, balancer, kind, optimizer = name.split("+")
        try:
            found[name] = trained(registry, strategy, balancer or None, kind=kind,
                                  optimizer=optimizer)  # fmt: skip
        except UserError as error:
            assert error.hint and "pip install" in error.hint, error
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    out, *names = sys.argv[1:]
    with distributed.process_group():
        found = all_of(names)
        if not distributed.leads():
            assert list(distributed.received_tasks()) == []
    torch.save(found, Path(out) / f"{os.environ['RANK']}.pt")
