"""Artificial evidence of a run, with chosen values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fusion.core.analysis.diagnosis.evidence import Curve, Evidence, Fold
from fusion.core.contracts import Clip, Modality, Recording
from fusion.core.data.dataset import RunData
from fusion.core.data.splits import Split
from fusion.core.runs.config import RunConfig
from fusion.core.training.inference import Predictions
from fusion.core.training.model import BranchSpec, ModelSpec

CLASSES = 4
# Values in late epochs of a healthy joint training of a and b.
HEALTHY: dict[str, float] = {
    "train_uar": 0.9, "val_uar": 0.7, "train_loss": 0.5, "entropy": 0.5, "update": 1e-3,
    "gradient": 1.0, "agreement": 0.6,
    **{f"{key}.{m}": value for m in "ab" for key, value in {
        "train_uar": 0.85, "val_uar": 0.65, "norm": 4.0, "spread": 3.0, "rank": 10.0,
        "gradient": 1.0, "update": 1e-3, "entropy": 0.8,
    }.items()},
}  # fmt: skip
INPUTS = {"min": -3.0, "max": 3.0, "mean": 0.0, "std": 1.0, "zeros": 0.0, "nan": 0.0}


def clips_of(speakers: int, each: int) -> tuple[Clip, ...]:
    return tuple(
        Clip(Recording(Path(f"s{s}/{i}.wav")), f"s{s}/{i}", f"c{i % CLASSES}", f"s{s}", "made")
        for s in range(speakers)
        for i in range(each)
    )


def evidence(
    changes: Mapping[str, float] | None = None,
    *,
    first: Mapping[str, float] | None = None,
    alone: Mapping[str, Mapping[str, float]] | None = None,
    seen: Mapping[str, Mapping[str, float]] | None = None,
    layers: Mapping[str, Mapping[str, list[float]]] | None = None,
    said: Mapping[str, np.ndarray] | None = None,
    clips: tuple[Clip, ...] | None = None,
    keys: tuple[str, ...] | None = None,
    split: Split | None = None,
    probes: Mapping[str, np.ndarray] | None = None,
    weights: Mapping[str, float] | None = None,
    absent: Mapping[str, np.ndarray] | None = None,
    layer_sizes: Mapping[str, Mapping[str, int]] | None = None,
) -> Evidence:
    """Return evidence of a run with two modalities, one fold and ten equal epochs.

    `changes` replaces values of every epoch, and `first` those of the first epoch.

    `said` is model -> (n_val, C) probabilities, and `probes` is modality -> probabilities of the
    fused model's probe; by default every prediction is right. `weights` are those of the strategy,
    equal for all clips.
    """
    clips = clips or clips_of(12, 20)
    n = len(clips)
    split = split or Split(
        np.arange(0, n // 2), np.arange(n // 2, 3 * n // 4), np.arange(3 * n // 4, n), None, True
    )
    targets = np.array([int(clip.label[1]) for clip in clips])
    records: list[dict[str, Any]] = [{**HEALTHY, **(changes or {})} for _ in range(10)]
    records[0].update(first or {})
    records[-1]["layers"] = layers or {}
    inputs = {m: {"raw": {**INPUTS, **(seen or {}).get(m, {})},
                  "seen": {**INPUTS, **(seen or {}).get(m, {})}} for m in "ab"}  # fmt: skip
    single = {"train_uar": 0.9, "val_uar": 0.65}
    right = np.eye(CLASSES, dtype=np.float32)[targets[split.val]] * 0.9 + 0.025
    predictions = {
        model: Predictions(
            (said or {}).get(model, right),
            {"a": right, "b": right, **(probes or {})},
            {m: np.full(len(right), w, np.float32) for m, w in (weights or {}).items()},
        )
        for model in ("a", "b", "fused")
    }
    fold = Fold(
        0,
        split,
        Curve(records, {"inputs": inputs, "step": 1000}),
        {m: Curve([{**single, **(alone or {}).get(m, {})}] * 10, {}) for m in "ab"},
        predictions,
    )
    spec = ModelSpec(
        tuple(BranchSpec(Modality(m, (3,)), "mlp") for m in "ab"), CLASSES, 64, "concat"
    )
    data = RunData(
        clips,
        keys or tuple(str(i) for i in range(n)),
        targets,
        tuple(f"c{i}" for i in range(CLASSES)),
        (split,),
        absent or {},
    )
    return Evidence(RunConfig(("made",)), spec, data, [fold], layer_sizes=layer_sizes or {})
