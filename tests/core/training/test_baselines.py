"""Trainings that start from the baselines, or read them."""

import json
from itertools import product

import pytest
import torch
from safetensors.torch import load_file
from untrained_runs import CLASSES, config_of, trained_run, write_corpus

from fusion.core.testing.checks.problem import (
    SmallStrategy,
    small_baselines,
    small_model,
    small_trainer,
)
from fusion.core.training.baselines import adopt, frozen, warm_start


def test_a_warm_start_gives_branches_and_probes_their_own_weights():
    model, baselines = small_model(2), small_baselines(2)
    before = {k: v.clone() for k, v in model.strategy.state_dict().items()}
    warm_start(model, baselines)
    for m, baseline in baselines.items():
        own = baseline.model
        for key, value in own.branches[m].state_dict().items():
            assert torch.equal(model.branches[m].state_dict()[key], value)
        raw = {m: torch.randn(3, 4)}
        embedding = model.branches[m](raw[m])
        torch.testing.assert_close(model.probes[m](embedding), baseline.logits(raw))
        torch.testing.assert_close(embedding, baseline.embedding(raw))
    # Weights are copied, so training does not change the baselines. The strategy is not changed.
    with torch.no_grad():
        model.branches["voice"].embed.bias.add_(1)
    assert not torch.equal(model.branches["voice"].embed.bias,
                           baselines["voice"].model.branches["voice"].embed.bias)  # fmt: skip
    assert all(torch.equal(model.strategy.state_dict()[k], v) for k, v in before.items())


class Starts(SmallStrategy):
    """Starts from the baselines."""

    needs_baselines = True

    def adopt(self, baselines):
        self.seen = {m: b.val_uar for m, b in baselines.items()}


def test_only_strategies_that_need_baselines_adopt_them():
    model = small_model(2)
    before = model.branches["voice"].embed.weight.clone()
    adopt(model, small_baselines(2))
    assert torch.equal(model.branches["voice"].embed.weight, before)
    trainer = small_trainer([], 3, strategy=Starts)
    assert trainer.model.strategy.seen == pytest.approx({"voice": 0.7, "face": 0.6, "text": 0.5})
    own = trainer.context.baselines["text"].model.branches["text"].embed.weight
    assert torch.equal(trainer.model.branches["text"].embed.weight, own)
    assert own.requires_grad is False
    assert trainer.model.branches["text"].embed.weight.requires_grad


def test_frozen_baselines_have_no_trainable_weights():
    baseline = frozen("voice", small_model(1), 0.4)
    assert not baseline.model.training
    assert not any(p.requires_grad for p in baseline.model.parameters())


def test_a_training_does_not_change_its_baselines():
    trainer = small_trainer([], 2, strategy=Starts)
    before = {
        (m, k): v.clone()
        for m, b in trainer.context.baselines.items()
        for k, v in b.model.state_dict().items()
    }
    trainer.fit()
    for (m, key), value in before.items():
        assert torch.equal(trainer.context.baselines[m].model.state_dict()[key], value)


PLUGIN = '''
import torch
from fusion import Balancer, Strategy, hookimpl

class Starter(Strategy):
    """Starts from the baselines."""
    name = "starter"
    needs_baselines = True

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.head = torch.nn.Linear(sum(dims.values()), num_classes)
        self.register_buffer("uars", torch.zeros(len(dims)))

    def adopt(self, baselines):
        self.uars.copy_(torch.tensor([baselines[m].val_uar for m in self.order]))

    def forward(self, inputs):
        return self.head(torch.cat([inputs[m] for m in self.order], dim=1))

class Reader(Balancer):
    """Reads what the baselines say."""
    name = "reader"
    needs_baselines = True

    def setup(self, context):
        self.uars = {m: b.val_uar for m, b in context.baselines.items()}

    def losses(self, losses, step):
        for m, b in step.context.baselines.items():
            assert b.logits(step.inputs).shape == (len(step.labels), 2)
        return losses

    def metrics(self):
        return {f"reader.{m}": float(uar) for m, uar in self.uars.items()}

@hookimpl
def fusion_strategies():
    return [Starter]

@hookimpl
def fusion_balancers():
    return [Reader]
'''


@pytest.mark.parametrize("start", ["scratch", "baselines"])
def test_a_run_trains_the_baselines_first(tmp_path, start):
    """The fused training reads values of the baselines, so these were trained first."""
    clips = product(range(6), CLASSES, range(2))
    write_corpus(tmp_path, **{f"s{s}_{c}_{t}": f"{t} {CLASSES.index(c)} | {t} 0 {s}"
                              for s, c, t in clips})  # fmt: skip
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    config = config_of(
        tmp_path,
        {"train": {"start": start, "epochs": 4, "lr": 0.05}},
        strategy="starter",
        balancers=("reader",),
        plugins=(str(tmp_path / "numbers_plugin.py"), str(plugin)),
    )
    run = trained_run(tmp_path / "run", config)
    uars = {m: run.summary(f"fold0/{m}")["best_uar"] for m in ("first", "second")}
    assert uars["first"] > uars["second"]  # only the first modality depends on the class
    result = load_file(run.path / "fold0/fused/model.safetensors")["strategy.uars"]
    assert result.tolist() == pytest.approx(list(uars.values()))
    last = json.loads((run.path / "fold0/fused/epochs.jsonl").read_text().splitlines()[-1])
    assert {m: last[f"reader.{m}"] for m in uars} == pytest.approx(uars)
