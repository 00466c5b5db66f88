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
    holm,
    jackknife_interval,
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


class SameSwaps(np.random.Generator):
    """Generator that swaps, in scipy's permutation test, the models that `intervals` swaps."""

    def permuted(self, x, axis):
        swapped = self.integers(0, 2, size=x.shape[:2])  # (R, S)
        return np.stack([swapped, 1 - swapped], axis=-1)  # (R, S, 2)


# -- the jackknife -------------------------------------------------------------------


def test_three_speakers_by_hand():
    """Right clips 2, 3 and 4 of 10 in each of two classes, so the UAR is 0.3."""
    confusions = matrices(np.array([[2, 2], [3, 3], [4, 4]]), 10)
    result = jackknife_interval(confusions)
    log_odds = [math.log(p / (1 - p)) for p in (0.35, 0.3, 0.25)]  # without each speaker
    mean = sum(log_odds) / 3
    error = math.sqrt(2 / 3 * sum((x - mean) ** 2 for x in log_odds))
    half = 4.302652729911275 * error  # the quantile of Student's t with 2 degrees of freedom
    middle = math.log(0.3 / 0.7)
    expected = [1 / (1 + math.exp(-(middle + sign * half))) for sign in (-1, 1)]
    assert result.value == pytest.approx(0.3)
    assert [result.low, result.high] == pytest.approx(expected, rel=1e-9)
    assert (result.level, result.groups) == (0.95, 3)


def test_speakers_of_different_sizes_have_fewer_degrees_of_freedom():
    """10, 10 and 40 clips: E = 60**2 / 1800 = 2; harmonic mean of 2 and 1 is 4/3."""
    a = np.concatenate([matrices(np.array([[1, 4], [3, 3]]), 5),
                        matrices(np.array([[11, 9]]), 20)])  # fmt: skip
    b = np.concatenate([matrices(np.array([[2, 4], [1, 3]]), 5),
                        matrices(np.array([[10, 10]]), 20)])  # fmt: skip
    result = paired_comparison(a, b, accuracy)
    without = [float(accuracy(np.delete(a, s, 0).sum(0)) - accuracy(np.delete(b, s, 0).sum(0)))
               for s in range(3)]  # fmt: skip
    error = math.sqrt(2 / 3 * sum((x - np.mean(without)) ** 2 for x in without))
    half = stats.t.ppf(0.975, 4 / 3) * error
    assert result.high - result.difference == pytest.approx(half)
    assert result.difference - result.low == pytest.approx(half)


def test_the_accuracy_of_equal_speakers_has_the_interval_of_the_t_test():
    """The jackknife error of a mean is the usual one; the difference has no transformation."""
    a, b = simulate(np.random.default_rng(4), 12, models=2)
    result = paired_comparison(a, b, accuracy)
    reference = stats.ttest_rel(accuracy(a), accuracy(b)).confidence_interval()
    assert result.p_value < 0.05 or reference.low <= 0 <= reference.high
    assert [result.low, result.high] == pytest.approx([reference.low, reference.high])


def test_equal_speakers_have_an_interval_of_no_width():
    confusions = np.stack([matrices(np.array([[2, 3]]), 5)[0]] * 7)
    result = jackknife_interval(confusions)
    assert [result.value, result.low, result.high] == pytest.approx([0.5] * 3)


@pytest.mark.parametrize(("matrix", "score"), [(RIGHT, 1.0), (WRONG, 0.0)])
def test_a_perfect_score_is_uncertain_by_half_a_clip(matrix, score):
    result = jackknife_interval(np.stack([matrix] * 4))  # 40 clips
    assert result.value == score
    ends = [1 - 1 / 80, 1.0] if score else [0.0, 1 / 80]
    assert [result.low, result.high] == pytest.approx(ends)


def test_a_score_that_rests_on_one_speaker_has_no_interval():
    def recall_of_class_1(confusion):
        with np.errstate(invalid="ignore"):
            return confusion[:, 1, 1] / confusion[:, 1].sum(axis=1)

    with_class_1 = np.array([[1, 0], [1, 3]])
    without = np.array([[4, 1], [0, 0]])
    result = jackknife_interval(np.stack([with_class_1, without, without]), recall_of_class_1)
    assert result.value == 0.75
    assert math.isnan(result.low) and math.isnan(result.high)


