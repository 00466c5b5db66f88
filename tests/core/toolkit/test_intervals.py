from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fusion.core.toolkit.intervals import (
    Comparison,
    Interval,
    bootstrap_interval,
    holm,
    paired_comparison,
)
from fusion.core.toolkit.metrics import accuracy, macro_f1, uar
from fusion.core.workflows.comparison import mean_uar

SCORES = (uar, accuracy, macro_f1)


def matrices(hits: np.ndarray, clips: int) -> np.ndarray:
    """Return confusions (S, C, C) of (S, C) right clips; wrong clips get the next class."""
    speakers, classes = hits.shape
    result = np.zeros((speakers, classes, classes), dtype=np.int64)
    for c in range(classes):
        result[:, c, c] = hits[:, c]
        result[:, c, (c + 1) % classes] += clips - hits[:, c]
    return result


def simulate(rng: np.random.Generator, speakers: int, *, models: int = 1) -> list[np.ndarray]:
    """Simulate models of equal quality on the same speakers, whose difficulty varies widely."""
    hardness = rng.normal(0, 0.6, (speakers, 1))
    result = []
    for _ in range(models):
        logits = 0.4 + hardness + rng.normal(0, 0.5, (speakers, 6))
        result.append(matrices(rng.binomial(7, 1 / (1 + np.exp(-logits))), 7))
    return result


RIGHT = np.array([[5, 0], [0, 5]])
WRONG = np.array([[0, 5], [5, 0]])


class SameDraws(np.random.Generator):
    """Generator that draws, in scipy's bootstrap, the speakers that `intervals` draws."""

    def integers(self, low, high, size, **rest):
        resamples, groups = size
        counts = self.multinomial(groups, np.full(groups, 1 / groups), size=resamples)
        return np.stack([np.repeat(np.arange(groups), row) for row in counts])


class SameSwaps(np.random.Generator):
    """Generator that swaps, in scipy's permutation test, the models that `intervals` swaps."""

    def permuted(self, x, axis):
        swapped = self.integers(0, 2, size=x.shape[:2])  # (R, S)
        return np.stack([swapped, 1 - swapped], axis=-1)  # (R, S, 2)


# -- the bootstrap -------------------------------------------------------------------


def test_two_speakers_by_hand():
    # Resamples have only right speakers (1/4), one of each (1/2), or only wrong (1/4): UAR 1, 0.5,
    # 0.
    confusions = np.stack([RIGHT, WRONG])
    assert bootstrap_interval(confusions) == Interval(0.5, 0.0, 1.0, 0.95, 2)
    assert bootstrap_interval(confusions, level=0.3) == Interval(0.5, 0.5, 0.5, 0.3, 2)


def test_equal_speakers_have_an_interval_of_no_width():
    confusions = np.stack([matrices(np.array([[2, 3]]), 5)[0]] * 7)
    assert bootstrap_interval(confusions) == Interval(0.5, 0.5, 0.5, 0.95, 7)


def test_undefined_resamples_are_ignored():
    def recall_of_class_1(confusion):
        with np.errstate(invalid="ignore"):
            return confusion[:, 1, 1] / confusion[:, 1].sum(axis=1)

    with_class_1 = np.array([[1, 0], [1, 3]])
    without = np.array([[4, 1], [0, 0]])
    result = bootstrap_interval(np.stack([with_class_1, without, without]), recall_of_class_1)
    assert result == Interval(0.75, 0.75, 0.75, 0.95, 3)


@pytest.mark.parametrize("groups", [0, 1])
def test_too_few_groups_for_an_interval(groups):
    result = bootstrap_interval(np.stack([RIGHT] * 2)[:groups])
    assert math.isnan(result.low)
    assert math.isnan(result.high)
    assert result.groups == groups
    assert math.isnan(result.value) if groups == 0 else result.value == 1.0


def test_groups_without_clips_have_nan():
    result = bootstrap_interval(np.zeros((3, 2, 2), dtype=np.int64))
    assert all(map(math.isnan, (result.value, result.low, result.high)))


def test_same_seed_same_interval():
    (confusions,) = simulate(np.random.default_rng(0), 10)
    first = bootstrap_interval(confusions, seed=3)
    assert bootstrap_interval(confusions, seed=3) == first
    assert bootstrap_interval(confusions, seed=4) != first
    assert first.low < first.value < first.high


@pytest.mark.parametrize("statistic", SCORES)
def test_equal_to_scipys_bootstrap(statistic):
    """The interval equals scipy's percentile interval of the same draws of speakers."""
    (confusions,) = simulate(np.random.default_rng(1), 24)
    reference = stats.bootstrap(
        (np.arange(24),),
        lambda drawn, axis: statistic(confusions[drawn.astype(int)].sum(axis=-3)),
        n_resamples=2000,
        vectorized=True,
        method="percentile",
        random_state=SameDraws(np.random.PCG64(7)),
    ).confidence_interval
    result = bootstrap_interval(confusions, statistic, seed=7)
    np.testing.assert_allclose([result.low, result.high], reference, rtol=1e-12)


