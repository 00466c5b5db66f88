"""fusion's Vietoris-Rips reduction, by hand and against gudhi's simplex tree on unusual metrics."""

from __future__ import annotations

import gudhi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.plugins.extractors._rips import diagrams


def simplex_tree(distances: np.ndarray) -> list[np.ndarray]:
    tree = gudhi.RipsComplex(distance_matrix=distances).create_simplex_tree(max_dimension=2)
    tree.compute_persistence(homology_coeff_field=2)
    result = [tree.persistence_intervals_in_dimension(d).reshape(-1, 2) for d in (0, 1)]
    return [in_order(bars[np.isfinite(bars[:, 1]) & (bars[:, 1] > bars[:, 0])]) for bars in result]


def in_order(bars: np.ndarray) -> np.ndarray:
    return bars[np.lexsort(bars.T)]


def assert_same(distances: np.ndarray) -> list[np.ndarray]:
    result = [in_order(bars) for bars in diagrams(distances)]
    for ours, theirs in zip(result, simplex_tree(distances), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    return result


def apart(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def test_a_square_by_hand() -> None:
    """Three sides join the corners; the fourth opens a hole, which the diagonals close."""
    square = apart(np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 2.0], [2.0, 0.0]]))
    h0, h1 = diagrams(square)
    np.testing.assert_array_equal(h0, [[0, 2]] * 3)
    np.testing.assert_allclose(h1, [[2, np.sqrt(8)]], rtol=1e-7)


def test_two_adjacent_holes() -> None:
    """Two rectangles share a side and have two holes, which close one after the other."""
    corners = np.array([[0.0, 0], [1, 0], [2.5, 0], [0, 1], [1, 1], [2.5, 1]])
    _, h1 = assert_same(apart(corners))
    np.testing.assert_allclose(h1, [[1, np.sqrt(2)], [1.5, np.sqrt(3.25)]], rtol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_few_points(count: int) -> None:
    assert_same(apart(np.random.default_rng(count).random((count, 2))))


def test_all_distances_zero() -> None:
    h0, h1 = diagrams(-np.zeros((5, 5)))  # -0 is a distance of 0
    assert h0.shape == h1.shape == (0, 2)


@pytest.mark.parametrize("count", [16, 63, 64, 65, 130])
def test_counts_around_the_word_size_of_64_bits(count: int) -> None:
    noise = np.random.default_rng(count).normal(scale=0.1, size=(count, 2))
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    _, h1 = assert_same(apart(circle + noise))
    assert np.ptp(h1, axis=1).max() > 0.8  # the bar of the circle


def test_nearly_every_edge_opens_a_hole() -> None:
    """Distance 1 between even and odd points, else 2: there are (n/2 - 1)^2 holes from 1 to 2."""
    odd = np.arange(40) % 2
    distances = np.where(np.add.outer(odd, odd) == 1, 1.0, 2.0)
    np.fill_diagonal(distances, 0)
    h0, h1 = diagrams(distances)
    assert h0.tolist() == [[0, 1]] * 39
    assert h1.tolist() == [[1, 2]] * 19**2


@settings(max_examples=80, deadline=None)
@given(st.integers(4, 24), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_any_symmetric_matrix_with_ties(count: int, values: int, seed: int) -> None:
    """Matrices may violate the triangle inequality, and most distances occur many times."""
    drawn = np.random.default_rng(seed).integers(0, values + 1, (count, count)).astype(float)
    distances = np.triu(drawn, 1) + np.triu(drawn, 1).T
    assert_same(distances)
