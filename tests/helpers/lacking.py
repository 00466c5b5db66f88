"""The small problem of fusion's own checks, with a modality absent in some clips."""

import numpy as np
import torch
from arrays import Rows

from fusion.core.data.features import Features
from fusion.core.testing.checks.problem import small_features


def lacking(modality="face", every=3, poison=np.nan):
    """Return the small problem; every n-th clip lacks a modality, which is filled with `poison`."""
    features = small_features(2)
    flags = np.arange(len(features)) % every == 0
    arrays = {m: rows.array.copy() for m, rows in features.arrays.items()}
    arrays[modality][flags] = poison
    return Features(
        features.modalities,
        {m: Rows(array) for m, array in arrays.items()},
        features.targets.numpy(),
        torch.device("cpu"),
        resident_bytes=10**9,
        absent={modality: flags},
    )
