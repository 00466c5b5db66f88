"""The problem on which joint training is known to fail, and methods that repair it."""

import statistics

import pytest

from fusion.core.registry.registry import Registry
from fusion.testing import KnownAnswer

SEEDS = range(3)

# Balancers that recover at least half of the accuracy that plain joint training loses against the
# better modality alone, by a wide margin; measured with benchmarks/known_answer.py.
MEND = ["amco", "cml", "dgl", "dropout", "greedy", "mla", "mmpareto", "relearn"]


@pytest.fixture(scope="module")
def problems():
    return [KnownAnswer(seed) for seed in SEEDS]


def mean(outcomes):
    return statistics.mean(outcome.accuracy for outcome in outcomes)


def test_the_clips_are_as_described():
    arrays, classes = KnownAnswer(3).clips
    fast, slow = arrays["fast"], arrays["slow"]
    # In most clips, the largest of the first four entries of fast is that of the class.
    assert 0.6 < (fast[:, :4].argmax(1) == classes).mean() < 0.8
    # The two bits of the class are the signs of two products: always right.
    bits = [(slow[:, 2 * b] * slow[:, 2 * b + 1] > 0).astype(int) for b in (0, 1)]
    assert (bits[0] + 2 * bits[1] == classes).all()
    again, _ = KnownAnswer(3).clips
    assert (again["fast"] == fast).all()


@pytest.mark.slow
def test_joint_training_is_far_below_the_better_modality(problems):
    fast = mean(problem.alone("fast") for problem in problems)
    slow = mean(problem.alone("slow") for problem in problems)
    fused = [problem.fused() for problem in problems]
    assert fast < 0.55 and slow > 0.95
    assert mean(fused) < slow - 0.2
    # The better branch is not learned: its probe is far below the accuracy of the modality alone.
    assert statistics.mean(o.probes["slow"] for o in fused) < slow - 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", MEND)
def test_balancers_that_repair_joint_training(problems, name):
    cls = Registry().balancer(name)
    slow = mean(problem.alone("slow") for problem in problems)
    plain = mean(problem.fused() for problem in problems)
    mended = mean(problem.fused([cls()]) for problem in problems)
    assert mended > (plain + slow) / 2


@pytest.mark.slow
def test_weights_chosen_on_validation_repair_it_entirely(problems):
    """A trained head trusts memorised clips; weights chosen on validation do not."""
    registry = Registry()
    balancer, ensemble = registry.balancer("unimodal_loss"), registry.strategy("ensemble")
    slow = mean(problem.alone("slow") for problem in problems)
    fused = mean(problem.fused([balancer()], strategy=ensemble) for problem in problems)
    assert fused > slow - 0.03


@pytest.mark.slow
def test_the_residual_strategy_is_not_below_the_better_modality(problems):
    slow = mean(problem.alone("slow") for problem in problems)
    residual = Registry().strategy("residual")
    assert mean(problem.fused(strategy=residual) for problem in problems) > slow - 0.05
