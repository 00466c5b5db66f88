"""Number of speakers in each part, and their choice for balanced classes."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusion.core.data.stratification import apportion, balance


@given(
    st.dictionaries(st.text("abcdef", min_size=1), st.integers(1, 60), min_size=1, max_size=6),
    st.integers(3, 10),
)
def test_folds_get_equal_numbers(sizes, folds):
    counts = apportion(sizes, np.full(folds, 1 / folds))
    for group, size in sizes.items():
        assert counts[group].sum() == size
        assert np.ptp(counts[group]) <= 1
    total = np.sum(list(counts.values()), axis=0)
    assert np.ptp(total) <= 1


@given(
    st.dictionaries(st.text("abcdef", min_size=1), st.integers(1, 60), min_size=1, max_size=6),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
)
def test_parts_get_numbers_by_their_shares(sizes, val, test):
    shares = np.array([1 - val - test, val, test])
    counts = apportion(sizes, shares)
    for group, size in sizes.items():
        assert counts[group].sum() == size
        assert (counts[group] >= (size >= 3)).all()
    total = np.sum(list(counts.values()), axis=0)
    assert (total > 0).all() or sum(sizes.values()) < 3


def test_balancing_is_near_the_best_allocation():
    sizes = np.array([4, 2, 2])
    everything = np.array(sorted(set(itertools.permutations([0] * 4 + [1] * 2 + [2] * 2))))

    def cost(contents: np.ndarray, target: np.ndarray) -> np.ndarray:
        return ((contents - target) ** 2 / target).sum(axis=(-2, -1))

    rng = np.random.default_rng(0)
    found_best = 0
    for seed in range(60):
        histograms = rng.integers(1, 9, (8, 3)).astype(float)
        target = np.outer(sizes / 8, histograms.sum(axis=0))
        contents = np.stack(
            [(everything == p).astype(float) @ histograms for p in range(3)], axis=1
        )
        costs = cost(contents, target)
        part = balance(histograms, sizes, np.random.default_rng(seed))
        np.testing.assert_array_equal(np.bincount(part), sizes)
        mine = cost(np.stack([histograms[part == p].sum(axis=0) for p in range(3)]), target)
        assert mine <= np.quantile(costs, 0.05)
        found_best += mine <= costs.min() + 1e-9
    assert found_best >= 40


def test_thousands_of_speakers_are_balanced():
    rng = np.random.default_rng(0)
    histograms = rng.integers(0, 6, (1500, 6)).astype(float)
    part = balance(histograms, np.full(5, 300), np.random.default_rng(0))
    contents = np.stack([histograms[part == p].sum(axis=0) for p in range(5)])
    assert np.abs(contents - contents.mean(axis=0)).max() <= 3


def test_shares_by_hand():
    # 18 * (0.6, 0.2, 0.2) = 10.8, 3.6, 3.6: the whole parts leave two. One goes to the largest
    # remainder (train), the other to the last part with an equal remainder (test).
    assert apportion({"a": 18}, np.array([0.6, 0.2, 0.2]))["a"].tolist() == [11, 3, 4]
    # By the shares, val and test would get no member: train gives one to each.
    assert apportion({"a": 3}, np.array([0.9, 0.05, 0.05]))["a"].tolist() == [1, 1, 1]


def test_rounding_is_balanced_over_groups():
    """Each of four groups of one would go to train alone; together they fill every part."""
    counts = apportion(dict.fromkeys("abcd", 1), np.array([0.5, 0.25, 0.25]))
    assert all(count.sum() == 1 for count in counts.values())
    assert np.sum(list(counts.values()), axis=0).tolist() == [2, 1, 1]


def test_the_order_of_groups_changes_nothing():
    sizes = {"b": 4, "a": 4, "c": 7}
    shares = np.array([0.6, 0.2, 0.2])
    one, other = apportion(sizes, shares), apportion(dict(reversed(sizes.items())), shares)
    assert {g: c.tolist() for g, c in one.items()} == {g: c.tolist() for g, c in other.items()}


def test_speakers_with_one_class_each_are_spread_over_the_parts():
    """Each class has six speakers, each part four: two of each class."""
    histograms = np.repeat(np.eye(2) * 5, 6, axis=0)
    part = balance(histograms, np.full(3, 4), np.random.default_rng(0))
    for p in range(3):
        assert histograms[part == p].sum(axis=0).tolist() == [10, 10]


def test_the_generator_decides_between_equal_splits_reproducibly():
    histograms = np.ones((9, 2))
    result = [balance(histograms, np.full(3, 3), np.random.default_rng(s)) for s in (0, 0, 1)]
    assert result[0].tolist() == result[1].tolist() != result[2].tolist()
