"""The figures that a diagnosis shows of every modality, whatever the rules make of them."""

from __future__ import annotations

import math

from .evidence import Evidence

# Of a modality in the joint training, late: what it is called in the epochs' records.
_LATE = ("norm", "spread", "rank", "gradient", "update", "entropy", "train_uar", "val_uar",
         "weight")  # fmt: skip
_FUSED = ("gradient", "update", "entropy", "train_uar", "val_uar", "agreement")


def signs_of(e: Evidence) -> dict[str, dict[str, float]]:
    """Modality -> figure -> mean over folds, late in the training; ``""`` is the fused model.

    ``entropy_gap`` is ln C less the entropy: 0 for predictions that say nothing. ``alone_val``
    and ``alone_train`` are of the modality trained alone. What is not known is left out.
    """
    chance = math.log(e.classes)
    found: dict[str, dict[str, float]] = {}
    for m in e.modalities:
        signs = {key: e.late(f"{key}.{m}") for key in _LATE}
        signs["entropy_gap"] = chance - signs["entropy"]
        for which in ("raw", "seen"):
            for figure in ("mean", "std", "zeros", "nan"):
                signs[f"{which}_{figure}"] = e.inputs(m, which, figure)
        signs["alone_train"] = e.late_single(m, "train_uar")
        signs["alone_val"] = e.late_single(m, "val_uar")
        found[m] = signs
    fused = {key: e.late(key) for key in _FUSED}
    fused["entropy_gap"] = chance - fused["entropy"]
    found[""] = fused
    return {
        m: {k: float(f"{v:.5g}") for k, v in signs.items() if math.isfinite(v)}
        for m, signs in found.items()
    }
