"""Figures that a diagnosis reports for every modality, with or without a finding."""

from __future__ import annotations

import math

from .evidence import Evidence

# Keys of the epoch records that are averaged late in the joint training, per modality.
_LATE = ("norm", "spread", "rank", "gradient", "update", "entropy", "train_uar", "val_uar",
         "weight")  # fmt: skip
_FUSED = ("gradient", "update", "entropy", "train_uar", "val_uar", "agreement")


def signs_of(e: Evidence) -> dict[str, dict[str, float]]:
    """Return figures from late in the training, mean over folds, by modality and name.

    The key ``""`` holds the fused model. ``entropy_gap`` is ln C minus the entropy in nats: 0 for
    uniform predictions. ``alone_val`` and ``alone_train`` are UARs of the modality trained alone.
    Figures that were not recorded are left out.
    """
    chance = math.log(e.classes)
    by_modality: dict[str, dict[str, float]] = {}
    for m in e.modalities:
        signs = {key: e.late(f"{key}.{m}") for key in _LATE}
        signs["entropy_gap"] = chance - signs["entropy"]
        for which in ("raw", "seen"):
            for figure in ("mean", "std", "zeros", "nan"):
                signs[f"{which}_{figure}"] = e.inputs(m, which, figure)
        signs["alone_train"] = e.late_single(m, "train_uar")
        signs["alone_val"] = e.late_single(m, "val_uar")
        by_modality[m] = signs
    fused = {key: e.late(key) for key in _FUSED}
    fused["entropy_gap"] = chance - fused["entropy"]
    by_modality[""] = fused
    return {
        m: {k: float(f"{v:.5g}") for k, v in signs.items() if math.isfinite(v)}
        for m, signs in by_modality.items()
    }
