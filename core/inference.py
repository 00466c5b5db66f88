"""What a trained model says about clips."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .features import Features, Indices, batches
from .model import FusionModel

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model says about some clips, in the order in which they were asked for.

    Attributes
    ----------
    probabilities : array
        (n, C) float32.
    unimodal : dict of array
        Probabilities of each probe, (n, C), by modality; empty for baselines.
    weights : dict of array
        Weight of each modality for each clip, (n,); empty where the strategy has none.
    """

    probabilities: FloatArray
    unimodal: dict[str, FloatArray]
    weights: dict[str, FloatArray]


def autocast(
    device: torch.device, precision: torch.dtype
) -> contextlib.AbstractContextManager[object]:
    """Mixed precision on `device`, or none for float32."""
    if precision is torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, precision)


@torch.no_grad()
def predict(
    model: FusionModel,
    features: Features,
    indices: Indices,
    precision: torch.dtype = torch.float32,
    *,
    batch_size: int = 64,
) -> Predictions:
    """Probabilities of the model for the clips `indices`, in evaluation mode."""
    model.eval()
    fused: list[Tensor] = []
    unimodal: dict[str, list[Tensor]] = {}
    weights: list[Tensor] = []
    for part in batches(indices, batch_size, None):
        inputs, _ = features.batch(part)
        with autocast(features.device, precision):
            encoded = model.encode(model.standardised(inputs))
            fused.append(model.fuse(encoded).float().softmax(dim=1))
            for m, logits in model.probe(encoded).items():
                unimodal.setdefault(m, []).append(logits.float().softmax(dim=1))
            weight = model.strategy.modality_weights(model.strategy_inputs(encoded))
        if weight is not None:
            weights.append(weight.float())
    by_modality = torch.cat(weights).T.cpu().numpy() if weights else ()  # (M, n)
    return Predictions(
        torch.cat(fused).cpu().numpy(),
        {m: torch.cat(parts).cpu().numpy() for m, parts in unimodal.items()},
        dict(zip(model.modalities, by_modality, strict=False)),
    )
