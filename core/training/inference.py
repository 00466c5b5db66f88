"""Predictions and outputs of a trained model."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...cache.guarded_arrays import read_npz
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
    """Predictions of a model for some clips, in the order in which the clips were requested.

    Attributes
    ----------
    probabilities : array
        (n, C) float32, class probabilities.
    unimodal : dict of array
        Class probabilities of each probe, (n, C), by modality; empty for baselines.
    weights : dict of array
        Weight of each modality for each clip, (n,), by modality; empty if the strategy has no
        such weights.
    """

    probabilities: FloatArray
    unimodal: dict[str, FloatArray]
    weights: dict[str, FloatArray]

    def save(self, path: Path, weights: str) -> None:
        """Write the predictions to a numpy file, atomically.

        `weights` is the digest of the weights file of the model that made the predictions.

        Raises
        ------
        StorageError
            If the disk is full or the folder can't be written.
        """
        arrays: dict[str, Any] = {"fused": self.probabilities, "weights": np.array(weights)}
        arrays |= {f"unimodal.{m}": rows for m, rows in self.unimodal.items()}
        arrays |= {f"weight.{m}": rows for m, rows in self.weights.items()}
        # numpy gets an open file, because numpy would append a suffix to a path.
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path, weights: str) -> Predictions | None:
        """Read a file of :meth:`save`; return None if its digest of weights differs from `weights`.

        Raises
        ------
        RunError
            If the file is missing or damaged.
        """
        try:
            arrays = read_npz(path)
            if str(arrays.get("weights")) != weights:
                return None
            by_name = {
                kind: {k.partition(".")[2]: v for k, v in arrays.items() if k.startswith(kind)}
                for kind in ("unimodal.", "weight.")
            }
            return cls(arrays["fused"], by_name["unimodal."], by_name["weight."])
        except (
            OSError, ValueError, KeyError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile,
        ) as error:  # fmt: skip
            raise RunError(
                f"{path} can't be read: {error!r}",
                hint="Delete the file: fusion run --resume then creates it again.",
            ) from error


def autocast(
    device: torch.device, precision: torch.dtype
) -> contextlib.AbstractContextManager[object]:
    """Return a context manager for mixed precision on `device`; no effect for float32."""
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
    rows: Indices | None = None,
) -> Iterator[tuple[Encoded, Tensor, Presence | None]]:
    """Yield the branches' outputs, the classes and the presence of the clips, by batch.

    The branches are in evaluation mode while a batch is encoded. The caller may use the networks
    under the same precision.

    Parameters
    ----------
    rows : array, optional
        (n,) row of the window to read for each of the n `indices`; by default the middle window.
    """
    for part in batches(np.arange(len(indices)), batch_size, None):
        clips = indices[part]
        inputs, labels = features.batch(clips, None if rows is None else rows[part])
        presence = features.presence(clips)
        # The mode is restored before each yield, because the caller may train between batches.
        with evaluating(model), autocast(features.device, precision), torch.no_grad():
            batch = model.encode(model.standardised(inputs), presence)
        yield batch, labels, presence


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
    """Predict the class probabilities of the clips `indices`, in evaluation mode.

    Parameters
    ----------
    prior : array, optional
        (C,): probabilities to return for a clip that has none of the model's modalities.
    """
    out, weights = outputs_and_weights(model, features, indices, precision, batch_size=batch_size)
    by_modality = () if weights is None else weights.T.cpu().numpy()  # (M, n)
    probabilities = out.logits.softmax(dim=1).cpu().numpy()
    without_modality = ~np.isin(indices, features.clips_with(indices))
    if prior is not None and without_modality.any():
        probabilities[without_modality] = prior
    return Predictions(
        probabilities,
        {m: scores.softmax(dim=1).cpu().numpy() for m, scores in out.unimodal.items()},
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
    """Compute the model's outputs for the clips `indices`, in evaluation mode, on the device."""
    return outputs_and_weights(model, features, indices, precision, subsets=subsets)[0]


