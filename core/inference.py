"""What a trained model says about clips."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .contracts import Outputs, Strategy
from .features import Features, Indices, batches
from .model import Encoded, FusionModel, evaluating

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


def encoded(
    model: FusionModel,
    features: Features,
    indices: Indices,
    precision: torch.dtype = torch.float32,
    *,
    batch_size: int = 64,
) -> Iterator[tuple[Encoded, Tensor]]:
    """What the branches make of the clips `indices`, and their classes, batch by batch.

    In evaluation mode while it goes on; the networks may be used under the same arithmetic.
    """
    for part in batches(indices, batch_size, None):
        inputs, labels = features.batch(part)
        # A generator holds no mode over a yield: whoever consumes it may train in between.
        with evaluating(model), autocast(features.device, precision), torch.no_grad():
            found = model.encode(model.standardised(inputs))
        yield found, labels


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
    fused: list[Tensor] = []
    unimodal: dict[str, list[Tensor]] = {}
    weights: list[Tensor] = []
    for found, _ in encoded(model, features, indices, precision, batch_size=batch_size):
        inputs = model.strategy_inputs(found)
        with evaluating(model), autocast(features.device, precision):
            fused.append(model.fuse(inputs).float().softmax(dim=1))
            for m, logits in model.probe(found).items():
                unimodal.setdefault(m, []).append(logits.float().softmax(dim=1))
            weight = model.strategy.modality_weights(inputs)
        if weight is not None:
            weights.append(weight.float())
    by_modality = torch.cat(weights).T.cpu().numpy() if weights else ()  # (M, n)
    return Predictions(
        torch.cat(fused).cpu().numpy(),
        {m: torch.cat(parts).cpu().numpy() for m, parts in unimodal.items()},
        dict(zip(model.modalities, by_modality, strict=False)),
    )


@torch.no_grad()
def outputs(
    model: FusionModel, features: Features, indices: Indices, precision: torch.dtype
) -> Outputs:
    """Everything the model makes of the clips `indices`, in evaluation mode, on the device."""
    rows: list[dict[str, Tensor]] = []
    labels: list[Tensor] = []
    for found, classes in encoded(model, features, indices, precision):
        with evaluating(model), autocast(features.device, precision):
            row = {"": model.fuse(model.strategy_inputs(found))}
            row |= {f"z.{m}": z for m, z in found.embeddings.items()}
            row |= {f"p.{m}": scores for m, scores in model.probe(found).items()}
        rows.append(row)
        labels.append(classes)
    joined = {key: torch.cat([row[key] for row in rows]).float() for key in rows[0]}
    return Outputs(
        indices,
        torch.cat(labels),
        {m: joined[f"z.{m}"] for m in model.modalities},
        joined[""],
        {m: joined[f"p.{m}"] for m in model.modalities if f"p.{m}" in joined},
    )


@torch.no_grad()
def calibrate(
    model: FusionModel, features: Features, indices: Indices, precision: torch.dtype
) -> None:
    """Let a strategy that chooses something on validation do so."""
    if type(model.strategy).calibrate is Strategy.calibrate:
        return
    found = list(encoded(model, features, indices, precision))
    inputs = {
        m: torch.cat([model.strategy_inputs(e)[m] for e, _ in found]) for m in model.modalities
    }
    with evaluating(model), autocast(features.device, precision):
        model.strategy.calibrate(inputs, torch.cat([labels for _, labels in found]))
