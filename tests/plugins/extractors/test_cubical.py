"""Union-find persistence of images and series, compared by hand and with gudhi's CubicalComplex."""

from __future__ import annotations

import gudhi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusion.plugins.extractors._cubical import image_bars, image_peaks, series_bars, series_peaks

Bars = list[tuple[float, float]]


def cubical(image: np.ndarray) -> list[Bars]:
    """Finite superlevel bars by gudhi, from the sublevel sets of the negative image."""
    complex_ = gudhi.CubicalComplex(top_dimensional_cells=-image.astype(np.float64))
    complex_.compute_persistence(homology_coeff_field=2, min_persistence=0)
    result = [-complex_.persistence_intervals_in_dimension(d).reshape(-1, 2) for d in (0, 1)]
    return [listed(bars[np.isfinite(bars[:, 1]) & (bars[:, 0] > bars[:, 1])]) for bars in result]


def listed(bars: np.ndarray) -> Bars:
    return sorted((float(birth), float(death)) for birth, death in bars)


def images(largest: int) -> st.SearchStrategy[np.ndarray]:
    """Images of any shape with few values: many ties, often constant, often one row."""
    shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
    return shapes.flatmap(
        lambda shape: arrays(np.float32, shape, elements=st.integers(-1, largest).map(float))
    )


def test_two_peaks_and_a_dip_by_hand() -> None:
    image = np.array(
        [
            [9, 4, 4, 4, 1],
            [4, 4, 0, 4, 2],
            [4, 4, 4, 4, 8],
        ],
        np.float32,
    )
    peaks, dips = image_bars(image)
    # The peaks of 8 and 9 join at 4, where the ring around the dip of 0 closes as well.
    assert listed(peaks) == [(8, 4)]
    assert listed(dips) == [(4, 0)]
    assert image_peaks(image)[1].tolist() == [[2, 4]]


def test_corners_join_peaks_and_do_not_open_rings() -> None:
    ring = np.array([[0, 5, 0], [5, 1, 5], [0, 5, 0]], np.float32)
    peaks, dips = image_bars(ring)
    assert listed(peaks) == []  # one component from 5 on
    assert listed(dips) == [(5, 1)]


def test_a_dip_at_the_border_is_not_enclosed() -> None:
    assert listed(image_bars(np.array([[5, 1, 5], [5, 5, 5]], np.float32))[1]) == []


@settings(max_examples=300, deadline=None)
@given(images(3))
def test_bars_of_images_with_ties_equal_gudhis(image: np.ndarray) -> None:
    assert [listed(bars) for bars in image_bars(image)] == cubical(image)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 30))
def test_bars_of_images_without_ties_equal_gudhis(seed: int, rows: int, columns: int) -> None:
    image = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    assert [listed(bars) for bars in image_bars(image)] == cubical(image)


@settings(max_examples=100, deadline=None)
@given(images(4))
def test_bars_of_series_equal_those_of_images_of_one_row(series: np.ndarray) -> None:
    result = series_bars(series)
    assert [listed(bars) for bars in result] == [cubical(row[None])[0] for row in series]


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (7, 5)])
def test_a_constant_image_has_no_bars(shape: tuple[int, int]) -> None:
    for value in (0.0, -3.5):
        assert [bars.shape for bars in image_bars(np.full(shape, value, np.float32))] == [
            (0, 2)
        ] * 2


def test_positive_and_negative_zero_are_one_value() -> None:
    image = np.array([[0.0, -0.0, 0.0, -0.0]] * 3, np.float32)
    assert [len(bars) for bars in image_bars(image)] == [0, 0]


def test_a_view_of_a_larger_image_is_independent_of_it() -> None:
    image = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    for part in (image[5:9], image[:, 3:20], image[::2, ::-1]):
        assert [listed(bars) for bars in image_bars(part)] == cubical(part)


def test_peaks_are_where_bars_are_born() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 9, (14, 17)).astype(np.float32)
    bars, places = image_peaks(image)
    assert listed(bars) == listed(image_bars(image)[0])
    np.testing.assert_array_equal(image[tuple(places.T)], bars[:, 0])
    assert len(np.unique(places, axis=0)) == len(places)
    for row, (bars, peaks) in zip(image, series_peaks(image), strict=True):
        np.testing.assert_array_equal(row[peaks], bars[:, 0])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_shifting_and_scaling_an_image_transforms_the_bars_equally(seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 50, (9, 11)).astype(np.float32)
    moved = image_bars(4 * image + 8)
    for bars, rest in zip(image_bars(image), moved, strict=True):
        assert listed(4 * bars + 8) == listed(rest)


def test_every_finite_bar_of_a_series_ends_at_a_valley() -> None:
    """Each peak except the highest has one bar."""
    series = np.array([[1, 5, 2, 4, 3, 6, 0, 2]], np.float32)
    ((bars, peaks),) = series_peaks(series)
    assert listed(bars) == [(2, 0), (4, 3), (5, 2)]
    assert sorted(peaks.tolist()) == [1, 3, 7]
