"""Statistics of the input values of each modality, as stored and after standardisation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..data.features import Features, Indices
from .model import FusionModel

Floats = npt.NDArray[np.float64]
_CHUNK = 64  # clips at a time
_DIGITS = 6


@dataclass
class _Sums:
    """Running sums over the values of each channel, (C,)."""

    low: Floats
    high: Floats
    total: Floats = field(init=False)
    squares: Floats = field(init=False)
    zeros: Floats = field(init=False)
    nan: Floats = field(init=False)
    count: int = 0  # values of one channel

    @classmethod
    def empty(cls, channels: int) -> _Sums:
        sums = cls(np.full(channels, np.inf), np.full(channels, -np.inf))
        sums.total, sums.squares, sums.zeros, sums.nan = np.zeros((4, channels))
        return sums

    def add(self, rows: Floats) -> None:
        """Add values (C, n)."""
        bad = ~np.isfinite(rows)
        self.nan += bad.sum(axis=1)
        self.low = np.minimum(self.low, np.where(bad, np.inf, rows).min(axis=1))
        self.high = np.maximum(self.high, np.where(bad, -np.inf, rows).max(axis=1))
        rows = np.where(bad, 0.0, rows)
        self.zeros += (rows == 0).sum(axis=1) - bad.sum(axis=1)
        self.total += rows.sum(axis=1)
        self.squares += (rows * rows).sum(axis=1)
        self.count += rows.shape[1]

    def to_json(self) -> dict[str, Any]:
        """Return the statistics over all channels, and per channel if there are several."""
        counts = np.full(len(self.low), float(self.count))
        whole = _figures(
            self.low.min(),
            self.high.max(),
            *(x.sum() for x in (self.total, self.squares, self.zeros, self.nan, counts)),
        )
        figures: dict[str, Any] = {k: round_to(v) for k, v in whole.items()}
        if len(counts) > 1:
            each = _figures(
                self.low, self.high, self.total, self.squares, self.zeros, self.nan, counts
            )
            figures["channels"] = {k: [round_to(x) for x in v] for k, v in each.items()}
        return figures


def _figures(
    low: Any, high: Any, total: Any, squares: Any, zeros: Any, nan: Any, count: Any
) -> dict[str, Any]:
    finite = np.maximum(count - nan, 1)
    mean = total / finite
    deviation = np.sqrt(np.maximum(squares / finite - mean * mean, 0))
    return {"min": low, "max": high, "mean": mean, "std": deviation,
            "zeros": zeros / count, "nan": nan / count}  # fmt: skip


def round_to(value: float) -> float | None:
    """Round to six significant digits; None for NaN and infinite values."""
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None


@torch.no_grad()
def input_statistics(
    features: Features, indices: Indices, model: FusionModel
) -> dict[str, dict[str, Any]]:
    """Compute statistics of each modality over the clips `indices`, the training split.

    Returns
    -------
    dict
        Statistics by modality: ``"raw"`` of the stored values, and ``"seen"`` of the values after
        standardisation. Both contain min, max, mean, std, zeros (share of values that are 0) and
        nan (share of values that are not finite). If the modality has several channels,
        ``"channels"`` has a list of each statistic per channel.
    """
    statistics: dict[str, dict[str, Any]] = {}
    for m, modality in features.modalities.items():
        axis = modality.axes.index("channel") if "channel" in modality.axes else None
        channels = 1 if axis is None else modality.shape[axis]
        sums = {"raw": _Sums.empty(channels), "seen": _Sums.empty(channels)}
        # Rows of the clips that have the modality.
        having = features.array_rows(features.clips_with(indices, m), m)
        for start in range(0, len(having), _CHUNK):
            rows = features.arrays[m].take(having[start : start + _CHUNK])
            inputs = model.standardise[m](torch.from_numpy(rows).to(features.device)).cpu().numpy()
            for name, values in (("raw", rows), ("seen", inputs)):
                sums[name].add(_by_channel(values, axis))
        statistics[m] = {name: s.to_json() for name, s in sums.items()}
    return statistics


def _by_channel(rows: npt.NDArray[Any], axis: int | None) -> Floats:
    """Reshape (B, *shape) to (C, values)."""
    rows = rows.astype(np.float64)
    if axis is None:
        return rows.reshape(1, -1)
    return np.moveaxis(rows, axis + 1, 0).reshape(rows.shape[axis + 1], -1)
