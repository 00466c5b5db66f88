"""Trainings that start from, or read, the modalities trained alone."""

import csv
import json
from itertools import product

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from small_runs import SMALL

from fusion.core.cli import run_cli
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
    # Copies: what is trained on changes no baseline. The strategy is left alone.
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


def test_only_strategies_that_ask_adopt():
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


def test_frozen_is_frozen():
    baseline = frozen("voice", small_model(1), 0.4)
    assert not baseline.model.training
    assert not any(p.requires_grad for p in baseline.model.parameters())


def test_a_training_leaves_its_baselines_as_they_are():
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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Six speakers say two classes, two clips each: tones. A table, and a folder for features."""
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    rows = [("path", "label", "speaker")]
    for speaker, (label, pitch), take in product(range(6), PITCHES.items(), range(2)):
        t = np.arange(4800) / 16000
        tone = np.sin(2 * np.pi * (pitch + 9 * speaker) * t) + 0.1 * rng.normal(size=len(t))
        rows.append((f"s{speaker}-{label}-{take}.wav", label, f"s{speaker}"))
        soundfile.write(folder / rows[-1][0], 0.5 * tone, 16000)
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


PITCHES = {"happy": 400, "sad": 200}


def test_a_whole_run_trains_the_baselines_first(tmp_path, tiny):
    """What the fused training reads of them, it could read only when they were done."""
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    chosen = ["--strategy", "starter", "--balance", "reader"]
    run = tmp_path / "run"
    where = ["--data", str(tiny / "clips.csv"), "--cache", str(tiny / "cache"), "--out", str(run)]
    options = ["--epochs", "2", "--quiet", *SMALL]
    assert run_cli(["run", "-p", str(plugin), *chosen, *where, *options]) == 0
    uars = {}
    for m in ("mel", "persistence"):
        summary = run / "fold0" / m / "training.json"
        uars[m] = json.loads(summary.read_text())["best_uar"]
    found = load_file(run / "fold0/fused/model.safetensors")["strategy.uars"]
    assert found.tolist() == pytest.approx(list(uars.values()))
    last = json.loads((run / "fold0/fused/epochs.jsonl").read_text().splitlines()[-1])
    assert {m: last[f"reader.{m}"] for m in uars} == pytest.approx(uars)
