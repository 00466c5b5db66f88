"""The features as they are mostly computed today: what extraction is checked against and beats.

librosa's log-mel spectrogram, a Python call per pair of frames for each metric, gudhi's Rips
complex as a simplex tree, a persim image per diagram.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gudhi
import librosa
import numpy as np
import numpy.typing as npt
from persim import PersistenceImager
from scipy.stats import wasserstein_distance

Floats = npt.NDArray[np.floating[Any]]
Ranges = tuple[tuple[float, float], tuple[float, float]]  # of births, of persistences


def decibels(path: Path) -> Floats:
    """(128, t), from -80 to 0."""
    waveform, rate = librosa.load(path, sr=16000)
    power = librosa.feature.melspectrogram(
        y=waveform, sr=rate, n_fft=1024, hop_length=256, n_mels=128
    )
    return librosa.power_to_db(power, ref=np.max, top_db=80)


def mel(path: Path) -> Floats:
    """(128, t) in [0, 1]."""
    return (decibels(path) + 80) / 80


def diagrams(path: Path) -> list[Floats]:
    """Finite bars of H0 and H1 in each of the three metrics."""
    frames = decibels(path).T.astype(np.float64)  # (t, 128)
    deviation = frames.std(axis=0)
    standard = (frames - frames.mean(axis=0)) / np.where(deviation > 1e-9, deviation, np.inf)
    instants = np.linspace(0, 1, len(frames))
    bands = np.arange(frames.shape[1])
    weights = [frame + 80 if (frame > -80).any() else np.ones_like(frame) for frame in frames]

    def euclidean(i: int, j: int) -> float:
        return float(np.linalg.norm(frames[i] - frames[j]))

    def temporal(i: int, j: int) -> float:
        apart = abs(instants[i] - instants[j])
        return float(0.5 * apart + 0.5 * np.linalg.norm(standard[i] - standard[j]))

    def wasserstein(i: int, j: int) -> float:
        return float(wasserstein_distance(bands, bands, weights[i], weights[j]))

    found = []
    for metric in (euclidean, temporal, wasserstein):
        found += rips(pairwise(len(frames), metric))
    return found


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


def persistence(path: Path, ranges: Sequence[Ranges]) -> Floats:
    """(6, 32, 32)."""
    return images(diagrams(path), ranges)