def test_near_scipys_bootstrap_of_other_draws():
    # Speakers have equally many clips, so the accuracy is the mean of their accuracies.
    (confusions,) = simulate(np.random.default_rng(1), 24)
    result = bootstrap_interval(confusions, accuracy, resamples=20_000)
    reference = stats.bootstrap(
        (accuracy(confusions),),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        random_state=np.random.default_rng(2),
    ).confidence_interval
    width = reference.high - reference.low
    assert result.low == pytest.approx(reference.low, abs=0.03 * width)
    assert result.high == pytest.approx(reference.high, abs=0.03 * width)


def test_speakers_are_weighted_by_their_clips():
    # The statistic is computed over all clips of the drawn speakers, and is not a mean of means.
    big, small = 100 * RIGHT, WRONG
    result = bootstrap_interval(np.stack([big, small]))
    assert result.value == pytest.approx(500 / 505)
    assert (result.low, result.high) == (0.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(("speakers", "covered"), [(4, 0.82), (10, 0.91), (24, 0.935)])
def test_coverage_is_as_documented(speakers, covered):
    rng = np.random.default_rng(5)
    truth = float(uar(simulate(rng, 200_000)[0].sum(axis=0)))
    trials = 1500
    inside = 0
    for _ in range(trials):
        interval = bootstrap_interval(simulate(rng, speakers)[0], resamples=1000)
        inside += interval.low <= truth <= interval.high
    error = math.sqrt(covered * (1 - covered) / trials)
    assert inside / trials == pytest.approx(covered, abs=3 * error + 0.01)


# -- paired comparison ---------------------------------------------------------------


def brute_force_p(a, b, statistic) -> float:
    def difference(first, second):
        return float(statistic(first.sum(axis=0)) - statistic(second.sum(axis=0)))

    observed = abs(difference(a, b))
    hits = 0
    for swap in itertools.product([False, True], repeat=len(a)):
        s = np.array(swap)[:, None, None]
        hits += abs(difference(np.where(s, b, a), np.where(s, a, b))) >= observed - 1e-12
    return hits / 2 ** len(a)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two models' confusions for the same clips, with unequal speakers and missing classes."""
    speakers = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    support = rng.integers(0, 6, (speakers, 3))
    support[0, 0] += 1

    def model():
        shares = rng.dirichlet(np.ones(3), (speakers, 3))
        return rng.multinomial(support, shares)

    return model(), model()


@settings(max_examples=60)
@given(pairs(), st.sampled_from(SCORES))
def test_exact_permutation_equals_brute_force(pair, statistic):
    a, b = pair
    result = paired_comparison(a, b, statistic, resamples=10)
    assert result.p_value == pytest.approx(brute_force_p(a, b, statistic), abs=1e-12)
    assert result.p_value >= 2 / 2 ** len(a)


@settings(max_examples=40)
@given(pairs(), st.sampled_from(SCORES))
def test_a_comparison_in_the_other_direction(pair, statistic):
    a, b = pair
    one = paired_comparison(a, b, statistic, resamples=50)
    other = paired_comparison(b, a, statistic, resamples=50)
    assert one.difference == -other.difference
    assert one.p_value == other.p_value
    np.testing.assert_allclose([one.low, one.high], [-other.high, -other.low], atol=1e-12)


def scipys_differences(a, b, statistic, seed=None):
    """Return scipy's differences (R,) for all swaps of models by group, or for random swaps."""

    def difference(which, other, axis):  # (R, S) or (S,): index of the first model's confusions
        first = np.stack([a, b])[which.astype(int), np.arange(len(a))].sum(axis=which.ndim - 1)
        return statistic(first) - statistic((a + b).sum(axis=0) - first)

    return stats.permutation_test(
        (np.zeros(len(a)), np.ones(len(a))),
        difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf if seed is None else 10_000,
        batch=1024,
        random_state=None if seed is None else SameSwaps(np.random.PCG64(seed)),
    ).null_distribution


@pytest.mark.parametrize("statistic", [uar, accuracy, macro_f1, mean_uar])
@pytest.mark.parametrize("speakers", [2, 5, 9, 14])
def test_equal_to_scipys_permutation_test(speakers, statistic):
    """The p-value equals that of scipy's null distribution exactly, with many ties.

    scipy's own p-value treats differences as equal within 100 times the rounding of the observed
    one. That is too little for small differences of means over classes or seeds.
    """
    seeds = 3 if statistic is mean_uar else 1
    for trial in range(6):
        rng = np.random.default_rng([speakers, trial])
        a, b = (np.stack(simulate(rng, speakers, models=seeds), axis=1) for _ in "ab")
        if statistic is not mean_uar:
            a, b = a[:, 0], b[:, 0]
        differences = scipys_differences(a, b, statistic)
        result = paired_comparison(a, b, statistic, resamples=2)
        extreme = np.abs(differences) >= abs(result.difference) - 1e-12
        assert len(differences) == 2**speakers
        assert result.p_value == extreme.mean()


@pytest.mark.parametrize("statistic", [uar, accuracy, macro_f1])
def test_equal_to_scipys_permutation_test_with_random_swaps(statistic):
    a, b = simulate(np.random.default_rng(0), 20, models=2)
    differences = scipys_differences(a, b, statistic, seed=5)
    result = paired_comparison(a, b, statistic, resamples=2, seed=5)
    extreme = np.abs(differences) >= abs(result.difference) - 1e-12
    assert len(differences) == 10_000
    assert result.p_value == (1 + extreme.sum()) / 10_001


@pytest.mark.parametrize("speakers", [1, 2, 4, 6, 14])
def test_the_smallest_p_of_few_speakers(speakers):
    result = paired_comparison(np.stack([RIGHT] * speakers), np.stack([WRONG] * speakers))
    assert result.difference == 1.0
    assert result.p_value == 2 / 2**speakers


@pytest.mark.parametrize("speakers", [1, 5, 20])
def test_identical_models(speakers):
    (a,) = simulate(np.random.default_rng(0), speakers)
    result = paired_comparison(a, a)
    assert result.difference == 0
    assert result.p_value == 1
    if speakers > 1:
        assert (result.low, result.high) == (0, 0)


def test_random_swaps_near_the_exact_value():
    a, b = simulate(np.random.default_rng(8), 15, models=2)
    differences = accuracy(a) - accuracy(b)  # equally many clips per speaker
    signs = 1 - 2 * (np.arange(2**15)[:, None] >> np.arange(15) & 1)
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12)
    result = paired_comparison(a, b, accuracy)
    assert 0.01 < exact < 0.99
    assert result.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 10_000))


