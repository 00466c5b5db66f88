"""The small training problem of the checks."""

import numpy as np
import pytest
import torch

from fusion.core.testing.checks.problem import (
    NAMES,
    ByName,
    ByNameMaps,
    SmallMaps,
    SmallStrategy,
    names_of,
    one_step,
    small_baselines,
    small_features,
    small_model,
    small_step,
    small_trainer,
)


def test_names_are_not_in_alphabetical_order():
    assert names_of(2) == list(NAMES[:2]) == ["voice", "face"]
    assert names_of(("text", "voice")) == ["text", "voice"]
    assert sorted(NAMES) != list(NAMES)


def test_the_first_modality_is_the_most_informative():
    features = small_features(3, clips=600)
    targets = features.targets.numpy()
    assert np.bincount(targets).tolist() == [200] * 3
    for i, m in enumerate(NAMES):
        array = features.arrays[m].take(np.arange(600))
        means = [array[targets == c].mean() for c in range(3)]
        assert np.diff(means) == pytest.approx([2 / (i + 1)] * 2, abs=0.2)


def test_data_of_a_modality_do_not_depend_on_the_others():
    every, one = small_features(3), small_features(("text",))
    clips = np.arange(48)
    assert np.array_equal(every.arrays["text"].take(clips), one.arrays["text"].take(clips))


@pytest.mark.parametrize("strategy", [ByName, ByNameMaps])
def test_the_order_of_modalities_does_not_change_the_named_weights(strategy):
    one, other = (small_model(n, strategy=strategy) for n in (NAMES, NAMES[::-1]))
    assert list(other.modalities) == list(NAMES[::-1])
    weights, turned = one.state_dict(), other.state_dict()
    assert weights.keys() == turned.keys()
    assert all(torch.equal(weights[key], turned[key]) for key in weights)
    inputs = {m: torch.randn(5, 4) for m in NAMES}
    torch.testing.assert_close(one.eval()(inputs), other.eval()(inputs))


def test_the_seed_decides_the_weights():
    torch.manual_seed(7)
    first = small_model(2)
    torch.manual_seed(8)
    again, other = small_model(2), small_model(2, seed=1)
    key = "branches.voice.first.weight"
    assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


def test_baselines_have_decreasing_uar_and_frozen_weights():
    result = small_baselines(3, classes=4)
    assert [b.val_uar for b in result.values()] == pytest.approx([0.7, 0.6, 0.5])
    for m, baseline in result.items():
        assert not any(p.requires_grad for p in baseline.model.parameters())
        assert baseline.model({m: torch.zeros(2, 4)}).shape == (2, 4)
    # A baseline is independent of the other baselines.
    alone = small_baselines(("text",), classes=4)["text"].model.state_dict()
    weights = result["text"].model.state_dict()
    assert all(torch.equal(alone[key], weights[key]) for key in weights)


def test_training_and_validation_share_no_clip():
    trainer = small_trainer(clips=23, epochs=3)
    assert trainer.train.tolist() == list(range(23))
    assert trainer.val.tolist() == list(range(36, 48))
    assert trainer.config.epochs == 3


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_a_step_changes_the_weights_reproducibly(strategy):
    ended = []
    for _ in range(2):
        trainer = small_trainer(strategy=strategy)
        before = {k: x.clone() for k, x in trainer.model.state_dict().items()}
        step = one_step(trainer, clips=6)
        assert len(step.labels) == 6
        after = trainer.model.state_dict()
        assert not torch.equal(after["strategy.head.weight"], before["strategy.head.weight"])
        ended.append({k: x.clone() for k, x in after.items()})
    assert all(torch.equal(ended[0][key], ended[1][key]) for key in ended[0])


def test_a_small_step_before_any_loss():
    step = small_step(small_model(3), clips=5)
    assert list(step.unimodal_logits) == list(NAMES)
    assert {tuple(x.shape) for x in step.unimodal_logits.values()} == {(5, 3)}
    assert torch.equal(small_step(clips=5).labels, small_step(clips=5).labels)
