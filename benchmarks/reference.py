"""The features by other people's libraries: what extraction is checked against and beats.

As they are mostly computed today (:func:`usual`): librosa's log-mel spectrogram, a Python call
per pair of frames for each metric, gudhi's Rips complex as a simplex tree, a persim image per
diagram. As one would sensibly compute them (:func:`sensible`): scipy's vectorised metrics and
ripser in place of the slow two. Both go up to the enclosing radius, beyond which nothing changes.
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
Ranges = tuple[tuple[float, float], tuple[float, float]]  # of births, of persistences


def decibels(path: Path, hop: int = 256) -> Floats:
    """(128, t), from -80 to 0."""
    waveform, rate = librosa.load(path, sr=16000)
    power = librosa.feature.melspectrogram(
        y=waveform, sr=rate, n_fft=1024, hop_length=hop, n_mels=128
    )
    return librosa.power_to_db(power, ref=np.max, top_db=80)


def cubical_diagrams(images: Sequence[Floats]) -> list[Floats]:
    """Finite superlevel bars of each image by gudhi, H0 and H1 in turn, (n, 2) birth and death."""
    found = []
    for image in images:
        cells = gudhi.CubicalComplex(top_dimensional_cells=-image)
        cells.compute_persistence(homology_coeff_field=2, min_persistence=0)
        for dimension in (0, 1):
            bars = -cells.persistence_intervals_in_dimension(dimension).reshape(-1, 2)
            found.append(bars[np.isfinite(bars[:, 1])])
    return found


def mel(path: Path, hop: int = 256) -> Floats:
    """(128, t) in [0, 1]."""
    return (decibels(path, hop) + 80) / 80


def persistence(path: Path, ranges: Sequence[Ranges], hop: int = 256) -> Floats:
    """(6, 32, 32), the usual way."""
    return images(usual_diagrams(points_of(decibels(path, hop))), ranges)


def sensible_persistence(path: Path, ranges: Sequence[Ranges], hop: int = 256) -> Floats:
    """(6, 32, 32), the sensible way."""
    return images(sensible_diagrams(points_of(decibels(path, hop))), ranges)


def usual(path: Path, ranges: Sequence[Ranges], hop: int = 256) -> tuple[Floats, Floats]:
    """Both views, of one spectrogram."""
    found = decibels(path, hop)
    return (found + 80) / 80, images(usual_diagrams(points_of(found)), ranges)


def sensible(path: Path, ranges: Sequence[Ranges], hop: int = 256) -> tuple[Floats, Floats]:
    """Both views, of one spectrogram."""
    found = decibels(path, hop)
    return (found + 80) / 80, images(sensible_diagrams(points_of(found)), ranges)


@dataclass(frozen=True)
class Points:
    """The frames of a clip as the three metrics see them: (t, 128), and (t,) instants."""

    frames: Floats
    standard: Floats
    weights: Floats
    instants: Floats


def points_of(spectrogram: Floats) -> Points:
    """Of decibels, (128, t)."""
    frames = spectrogram.T.astype(np.float64)  # (t, 128)
    deviation = frames.std(axis=0)
    standard = (frames - frames.mean(axis=0)) / np.where(deviation > 1e-9, deviation, np.inf)
    loud = (frames > -80).any(axis=1, keepdims=True)
    weights = np.where(loud, frames + 80, 1.0)
    return Points(frames, standard, weights, np.linspace(0, 1, len(frames)))


def usual_diagrams(points: Points) -> list[Floats]:
    """Finite bars of H0 and H1 in each of the three metrics."""
    return [bars for matrix in usual_matrices(points) for bars in rips(matrix)]


def usual_matrices(points: Points) -> list[Floats]:
    """(t, t) distances in the three metrics, one call per pair of frames."""
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
    """The same bars."""
    return [bars for matrix in sensible_matrices(points) for bars in rips_by_ripser(matrix)]


def sensible_matrices(points: Points) -> list[Floats]:
    """(t, t) distances in the three metrics."""
    apart = pdist(points.instants[:, None])
    shares = points.weights / points.weights.sum(axis=1, keepdims=True)
    return [
        squareform(pdist(points.frames)),
        squareform(0.5 * apart + 0.5 * pdist(points.standard)),
        squareform(pdist(shares.cumsum(axis=1), "cityblock")),
    ]


def pairwise(count: int, metric: Callable[[int, int], float]) -> Floats:
    """(count, count) distances, one call per pair."""
    matrix = np.zeros((count, count))
    for i in range(count):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = metric(i, j)
    return matrix


def rips(matrix: Floats) -> list[Floats]:
    """H0 and H1, up to the enclosing radius: nothing changes beyond, and gudhi needs it most."""
    radius = float(matrix.max(axis=1).min())
    tree = gudhi.RipsComplex(distance_matrix=matrix, max_edge_length=radius).create_simplex_tree(
        max_dimension=2
    )
    tree.compute_persistence(homology_coeff_field=2)
    found = [tree.persistence_intervals_in_dimension(d).reshape(-1, 2) for d in (0, 1)]
    return [bars[np.isfinite(bars[:, 1])] for bars in found]


def rips_by_ripser(matrix: Floats) -> list[Floats]:
    """The same; of its bars of no length a persistence image shows nothing."""
    radius = float(matrix.max(axis=1).min())
    found = ripser(matrix, distance_matrix=True, maxdim=1, thresh=radius)["dgms"]
    return [bars[np.isfinite(bars[:, 1])] for bars in found]


def images(found: Sequence[Floats], ranges: Sequence[Ranges]) -> Floats:
    """(6, 32, 32). persim's pixels are square, so bars are given in pixels of either axis."""
    imager = PersistenceImager(
        birth_range=(0, 32), pers_range=(0, 32), pixel_size=1, kernel_params={"sigma": np.eye(2)}
    )
    channels = []
    for bars, (births, persistences) in zip(found, ranges, strict=True):
        wide, high = ((span[1] - span[0]) / 32 for span in (births, persistences))
        birth = (bars[:, 0] - births[0]) / wide
        length = (bars[:, 1] - bars[:, 0]) / high
        image = imager.transform(np.stack([birth, birth + length], axis=1))
        channels.append(image * high)  # the weight is the length, not in pixels
    return np.stack(channels)
