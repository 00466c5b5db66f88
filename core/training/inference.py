"""What a trained model says about clips."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...cache.shards.files import written_whole
from ..contracts import Outputs, Strategy
from ..contracts.errors import RunError
from ..contracts.model import Encoded, Presence
from ..data.features import Features, Indices, batches
from ..toolkit.modules import evaluating
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

    def save(self, path: Path, weights: str) -> None:
        """Write a file of numpy's, whole or not at all.

        `weights` names those that said it: a digest of their file.

        Raises
        ------
        StorageError
            When the disk is full or the folder can't be written.
        """
        arrays: dict[str, Any] = {"fused": self.probabilities, "weights": np.array(weights)}
        arrays |= {f"unimodal.{m}": rows for m, rows in self.unimodal.items()}
        arrays |= {f"weight.{m}": rows for m, rows in self.weights.items()}
        # Through a file: given a name, numpy appends its own ending.
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path, weights: str) -> Predictions | None:
        """Read what :meth:`save` wrote; None where other weights said it.

        Raises
        ------
        RunError
            When the file is damaged.
        """
        try:
            with np.load(path) as file:
                arrays = dict(file)
            if str(arrays.get("weights")) != weights:
                return None
            by_name = {
                kind: {k.partition(".")[2]: v for k, v in arrays.items() if k.startswith(kind)}
                for kind in ("unimodal.", "weight.")
            }
            return cls(arrays["fused"], by_name["unimodal."], by_name["weight."])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(
                f"{path} can't be read: {error!r}",
                hint="Delete it; fusion run --resume makes it again.",
            ) from error


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
) -> Iterator[tuple[Encoded, Tensor, Presence | None]]:
    """What the branches make of the clips `indices`, their classes, and which modalities they
    have, batch by batch.

    In evaluation mode while it goes on; the networks may be used under the same arithmetic.
    """
    for part in batches(indices, batch_size, None):
        inputs, labels = features.batch(part)
        presence = features.presence(part)
        # A generator holds no mode over a yield: whoever consumes it may train in between.
        with evaluating(model), autocast(features.device, precision), torch.no_grad():
            found = model.encode(model.standardised(inputs), presence)
        yield found, labels, presence


@torch.no_grad()
def predict(
    model: FusionModel,
    features: Features,
    indices: Indices,
    precision: torch.dtype = torch.float32,
    *,
    batch_size: int = 64,
    prior: FloatArray | None = None,
) -> Predictions:
    """Probabilities of the model for the clips `indices`, in evaluation mode.

    Parameters
    ----------
    prior : array, optional
        (C,): what is said of a clip that has none of the model's modalities.
    """
    said, weights = said_of(model, features, indices, precision, batch_size=batch_size)
    by_modality = () if weights is None else weights.T.cpu().numpy()  # (M, n)
    probabilities = said.logits.softmax(dim=1).cpu().numpy()
    unknown = ~np.isin(indices, features.clips_with(indices))
    if prior is not None and unknown.any():
        probabilities[unknown] = prior
    return Predictions(
        probabilities,
        {m: scores.softmax(dim=1).cpu().numpy() for m, scores in said.unimodal.items()},
        dict(zip(model.modalities, by_modality, strict=False)),
    )


def outputs(
    model: FusionModel,
    features: Features,
    indices: Indices,
    precision: torch.dtype,
    *,
    subsets: bool = False,
) -> Outputs:
    """Everything the model makes of the clips `indices`, in evaluation mode, on the device."""
    return said_of(model, features, indices, precision, subsets=subsets)[0]


@torch.no_grad()
def said_of(
    model: FusionModel,
    features: Features,
    indices: Indices,
    precision: torch.dtype,
    *,
    subsets: bool = False,
    batch_size: int = 64,
) -> tuple[Outputs, Tensor | None]:
    """The outputs, and the weight of each modality for each clip where there are any, (n, M)."""
    names = model.modalities
    sets = [s for size in range(len(names) + 1) for s in combinations(names, size)]
    sets = sets if subsets else []
    rows: list[dict[str, Tensor]] = []
    labels: list[Tensor] = []
    every_batch = encoded(model, features, indices, precision, batch_size=batch_size)
    for found, classes, presence in every_batch:
        has = None if presence is None else presence.table
        with evaluating(model), autocast(features.device, precision):
            inputs = model.strategy_inputs(found)
            row = {"": model.fuse(inputs, has)}
            row |= {f"z.{m}": z for m, z in found.embeddings.items()}
            row |= {f"p.{m}": scores for m, scores in model.probe(found).items()}
            for index, shown in enumerate(sets):
                there = torch.tensor([m in shown for m in names], device=classes.device)
                there = there.expand(len(classes), -1)
                row[f"s.{index}"] = model.fuse(inputs, there if has is None else there & has)
            weights = model.strategy.modality_weights(inputs)
            row |= {} if weights is None else {"w": _of_those_there(weights, has)}
        rows.append(row)
        labels.append(classes)
    joined = {key: torch.cat([row[key] for row in rows]).float() for key in rows[0]}
    said = Outputs(
        indices,
        torch.cat(labels),
        {m: joined[f"z.{m}"] for m in names},
        joined[""],
        {m: joined[f"p.{m}"] for m in names if f"p.{m}" in joined},
        {shown: joined[f"s.{index}"] for index, shown in enumerate(sets)},
        {
            m: torch.from_numpy(~flags[indices]).to(features.device)
            for m, flags in features.absent.items()
        },
    )
    return said, joined.get("w")


def _of_those_there(weights: Tensor, present: Tensor | None) -> Tensor:
    """Weights (B, M) of the modalities that a clip has, summing to 1."""
    if present is None:
        return weights
    weights = weights.float() * present
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-12)


@torch.no_grad()
def calibrate(
    model: FusionModel, features: Features, indices: Indices, precision: torch.dtype
) -> None:
    """Let a strategy fit to the clips `indices` what must not learn from training clips.

    On the clips that have every modality, where there are any.
    """
    own = type(model.strategy).calibrate is not Strategy.calibrate
    if not own and not model.strategy.held_out_parameters():
        return
    whole = features.complete_clips(indices)
    found = list(encoded(model, features, whole if len(whole) else indices, precision))
    inputs = {
        m: torch.cat([model.strategy_inputs(e)[m] for e, *_ in found]) for m in model.modalities
    }
    with evaluating(model), autocast(features.device, precision):
        model.strategy.calibrate(inputs, torch.cat([labels for _, labels, _ in found]))
