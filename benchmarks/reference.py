"""Reference implementations of the features with other libraries, for checks and comparisons.

:func:`usual` is the common way: librosa's log-mel spectrogram, a Python call per pair of frames for
each metric, gudhi's Rips complex as a simplex tree, and a persim image per diagram.
:func:`sensible` replaces the two slow parts by scipy's vectorised metrics and ripser. Both compute
the filtration up to the enclosing radius, beyond which no bar changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gudhi
import librosa
import numpy as np
import numpy.typing as npt
from persim import PersistenceImager
from ripser import ripser
from scipy.spatial.distance import pdist, squareform
from scipy.stats import wasserstein_distance

Floats = npt.NDArray[np.floating[Any]]
Ranges = tuple[tuple[float, float], tuple[float, float]]  # births, persistences


def decibels(path: Path, hop: int = 256) -> Floats:
    """Return the log-mel spectrogram, (128, t) decibels from -80 to 0."""
    waveform, rate = librosa.load(path, sr=16000)
    power = librosa.feature.melspectrogram(
        y=waveform, sr=rate, n_fft=1024, hop_length=hop, n_mels=128
    )
    return librosa.power_to_db(power, ref=np.max, top_db=80)


def cubical_diagrams(images: Sequence[Floats]) -> list[Floats]:
    """Return each image's finite superlevel bars by gudhi, H0 and H1 alternately, (n, 2)."""
    diagrams = []
    for image in images:
        cells = gudhi.CubicalComplex(top_dimensional_cells=-image)
        cells.compute_persistence(homology_coeff_field=2, min_persistence=0)
        for dimension in (0, 1):
            bars = -cells.persistence_intervals_in_dimension(dimension).reshape(-1, 2)
            diagrams.append(bars[np.isfinite(bars[:, 1])])
    return diagrams


def mel(path: Path, hop: int = 256) -> Floats:
    """Return the log-mel spectrogram scaled to [0, 1], (128, t)."""
    return (decibels(path, hop) + 80) / 80


def persistence(path: Path, ranges: Sequence[Ranges], hop: int = 256) -> Floats:
    """Return the persistence images, (6, 32, 32), computed in the usual way."""
    return images(usual_diagrams(points_of(decibels(path, hop))), ranges)


def sensible_persistence(path: Path, ranges: Sequence[Ranges], hop: int = 256) -> Floats:
    """Return the persistence images, (6, 32, 32), computed in the sensible way."""
    return images(sensible_diagrams(points_of(decibels(path, hop))), ranges)


def usual(path: Path, ranges: Sequence[Ranges], hop: int = 256) -> tuple[Floats, Floats]:
    """Return mel and persistence images in the usual way, from one spectrogram."""
    spectrogram = decibels(path, hop)
    return (spectrogram + 80) / 80, images(usual_diagrams(points_of(spectrogram)), ranges)


def sensible(path: Path, ranges: Sequence[Ranges], hop: int = 256) -> tuple[Floats, Floats]:
    """Return mel and persistence images in the sensible way, from one spectrogram."""
    spectrogram = decibels(path, hop)
    return (spectrogram + 80) / 80, images(sensible_diagrams(points_of(spectrogram)), ranges)


@dataclass(frozen=True)
class Points:
    """Frames of a clip as inputs of the three metrics: three (t, 128), and (t,) instants."""

    frames: Floats
    standard: Floats
    weights: Floats
    instants: Floats


def points_of(spectrogram: Floats) -> Points:
    """Return the points of a spectrogram, (128, t) decibels."""
    frames = spectrogram.T.astype(np.float64)  # (t, 128)
    deviation = frames.std(axis=0)
    standard = (frames - frames.mean(axis=0)) / np.where(deviation > 1e-9, deviation, np.inf)
    loud = (frames > -80).any(axis=1, keepdims=True)
    weights = np.where(loud, frames + 80, 1.0)
    return Points(frames, standard, weights, np.linspace(0, 1, len(frames)))


