"""Benchmarks that compare.py runs under two versions, each in a separate process.

python benchmarks/compared.py NAME

Prints, as JSON, the median seconds of one call and a summary of its arrays, or the reason why this
version of the package can't run the benchmark. The code only uses public or long unchanged parts of
the package, so that older versions can run it.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import speech

Call = Callable[[], object]
Prepared = tuple[Call, int]  # the call that is timed, and the number of rounds


def extract_mel(folder: Path) -> Prepared:
    from fusion import Recording
    from fusion.plugins.extractors.mel import Mel

    # Explicit parameters, because version 0.1 had other defaults.
    extractor = Mel(n_mels=128, hop=256, frames=256)
    recording = Recording(speech.chirp(folder / "a.wav", 3.7))
    return lambda: extractor.extract(recording), 60


def extract_levelset(folder: Path) -> Prepared:
    from fusion import Recording
    from fusion.plugins.extractors.levelset import LevelSet

    extractor, recording = LevelSet(), Recording(speech.chirp(folder / "a.wav", 3.7))
    return lambda: extractor.extract(recording), 30


def extract_persistence(folder: Path) -> Prepared:
    from fusion import Recording
    from fusion.plugins.extractors.persistence import Persistence

    extractor, recording = Persistence(), Recording(speech.chirp(folder / "a.wav", 3.7))
    return lambda: extractor.extract(recording), 15


def _cache(folder: Path) -> tuple[Any, Any, list[str]]:
    """Create a cache of 1024 persistence images in 16 shards; return also fingerprint and keys."""
    from fusion.cache import FeatureCache, Fingerprint

    cache = FeatureCache(folder / "cache")
    fingerprint = Fingerprint("images", "1", {}, "float32", (6, 32, 32), {})
    rng = np.random.default_rng(0)
    keys = [f"{n:032x}" for n in range(1024)]
    for start in range(0, len(keys), 64):
        arrays = list(rng.random((64, 6, 32, 32), dtype=np.float32))
        cache.add(fingerprint, keys[start : start + 64], arrays)
    cache.index(fingerprint)
    return cache, fingerprint, keys


def read_batch(folder: Path) -> Prepared:
    cache, fingerprint, keys = _cache(folder)
    array = cache.open(fingerprint, keys)
    orders = itertools.cycle(np.random.default_rng(1).permutation(1024).reshape(16, 64))
    return lambda: [array.take(next(orders)) for _ in range(16)], 40


def open_cache(folder: Path) -> Prepared:
    from fusion.cache import FeatureCache

    cache, fingerprint, keys = _cache(folder)
    return lambda: FeatureCache(cache.root).open(fingerprint, keys), 30


class _Rows:
    """Arrays in memory with the interface that the engine reads."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.nbytes = array, array.nbytes

    def take(self, indices: np.ndarray) -> np.ndarray:
        return np.take(self.array, indices, axis=0)

    def __len__(self) -> int:
        return len(self.array)


def training_step(folder: Path) -> Prepared:
    """Prepare a step of mel and persistence, gated, that gathers, augments, probes and averages."""
    import torch

    from fusion import Clips, Modality

    try:
        from fusion.core.contracts.train_config import TrainConfig
        from fusion.core.data.features import Features
        from fusion.core.registry.registry import Registry
        from fusion.core.training.model import BranchSpec, ModelSpec, build_model
        from fusion.core.training.trainer import Trainer
    except ModuleNotFoundError:  # a baseline with the older layout of modules
        from fusion.core.config import TrainConfig
        from fusion.core.engine import Trainer
        from fusion.core.features import Features
        from fusion.core.model import BranchSpec, ModelSpec, build_model
        from fusion.core.registry import Registry

    torch.set_num_threads(1)
    modalities = {
        "mel": Modality("mel", (1, 128, 256), ("channel", "frequency", "time")),
        "images": Modality("images", (6, 32, 32), ("channel", "birth", "persistence")),
    }
    rng = np.random.default_rng(0)
    arrays = {
        name: _Rows(rng.normal(size=(64, *m.shape)).astype(np.float32))
        for name, m in modalities.items()
    }
    features = Features(
        modalities, arrays, np.arange(64) % 6, torch.device("cpu"), resident_bytes=10**9
    )
    branches = tuple(
        BranchSpec(m, "cnn", {"blocks": blocks})
        for m, blocks in zip(modalities.values(), (7, 3), strict=True)
    )
    model = build_model(ModelSpec(branches, 6, 64, "gated"), Registry())
    clips = np.arange(64)
    trainer = Trainer(model, features, clips, clips, TrainConfig())
    trainer.stepper.recorder = None
    trainer.model.train()
    generator = torch.Generator().manual_seed(0)
    batch = Clips(trainer.train[:16])
    return lambda: trainer.stepper.step(1, 0, batch, generator), 15


def _command(*arguments: str) -> Prepared:
    site = ["-S"] if sys.flags.no_site else []  # with the same option as this process
    command = [sys.executable, *site, "-m", "fusion", *arguments]
    return lambda: subprocess.run(command, check=True, capture_output=True), 3


def start_help(folder: Path) -> Prepared:
    return _command("--help")


def start_cache_info(folder: Path) -> Prepared:
    cache, *_ = _cache(folder)
    return _command("cache", "info", "--cache", str(cache.root))


SUITES: Mapping[str, Mapping[str, Callable[[Path], Prepared]]] = {
    "extraction": {
        "extract mel": extract_mel,
        "extract level sets": extract_levelset,
        "extract persistence": extract_persistence,
    },
    "cache": {"read 16 batches of 64": read_batch, "open a cache": open_cache},
    "training": {"training step": training_step},
    "start": {"fusion --help": start_help, "fusion cache info": start_cache_info},
}


def summary(result: object) -> list[float]:
    """Return the mean and deviation of one or several arrays; of anything else an empty list."""
    arrays = result if isinstance(result, list) else [result]
    if not all(isinstance(array, np.ndarray) for array in arrays):
        return []
    numbers = np.concatenate([np.ravel(array) for array in arrays])
    return [float(numbers.mean(dtype=np.float64)), float(numbers.std(dtype=np.float64))]


def measure(name: str) -> dict[str, Any]:
    """Run a benchmark; return ``{"seconds": ..., "result": ...}`` or ``{"reason": ...}``."""
    prepare = next(suite[name] for suite in SUITES.values() if name in suite)
    with tempfile.TemporaryDirectory() as folder:
        try:
            call, rounds = prepare(Path(folder))
            result = summary(call())
        except Exception as error:  # an older version may lack anything
            message = getattr(error, "stderr", b"") or str(error).encode()
            lines = message.decode(errors="replace").strip().splitlines()
            return {"reason": f"{type(error).__name__}: {lines[-1] if lines else ''}"}
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
    return {"seconds": statistics.median(times), "result": result}


if __name__ == "__main__":
    import fusion

    print(json.dumps({**measure(sys.argv[1]), "package": fusion.__file__}))