@torch.no_grad()
def outputs_and_weights(
    model: FusionModel,
    features: Features,
    indices: Indices,
    precision: torch.dtype,
    *,
    subsets: bool = False,
    batch_size: int = 64,
) -> tuple[Outputs, Tensor | None]:
    """Compute the model's outputs and modality weights (n, M), or None without such weights.

    With `subsets`, the strategy is also evaluated on every set of modalities. The probabilities,
    embeddings and weights of a clip with windows are means over its windows; its class scores are
    the logarithms of the mean probabilities.
    """
    names = model.modalities
    sets = [s for size in range(len(names) + 1) for s in combinations(names, size)]
    sets = sets if subsets else []
    rows: list[dict[str, Tensor]] = []
    labels: list[Tensor] = []
    every, position = indices, None
    window_rows: Indices | None = None
    if features.rows is not None:
        window_rows, position = features.rows.every(indices)
        every = indices[position]
    every_batch = encoded(
        model, features, every, precision, batch_size=batch_size, rows=window_rows
    )
    for batch, classes, presence in every_batch:
        has = None if presence is None else presence.table
        with evaluating(model), autocast(features.device, precision):
            inputs = model.strategy_inputs(batch)
            row = {"": model.fuse(inputs, has)}
            row |= {f"z.{m}": z for m, z in batch.embeddings.items()}
            row |= {f"p.{m}": scores for m, scores in model.probe(batch).items()}
            for index, shown in enumerate(sets):
                visible = torch.tensor([m in shown for m in names], device=classes.device)
                visible = visible.expand(len(classes), -1)
                row[f"s.{index}"] = model.fuse(inputs, visible if has is None else visible & has)
            weights = model.strategy.modality_weights(inputs)
            row |= {} if weights is None else {"w": _renormalised(weights, has)}
        rows.append(row)
        labels.append(classes)
    joined = {key: torch.cat([row[key] for row in rows]).float() for key in rows[0]}
    targets = torch.cat(labels)
    if position is not None:
        means = _WindowMeans(position, len(indices), features.device)
        joined = {key: means.of(key, values) for key, values in joined.items()}
        targets = targets[means.first]
    out = Outputs(
        indices,
        targets,
        {m: joined[f"z.{m}"] for m in names},
        joined[""],
        {m: joined[f"p.{m}"] for m in names if f"p.{m}" in joined},
        {shown: joined[f"s.{index}"] for index, shown in enumerate(sets)},
        {
            m: torch.from_numpy(~flags[indices]).to(features.device)
            for m, flags in features.absent.items()
        },
    )
    return out, joined.get("w")


class _WindowMeans:
    """Means over the windows of each clip.

    Parameters
    ----------
    position : array
        (R,) int64, ascending: the clip of each window, from 0 to `clips` - 1.
    """

    def __init__(self, position: Indices, clips: int, device: torch.device) -> None:
        counts = np.bincount(position, minlength=clips)
        self._counts = torch.from_numpy(counts)
        self._several = (self._counts[:, None] > 1).to(device)
        self.first = torch.from_numpy(np.cumsum(counts) - counts).to(device)

    def of(self, key: str, values: Tensor) -> Tensor:
        """Return the values of each clip, (n, K), from the values of each window, (R, K).

        Class scores become the logarithm of the mean probabilities. A clip with one window keeps
        its values.
        """
        if key.startswith("z.") or key == "w":
            return self._mean(values)
        probabilities = self._mean(values.softmax(dim=1))
        smallest = torch.finfo(probabilities.dtype).tiny
        return torch.where(
            self._several, probabilities.clamp_min(smallest).log(), values[self.first]
        )

    def _mean(self, values: Tensor) -> Tensor:
        # On the CPU, because not every device has this operation, and the result must not depend
        # on the order in which a device adds.
        means = torch.segment_reduce(values.cpu(), "mean", lengths=self._counts, axis=0)
        return means.to(values.device)


def _renormalised(weights: Tensor, present: Tensor | None) -> Tensor:
    """Set the weights (B, M) of absent modalities to 0 and rescale each row to sum to 1."""
    if present is None:
        return weights
    weights = weights.float() * present
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-12)


@torch.no_grad()
def calibrate(
    model: FusionModel, features: Features, indices: Indices, precision: torch.dtype
) -> None:
    """Let the strategy fit its held-out parameters to the clips `indices`.

    The fit uses the clips that have every modality, or all clips if no clip has every modality.
    A long clip counts once, with a window that is drawn at random, the same in every call.
    """
    own = type(model.strategy).calibrate is not Strategy.calibrate
    if not own and not model.strategy.held_out_parameters():
        return
    whole = features.complete_clips(indices)
    clips = whole if len(whole) else indices
    rows = features.random_rows(clips, np.random.default_rng(0))
    every_batch = list(encoded(model, features, clips, precision, rows=rows))
    inputs = {
        m: torch.cat([model.strategy_inputs(batch)[m] for batch, *_ in every_batch])
        for m in model.modalities
    }
    with evaluating(model), autocast(features.device, precision):
        model.strategy.calibrate(inputs, torch.cat([labels for _, labels, _ in every_batch]))