def test_random_swaps_never_give_zero():
    result = paired_comparison(np.stack([RIGHT] * 40), np.stack([WRONG] * 40))
    assert result.p_value == pytest.approx(1 / 10_001)


def test_the_interval_uses_the_same_speakers_for_both_models():
    # Speakers differ widely, and models by one clip per speaker, so the paired interval has no
    # width.
    hits = np.array([[1, 1], [9, 9], [2, 2], [8, 8], [5, 5], [3, 3]])
    a, b = matrices(hits + 1, 10), matrices(hits, 10)
    result = paired_comparison(a, b)
    assert (result.low, result.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert result == Comparison(
        result.difference, result.low, result.high, 2 / 2**6, groups=6, level=0.95
    )


def test_models_on_different_clips_are_refused():
    with pytest.raises(ValueError, match="same clips"):
        paired_comparison(np.stack([RIGHT, RIGHT]), np.stack([RIGHT, 2 * RIGHT]))
    with pytest.raises(ValueError, match="same clips"):
        paired_comparison(np.stack([RIGHT, RIGHT]), np.stack([RIGHT]))


def test_a_comparison_without_clips():
    nothing = np.zeros((0, 2, 2), dtype=np.int64)
    result = paired_comparison(nothing, nothing)
    assert all(map(math.isnan, (result.difference, result.low, result.high, result.p_value)))


@pytest.mark.slow
@pytest.mark.parametrize(("speakers", "trials"), [(8, 1500), (20, 400)])
def test_p_values_are_uniform_when_models_are_equally_good(speakers, trials):
    rng = np.random.default_rng(11)
    weights = rng.normal(size=(6, 6))

    def without_ties(confusion):
        return (confusion * weights).sum(axis=(-2, -1))

    def p_values(statistic):
        for _ in range(trials):
            a, b = simulate(rng, speakers, models=2)
            yield paired_comparison(a, b, statistic, resamples=2).p_value

    smooth, tied = (np.array(list(p_values(statistic))) for statistic in (without_ties, uar))
    for level in (0.05, 0.1, 0.25, 0.5, 0.75):
        error = math.sqrt(level * (1 - level) / trials)
        step = 2 / 2**speakers
        assert level - step - 3 * error <= np.mean(smooth <= level) <= level + 3 * error
        assert np.mean(tied <= level) <= level + 3 * error  # ties make p conservative


# -- several comparisons -------------------------------------------------------------


def test_holm_by_hand():
    # Sorted p-values 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 are 0.02, 0.03, 0.06, 0.04 -> 0.06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1.0, 1.0])
    assert holm([]).shape == (0,)


def test_holm_counts_an_undefined_test():
    np.testing.assert_allclose(holm([0.01, float("nan")]), [0.02, float("nan")])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_between_no_correction_and_bonferroni(p_values):
    p = np.array(p_values)
    adjusted = holm(p)
    assert np.all(adjusted >= p)
    assert np.all(adjusted <= np.minimum(1, len(p) * p))
    assert np.all(np.diff(adjusted[np.argsort(p)]) >= 0)
