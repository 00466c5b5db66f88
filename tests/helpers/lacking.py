"""The small problem of fusion's own checks, with a modality that some clips lack."""

import numpy as np
import torch
from arrays import Rows

from fusion.core.data.features import Features
from fusion.core.testing.checks.problem import small_features


def lacking(modality="face", every=3, poison=np.nan):
    """The small problem with a modality absent in every so-manieth clip, `poison` in its place."""
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