def usual_diagrams(points: Points) -> list[Floats]:
    """Return the finite bars of H0 and H1 in each of the three metrics, by gudhi."""
    return [bars for matrix in usual_matrices(points) for bars in rips(matrix)]


def usual_matrices(points: Points) -> list[Floats]:
    """Return the (t, t) distances in the three metrics, with one call per pair of frames."""
    frames, standard, weights, instants = (
        points.frames, points.standard, points.weights, points.instants,
    )  # fmt: skip
    bands = np.arange(frames.shape[1])

    def euclidean(i: int, j: int) -> float:
        return float(np.linalg.norm(frames[i] - frames[j]))

    def temporal(i: int, j: int) -> float:
        apart = abs(instants[i] - instants[j])
        return float(0.5 * apart + 0.5 * np.linalg.norm(standard[i] - standard[j]))

    def wasserstein(i: int, j: int) -> float:
        return float(wasserstein_distance(bands, bands, weights[i], weights[j]))

    return [pairwise(len(frames), metric) for metric in (euclidean, temporal, wasserstein)]


def sensible_diagrams(points: Points) -> list[Floats]:
    """Return the finite bars of H0 and H1 in each of the three metrics, by ripser."""
    return [bars for matrix in sensible_matrices(points) for bars in rips_by_ripser(matrix)]


def sensible_matrices(points: Points) -> list[Floats]:
    """Return the (t, t) distances in the three metrics by vectorised functions."""
    apart = pdist(points.instants[:, None])
    shares = points.weights / points.weights.sum(axis=1, keepdims=True)
    return [
        squareform(pdist(points.frames)),
        squareform(0.5 * apart + 0.5 * pdist(points.standard)),
        squareform(pdist(shares.cumsum(axis=1), "cityblock")),
    ]


def pairwise(count: int, metric: Callable[[int, int], float]) -> Floats:
    """Return the (count, count) distances, with one call of `metric` per pair."""
    matrix = np.zeros((count, count))
    for i in range(count):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = metric(i, j)
    return matrix


def rips(matrix: Floats) -> list[Floats]:
    """Return the bars of H0 and H1 by gudhi, up to the enclosing radius.

    No bar changes beyond this radius, and the limit saves gudhi most of its time.
    """
    radius = float(matrix.max(axis=1).min())
    tree = gudhi.RipsComplex(distance_matrix=matrix, max_edge_length=radius).create_simplex_tree(
        max_dimension=2
    )
    tree.compute_persistence(homology_coeff_field=2)
    diagrams = [tree.persistence_intervals_in_dimension(d).reshape(-1, 2) for d in (0, 1)]
    return [bars[np.isfinite(bars[:, 1])] for bars in diagrams]


def rips_by_ripser(matrix: Floats) -> list[Floats]:
    """Return the bars of H0 and H1 by ripser; bars of length 0 don't affect persistence images."""
    radius = float(matrix.max(axis=1).min())
    diagrams = ripser(matrix, distance_matrix=True, maxdim=1, thresh=radius)["dgms"]
    return [bars[np.isfinite(bars[:, 1])] for bars in diagrams]


def images(diagrams: Sequence[Floats], ranges: Sequence[Ranges]) -> Floats:
    """Return persistence images, (6, 32, 32), by persim.

    persim's pixels are square, so bars are passed in units of pixels of their axes.
    """
    imager = PersistenceImager(
        birth_range=(0, 32), pers_range=(0, 32), pixel_size=1, kernel_params={"sigma": np.eye(2)}
    )
    channels = []
    for bars, (births, persistences) in zip(diagrams, ranges, strict=True):
        wide, high = ((span[1] - span[0]) / 32 for span in (births, persistences))
        birth = (bars[:, 0] - births[0]) / wide
        length = (bars[:, 1] - bars[:, 0]) / high
        image = imager.transform(np.stack([birth, birth + length], axis=1))
        channels.append(image * high)  # the weight is the length, not in pixels
    return np.stack(channels)