@pytest.mark.parametrize("groups", [0, 1])
def test_too_few_groups_for_an_interval(groups):
    result = jackknife_interval(np.stack([RIGHT] * 2)[:groups])
    assert math.isnan(result.low)
    assert math.isnan(result.high)
    assert result.groups == groups
    assert math.isnan(result.value) if groups == 0 else result.value == 1.0


def test_groups_without_clips_do_not_count():
    empty = np.zeros((2, 2, 2), dtype=np.int64)
    (confusions,) = simulate(np.random.default_rng(0), 5)
    more = np.concatenate([confusions, np.zeros((2, 6, 6), dtype=np.int64)])
    assert jackknife_interval(more) == jackknife_interval(confusions)
    result = jackknife_interval(empty)
    assert result.groups == 0
    assert all(map(math.isnan, (result.value, result.low, result.high)))


@settings(max_examples=60)
@given(st.integers(2, 12), st.integers(0, 2**32 - 1), st.sampled_from(SCORES))
def test_intervals_contain_the_score_and_ignore_the_order_of_speakers(speakers, seed, statistic):
    rng = np.random.default_rng(seed)
    (confusions,) = simulate(rng, speakers)
    result = jackknife_interval(confusions, statistic)
    other = jackknife_interval(rng.permutation(confusions), statistic)
    assert 0 <= result.low <= result.value <= result.high <= 1
    assert [other.low, other.high] == pytest.approx([result.low, result.high])
    wider = jackknife_interval(confusions, statistic, level=0.99)
    assert wider.low <= result.low and result.high <= wider.high


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [3, 6, 10, 24])
def test_coverage_is_as_documented(speakers):
    rng = np.random.default_rng(5)
    truth = float(uar(simulate(rng, 200_000)[0].sum(axis=0)))
    trials = 1500
    inside = 0
    for _ in range(trials):
        interval = jackknife_interval(simulate(rng, speakers)[0])
        inside += interval.low <= truth <= interval.high
    assert inside / trials == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / trials) + 0.01)


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
    result = paired_comparison(a, b, statistic)
    assert result.p_value == pytest.approx(brute_force_p(a, b, statistic), abs=1e-12)
    assert result.p_value >= 2 / 2 ** len(a)


@settings(max_examples=40)
@given(pairs(), st.sampled_from(SCORES))
def test_a_comparison_in_the_other_direction(pair, statistic):
    a, b = pair
    one = paired_comparison(a, b, statistic)
    other = paired_comparison(b, a, statistic)
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
        result = paired_comparison(a, b, statistic)
        extreme = np.abs(differences) >= abs(result.difference) - 1e-12
        assert len(differences) == 2**speakers
        assert result.p_value == extreme.mean()


@pytest.mark.parametrize("statistic", [uar, accuracy, macro_f1])
def test_equal_to_scipys_permutation_test_with_random_swaps(statistic):
    a, b = simulate(np.random.default_rng(0), 20, models=2)
    differences = scipys_differences(a, b, statistic, seed=5)
    result = paired_comparison(a, b, statistic, seed=5)
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


def test_an_interval_contains_0_if_the_p_value_is_not_small():
    """Five speakers can't give p < 0.05, also if all of them favour the same model."""
    a, b = np.stack([RIGHT] * 5), np.stack([WRONG] * 5)
    result = paired_comparison(a, b)
    assert (result.difference, result.p_value) == (1.0, 2 / 2**5)
    assert (result.low, result.high) == (0.0, 1.0)
    reverse = paired_comparison(b, a)
    assert (reverse.low, reverse.high) == (-1.0, 0.0)
    assert paired_comparison(a, b, level=0.9).low == 1.0  # p < 0.1


@settings(max_examples=60)
@given(pairs(), st.sampled_from(SCORES), st.sampled_from([0.5, 0.9, 0.95]))
def test_the_interval_never_excludes_0_against_the_p_value(pair, statistic, level):
    result = paired_comparison(*pair, statistic, level=level)
    if result.p_value >= 1 - level and not math.isnan(result.low):
        assert result.low <= 0 <= result.high
    assert math.isnan(result.low) or result.low <= result.difference <= result.high


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
            yield paired_comparison(a, b, statistic).p_value

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
