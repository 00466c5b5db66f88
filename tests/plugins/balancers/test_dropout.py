import math
from types import SimpleNamespace

import pytest
import torch

from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, one_step, small_trainer
from fusion.plugins.balancers.dropout import ModalityDropout, keep_mask
from fusion.testing import BalancerSuite


class TestSuite(BalancerSuite):
    plugin = ModalityDropout
    single_unchanged = True
    order_matters = "random numbers are drawn for one modality after the other"


def drawn(present, p, seed=0):
    step = SimpleNamespace(generator=torch.Generator().manual_seed(seed))
    return ModalityDropout(p=p).present(present, step)


def test_by_hand():
    numbers = torch.tensor(
        [
            [0.5, 0.6, 0.7],  # all at or above 0.5
            [0.1, 0.9, 0.4],  # only the second
            [0.3, 0.2, 0.1],  # none is, so the largest stays
        ]
    )
    assert keep_mask(numbers, 0.5).tolist() == [
        [True, True, True],
        [False, True, False],
        [True, False, False],
    ]


@pytest.mark.parametrize("modalities", [2, 3])
def test_frequency_of_dropping(modalities):
    clips, p = 40_000, 0.3
    existing = drawn(torch.ones(clips, modalities, dtype=torch.bool), p)
    # Each modality is dropped with probability p; if all are dropped (p^M), one of M stays.
    expected = 1 - p + p**modalities / modalities
    noise = 4 * math.sqrt(expected * (1 - expected) / clips)
    assert torch.allclose(existing.float().mean(dim=0), torch.tensor(expected), atol=noise)
    everything = float(existing.all(dim=1).float().mean())
    assert everything == pytest.approx((1 - p) ** modalities, abs=0.01)


def test_at_least_one_modality_stays():
    existing = drawn(torch.ones(1000, 3, dtype=torch.bool), 0.99)
    assert existing.any(dim=1).all()


def test_absent_modalities_stay_absent_and_one_of_the_others_stays():
    present = torch.tensor([[True, False, True], [False, True, False]]).repeat(500, 1)
    existing = drawn(present, 0.9)
    assert not (existing & ~present).any()
    assert existing.any(dim=1).all()
    assert not existing[0::2].all(dim=1).any() and 0 < int(existing[0::2, 0].sum()) < 500


def test_a_clip_without_modalities_stays_without_modalities():
    assert not drawn(torch.zeros(8, 2, dtype=torch.bool), 0.5).any()


def test_p_0_changes_nothing():
    present = torch.tensor([[True, False, True], [True, True, True]])
    assert torch.equal(drawn(present, 0.0), present)


def test_a_single_modality_draws_no_random_numbers():
    present = torch.ones(4, 1, dtype=torch.bool)
    step = SimpleNamespace(generator=torch.Generator().manual_seed(3))
    before = step.generator.get_state()
    assert ModalityDropout(p=0.9).present(present, step) is present
    assert torch.equal(step.generator.get_state(), before)


def test_the_generator_of_the_step_determines_the_mask():
    present = torch.ones(64, 3, dtype=torch.bool)
    assert torch.equal(drawn(present, 0.5, seed=1), drawn(present, 0.5, seed=1))
    assert not torch.equal(drawn(present, 0.5, seed=1), drawn(present, 0.5, seed=2))


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_no_gradient_from_clips_that_lack_the_modality(strategy):
    trainer = small_trainer([ModalityDropout(p=0.6)], 3, strategy=strategy)
    step = one_step(trainer)
    assert step.present.any(dim=1).all() and not step.present.all()
    recorded = step.representations
    for i, m in enumerate(step.modalities):
        result = torch.autograd.grad(
            _again(trainer, step, recorded), recorded[m], retain_graph=True
        )[0]
        by_clip = result.flatten(1).abs().amax(dim=1) > 0
        assert torch.equal(by_clip, step.present[:, i])


def _again(trainer, step, recorded):
    return step.cross_entropy(trainer.model.fuse(recorded, step.present))


def test_only_in_training():
    trainer = small_trainer([ModalityDropout(p=0.9)])
    plain = small_trainer()
    result, expected = (t.context.outputs("val").logits for t in (trainer, plain))
    assert torch.equal(result, expected)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_wrong_parameters(p):
    with pytest.raises(ParameterError, match="needs p from 0 to below 1, and was given p="):
        ModalityDropout(p=p)
