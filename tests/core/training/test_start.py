"""Fused models that start from their baselines: weights, epoch 0, learning rates, resumption."""

import pytest
import torch

from fusion.core.testing.checks.problem import SmallStrategy, small_baselines, small_trainer
from fusion.plugins.strategies.gated import Gated


def started(**options):
    return small_trainer([], 2, from_baselines=True, **options)


def weights(model):
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


class Adopts(SmallStrategy):
    """Copies the heads of the baselines: its scores are the sum of theirs."""

    name = "adopts"

    def adopt(self, baselines):
        heads = [baselines[m].model.strategy.linear for m in self.order]
        with torch.no_grad():
            self.head.weight.copy_(torch.cat([head.weight for head in heads], dim=1))
            self.head.bias.copy_(sum(head.bias for head in heads))


# -- the weights -----------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [SmallStrategy, Adopts, Gated])
def test_before_the_first_step_every_branch_equals_its_baseline(strategy):
    trainer, baselines = started(strategy=strategy), small_baselines(2)
    for m, baseline in baselines.items():
        own, mine = baseline.model.branches[m], trainer.model.branches[m]
        for key, value in own.state_dict().items():
            assert torch.equal(mine.state_dict()[key], value)
        head = baseline.model.strategy.linear
        assert torch.equal(trainer.model.probes[m].weight, head.weight)
        assert torch.equal(trainer.model.probes[m].bias, head.bias)
    assert all(p.requires_grad for p in trainer.model.branches.parameters())


def test_a_strategy_adopts_even_if_it_does_not_need_the_baselines():
    trainer, baselines = started(strategy=Adopts), small_baselines(2)
    raw, _ = trainer.features.batch(trainer.val)
    trainer.model.eval()
    result = trainer.model(raw)
    expected = sum(
        torch.nn.functional.linear(
            trainer.model.branches[m](trainer.model.standardised(raw)[m]),
            b.model.strategy.linear.weight,
            b.model.strategy.linear.bias,
        )
        for m, b in baselines.items()
    )
    torch.testing.assert_close(result, expected)


def test_a_start_from_scratch_uses_no_baselines():
    plain = small_trainer([], 2, strategy=Adopts)
    assert not plain.context.baselines
    assert plain.fit().start is None


# -- epoch 0 ---------------------------------------------------------------------------


def test_the_start_is_validated_as_epoch_0():
    recorded = []
    trainer = started(strategy=Adopts, on_epoch=lambda r: recorded.append(r["epoch"]))
    before = weights(trainer.model)
    # The start is validated with unchanged weights.
    first = {}
    keep = trainer._keep_best

    def watched(record):
        if not first:
            first.update(weights(trainer.model))
        keep(record)

    trainer._keep_best = watched
    progress = trainer.fit()
    assert all(torch.equal(first[k], before[k]) for k in before)
    start = progress.start
    assert start["epoch"] == 0
    assert {"val_uar", "val_loss", "val_uar.voice", "val_uar.face"} <= set(start)
    # Epoch 0 is not counted as an epoch of training.
    assert [r["epoch"] for r in progress.history] == recorded == [1, 2]
    assert progress.epoch == 2 and progress.step == 2 * 5


def test_the_start_is_kept_if_no_epoch_is_better():
    """Every epoch equals the start if steps are tiny, and the first of equal epochs is kept."""
    trainer = started(strategy=Adopts, lr=1e-12, epochs=3)
    before = weights(trainer.model)
    progress = trainer.fit()
    assert progress.best_epoch == 0
    assert progress.best_uar == progress.best_score == progress.start["val_uar"]
    after = weights(trainer.model)
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_a_better_epoch_replaces_the_start():
    trainer = started(strategy=SmallStrategy, lr=3e-2, epochs=8, branch_rate=1.0, smooth=1)
    progress = trainer.fit()
    assert progress.best_epoch > 0
    assert progress.best_uar > progress.start["val_uar"]


def test_the_start_is_excluded_from_the_mean_over_epochs():
    trainer = started(smooth=2)
    stored = []
    for epoch, score in enumerate([0.6, 0.5, 0.9, 0.1]):
        record = {"epoch": epoch, "val_uar": score, "val_loss": 1.0}
        trainer._keep_best(record)
        if epoch:
            trainer.progress.history.append(record)
        stored.append(trainer.progress.best_epoch)
    # Scores 0.6, 0.5, (0.5 + 0.9) / 2 = 0.7, 0.5: the start does not raise epoch 1.
    assert stored == [0, 0, 2, 2]


def test_patience_counts_from_the_start():
    progress = started(strategy=Adopts, lr=1e-12, epochs=20, patience=3).fit()
    assert (progress.best_epoch, progress.epoch) == (0, 3)


def test_a_strategy_that_needs_baselines_also_has_an_epoch_0():
    class Needs(Adopts):
        needs_baselines = True

    trainer = small_trainer([], 2, strategy=Needs)
    rates = {(g.role, g.modality): g.lr for g in trainer.optimizer.groups}
    assert len(set(rates.values())) == 1  # and the full learning rate
    assert trainer.fit().start["epoch"] == 0


# -- learning rates --------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_branches_have_a_lower_learning_rate(optimizer):
    trainer = started(optimizer=optimizer, branch_rate=0.25, lr=0.01)
    rates = {(g.role, g.modality): g.lr for g in trainer.optimizer.groups}
    assert rates == {
        ("branch", "voice"): 0.0025, ("branch", "face"): 0.0025, ("head", None): 0.01,
        ("probe", "voice"): 0.01, ("probe", "face"): 0.01,
    }  # fmt: skip


# -- resumption ------------------------------------------------------------------------


class StopError(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("strategy", [Adopts, Gated])
def test_a_training_stopped_after_the_start_resumes_to_the_same_bits(tmp_path, strategy, after):
    def stop(record):
        if record["epoch"] == after:
            raise StopError

    options = {"strategy": strategy, "epochs": 3, "average": 0.9}
    whole = started(**options)
    expected = whole.fit()
    path = tmp_path / "checkpoint.pt"
    cut = started(checkpoint=path, on_epoch=stop, **options)
    if not after:  # the start is saved before any report

        def stop_at_once(epoch):
            raise StopError

        cut._epoch = stop_at_once
    with pytest.raises(StopError):
        cut.fit()
    again = started(checkpoint=path, **options)
    validated = []
    validate = again._validate

    def watched():
        validated.append(again.progress.epoch)
        return validate()

    again._validate = watched
    result = again.fit()
    assert len(validated) == 3 - after  # the start is not validated again
    strip = {"seconds"}
    for one, other in zip(result.history, expected.history, strict=True):
        assert {k: v for k, v in one.items() if k not in strip} == {
            k: v for k, v in other.items() if k not in strip
        }
    assert result.start == expected.start and result.best_epoch == expected.best_epoch
    first, second = weights(whole.model), weights(again.model)
    assert all(torch.equal(first[k], second[k]) for k in first)
