"""The training loop on a synthetic problem of two modalities."""

from pathlib import Path

import numpy as np
import pytest
import torch
from arrays import Rows

from fusion import Balancer, Modality
from fusion.core.contracts.errors import TrainingError
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.data.features import Features
from fusion.core.data.windows import ClipRows
from fusion.core.registry.registry import Registry
from fusion.core.training.inference import predict
from fusion.core.training.model import BranchSpec, ModelSpec, build_model
from fusion.core.training.trainer import Trainer

CLASSES = 3
CONFIG = TrainConfig(epochs=4, batch_size=8, dim=6, lr=1e-2, patience=0, precision="float32")
TRAIN, VAL = np.arange(0, 60), np.arange(60, 90)


@pytest.fixture(scope="module")
def registry():
    return Registry()


def problem(scale=1.0):
    """Return features of 90 clips; both modalities depend on the class, `a` more clearly."""
    rng = np.random.default_rng(0)
    targets = np.arange(90) % CLASSES
    a = rng.normal(size=(90, 1, 8, 8)).astype(np.float32)
    a[np.arange(90), 0, targets * 2] += 2.0
    b = (scale * (rng.normal(size=(90, 5)) + targets[:, None])).astype(np.float32)
    modalities = {
        "a": Modality("a", (1, 8, 8), ("channel", "frequency", "time")),
        "b": Modality("b", (5,)),
    }
    return Features(
        modalities, {"a": Rows(a), "b": Rows(b)}, targets, torch.device("cpu"), resident_bytes=10**9
    )


def model_of(features, registry, seed=0, strategy="gated"):
    branches = tuple(
        BranchSpec(m, "cnn" if m.axes else "mlp", {"blocks": 2, "channels": 4} if m.axes else {})
        for m in features.modalities.values()
    )
    return build_model(ModelSpec(branches, CLASSES, CONFIG.dim, strategy), registry, seed)


def trainer(registry, *, config=CONFIG, features=None, strategy="gated", **options):
    features = features or problem()
    model = model_of(features, registry, strategy=strategy)
    return Trainer(model, features, TRAIN, VAL, config, **options)


def weights(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def test_a_training_learns_and_reports(registry):
    one = trainer(registry, config=TrainConfig(epochs=15, batch_size=8, dim=6, lr=1e-2))
    progress = one.fit()
    last = progress.history[-1]
    assert progress.best_uar > 0.7
    assert progress.best_uar == progress.history[progress.best_epoch - 1]["val_uar"]
    assert {"train_loss", "train_uar", "val_uar", "val_loss", "val_uar.a", "val_uar.b",
            "weight.a", "weight.b", "seconds"} <= set(last)  # fmt: skip
    assert last["weight.a"] + last["weight.b"] == pytest.approx(1, abs=1e-3)


def test_same_seed_same_result_to_the_bit(registry):
    runs = []
    for _ in range(2):
        one = trainer(registry, seed=3)
        history = one.fit().history
        runs.append(([{k: v for k, v in r.items() if k != "seconds"} for r in history],
                     weights(one.model)))  # fmt: skip
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(runs[0][1][k], runs[1][1][k]) for k in runs[0][1])


def test_the_trained_model_has_the_weights_of_the_best_epoch(registry):
    one = trainer(registry)
    progress = one.fit()
    result = predict(one.model, one.features, VAL).probabilities.argmax(1)
    truth = one.features.targets.numpy()[VAL]
    recall = np.mean([(result[truth == c] == c).mean() for c in range(CLASSES)])
    assert recall == pytest.approx(progress.best_uar, abs=1e-4)


def test_a_resumed_training_equals_an_uninterrupted_one(registry, tmp_path: Path):
    class StopError(Exception):
        pass

    def stop_after_two(record):
        if record["epoch"] == 2:
            raise StopError

    whole = trainer(registry, balancers=[Registry().balancer("gradscale")()])
    whole.fit()
    path = tmp_path / "checkpoint.pt"
    options = {"checkpoint": path}
    with pytest.raises(StopError):
        trainer(registry, balancers=[registry.balancer("gradscale")()],
                on_epoch=stop_after_two, **options).fit()  # fmt: skip
    recorded = []
    again = trainer(registry, balancers=[registry.balancer("gradscale")()],
                    on_epoch=lambda r: recorded.append(r["epoch"]), **options)  # fmt: skip
    again.fit()
    assert recorded == [1, 2, 3, 4]  # earlier epochs are reported again
    first, second = weights(whole.model), weights(again.model)
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_validation_and_test_clips_do_not_affect_training(registry):
    """Values of validation and test clips change neither statistics nor a step.

    A strategy that reads validation (`gated`) is an exception: its loss depends on the fit.
    """
    plain = trainer(registry, strategy="concat")
    features = problem()
    features._resident["b"][60:] *= 100
    features.arrays["b"].array[60:] *= 100
    spoiled = trainer(registry, features=features, strategy="concat")
    losses = [[r["train_loss"] for r in t.fit().history] for t in (plain, spoiled)]
    assert losses[0] == losses[1]
    assert torch.equal(spoiled.model.standardise["b"].mean, plain.model.standardise["b"].mean)


def test_resident_and_gathered_features_give_the_same_training(registry):
    resident = problem()
    gathered = Features(resident.modalities, resident.arrays, resident.targets.numpy(),
                        torch.device("cpu"), resident_bytes=0)  # fmt: skip
    assert resident.resident and not gathered.resident
    one, two = trainer(registry, features=resident), trainer(registry, features=gathered)
    one.fit(), two.fit()
    first, second = weights(one.model), weights(two.model)
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_the_best_epoch_has_the_highest_mean_over_recent_epochs(registry):
    one = trainer(registry, config=TrainConfig(dim=6, smooth=2))
    stored = []
    for epoch, score in enumerate([0.2, 0.9, 0.1, 0.6, 0.7, 0.6], start=1):
        record = {"epoch": epoch, "val_uar": score, "val_loss": 1.0}
        one._keep_best(record)
        one.progress.history.append(record)
        stored.append(one.progress.best_epoch)
    # Means of two: 0.2, 0.55, 0.5, 0.35, 0.65, 0.65. Neither a lucky 0.9 nor a tie wins.
    assert stored == [1, 2, 2, 2, 5, 5]
    assert one.progress.best_uar == 0.7


def test_patience_stops_early(registry):
    config = TrainConfig(epochs=50, batch_size=8, dim=6, lr=1e-9, patience=3)
    progress = trainer(registry, config=config).fit()
    assert progress.epoch - progress.best_epoch == 3
    assert progress.epoch < 50


class Recorder(Balancer):
    name = "recorder"

    def __init__(self):
        self.calls = []

    def setup(self, context):
        assert not context.checking and context.modalities == ["a", "b"]
        self.calls.append("setup")

    def parameter_groups(self, groups):
        self.calls.append("parameter_groups")
        return groups

    def stage(self, epoch):
        self.calls.append("stage")

    def clips(self, clips, epoch):
        assert clips.indices.tolist() == TRAIN.tolist() and clips.present is None
        self.calls.append("clips")
        return clips

    def epoch_start(self, epoch):
        self.calls.append("epoch_start")

    def present(self, present, step):
        assert present.shape == (60, 2) and present.all()
        self.calls.append("present")
        return present

    def passes(self, step):
        assert set(step.unimodal) == {"a", "b"}
        self.calls.append("passes")

    def inputs(self, inputs, step):
        self.calls.append("inputs")
        return inputs

    def representations(self, representations, step):
        assert set(step.inputs) == {"a", "b"}
        self.calls.append("representations")
        return representations

    def logits(self, logits, step):
        assert logits.shape == (60, 3)
        self.calls.append("logits")
        return logits

    def losses(self, losses, step):
        assert losses == {"fused": step.fused_loss}
        assert set(step.unimodal_losses) == set(step.unimodal) == {"a", "b"}
        scores = step.scores()
        assert all(0 < float(s) < len(step.labels) for s in scores.values())
        self.calls.append("losses")
        return losses

    def gradients(self, gradients, step):
        assert gradients.modalities == ["a", "b"]
        assert all(float(gradients.norm(m)) > 0 for m in "ab")
        self.calls.append("gradients")

    def step_end(self, step):
        self.calls.append("step_end")

    def epoch_end(self, epoch, metrics):
        assert metrics["val_uar"] >= 0
        self.calls.append("epoch_end")

    def metrics(self):
        return {"recorder.calls": float(len(self.calls))}


def test_hooks_of_balancers_are_called_in_order(registry):
    recorder = Recorder()
    config = TrainConfig(epochs=1, batch_size=60, dim=6)
    progress = trainer(registry, config=config, balancers=[recorder]).fit()
    assert recorder.calls == [
        "setup", "parameter_groups", "stage", "epoch_start", "clips", "inputs", "present",
        "passes", "representations", "logits", "losses", "gradients", "step_end", "epoch_end",
    ]  # fmt: skip
    assert progress.history[0]["recorder.calls"] == 13


def test_replaced_representations_are_used(registry):
    class Zero(Balancer):
        name = "zero"

        def representations(self, representations, step):
            return {**representations, "b": torch.zeros_like(representations["b"])}

    one = trainer(registry, balancers=[Zero()])
    before = weights(one.model)
    one.fit()
    moved = {k for k, v in weights(one.model).items() if not torch.equal(v, before[k])}
    assert any(k.startswith("branches.a.embed") for k in moved)
    # A branch with a replaced embedding has no gradient. Weight decay and running statistics still
    # change it, so the test compares the bias of the last layer with a tolerance.
    assert torch.allclose(one.model.branches["b"].embed.bias, before["branches.b.embed.bias"],
                          rtol=0.05)  # fmt: skip


def test_a_non_finite_loss_names_step_modality_and_cause(registry):
    features = problem()
    features._resident["b"][TRAIN[7]] = float("nan")
    with pytest.raises(TrainingError, match=r"at step \d+ \(epoch 1\).*inputs of modality 'b'"):
        trainer(registry, features=features).fit()
    config = TrainConfig(epochs=3, batch_size=8, dim=6, lr=1e30, clip=0.0, optimizer="sgd")
    with pytest.raises(TrainingError, match=r"learning rate that is too high \(train.lr=1e\+30\)"):
        trainer(registry, config=config).fit()


def test_a_frozen_branch_is_ignored_by_a_balancer(registry):
    features = problem()
    model = model_of(features, registry)
    model.branches["b"].requires_grad_(False)
    balancers = [registry.balancer("gradscale")()]
    progress = Trainer(model, features, TRAIN, VAL, CONFIG, balancers=balancers).fit()
    assert progress.history[-1]["gradscale.a"] == pytest.approx(1.0)


def test_class_weights_by_hand(registry):
    features = problem()
    features.targets[TRAIN[:30]] = 0  # 40, 10, 10 of 60
    one = Trainer(model_of(features, registry), features, TRAIN, VAL,
                  TrainConfig(class_weights="balanced", dim=6))  # fmt: skip
    counts = np.bincount(features.targets.numpy()[TRAIN], minlength=3)
    assert one.context.class_weights.tolist() == pytest.approx((60 / (3 * counts)).tolist())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_cuda(registry):
    cpu = problem()
    features = Features(cpu.modalities, cpu.arrays, cpu.targets.numpy(), torch.device("cuda"),
                        resident_bytes=10**9)  # fmt: skip
    model = model_of(features, registry).to("cuda")
    config = TrainConfig(epochs=15, batch_size=8, dim=6, lr=1e-2)
    balancers = [registry.balancer("gradscale")()]
    progress = Trainer(model, features, TRAIN, VAL, config, balancers=balancers).fit()
    assert progress.best_uar > 0.7


# -- windows of long clips -------------------------------------------------------------


def windowed(resident_bytes=10**9):
    """Return features of 90 clips with one, two or three windows."""
    counts = 1 + np.arange(90) % 3
    clip = np.repeat(np.arange(90), counts)
    rng = np.random.default_rng(0)
    targets = np.arange(90) // 3 % CLASSES
    parts = (rng.normal(size=(len(clip), 5)) + targets[clip][:, None]).astype(np.float32)
    whole = rng.normal(size=(90, 5)).astype(np.float32)[clip]
    modalities = {m: Modality(m, (5,)) for m in ("a", "b")}
    return Features(
        modalities, {"a": Rows(parts), "b": Rows(whole)}, targets, torch.device("cpu"),
        resident_bytes=resident_bytes, rows=ClipRows(np.cumsum([0, *counts]), ("a",)),
    )  # fmt: skip


def rows_of(one, epoch):
    """Return the clips and the rows that an epoch trains on."""
    batches = one._batches(epoch, np.random.default_rng(0))
    pairs = [(clips.indices, rows) for clips, rows in one._with_windows(epoch, batches)]
    return [np.concatenate(part) for part in zip(*pairs, strict=True)]


def test_an_epoch_trains_on_a_random_window_of_every_clip(registry):
    one = trainer(registry, features=windowed())
    clips, rows = rows_of(one, 1)
    first = one.features.rows.first
    assert sorted(clips) == TRAIN.tolist()
    assert np.all((first[clips] <= rows) & (rows < first[clips + 1]))
    np.testing.assert_array_equal(rows, rows_of(one, 1)[1])
    assert np.any(rows != rows_of(one, 2)[1])
    assert np.any(rows != rows_of(trainer(registry, features=windowed(), seed=1), 1)[1])


def test_a_step_reads_the_drawn_windows(registry):
    features = windowed(resident_bytes=0)
    read = []
    take = features.arrays["a"].take
    features.arrays["a"].take = lambda rows: read.append(rows.tolist()) or take(rows)
    one = trainer(registry, features=features, config=TrainConfig(epochs=1, batch_size=8, dim=6))
    read.clear()
    one._epoch(1)
    order = np.random.SeedSequence([0, 1]).generate_state(2)[1]
    batches = one._batches(1, np.random.default_rng(int(order)))
    drawn = [rows.tolist() for _, rows in one._with_windows(1, batches)]
    assert sorted(read[: len(drawn)]) == sorted(drawn)  # a thread reads ahead


def test_a_resumed_training_on_windows_equals_an_uninterrupted_one(registry, tmp_path: Path):
    class StopError(Exception):
        pass

    def stop_after_two(record):
        if record["epoch"] == 2:
            raise StopError

    whole = trainer(registry, features=windowed())
    whole.fit()
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(StopError):
        trainer(registry, features=windowed(), checkpoint=path, on_epoch=stop_after_two).fit()
    again = trainer(registry, features=windowed(resident_bytes=0), checkpoint=path)
    again.fit()
    first, second = weights(whole.model), weights(again.model)
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_one_window_per_clip_trains_as_without_windows(registry):
    """With one window per clip, every number equals that of a training without windows."""
    plain = problem()
    single = Features(
        plain.modalities, plain.arrays, plain.targets.numpy(), torch.device("cpu"),
        resident_bytes=10**9, rows=ClipRows(np.arange(91), ("a",)),
    )  # fmt: skip
    one, other = trainer(registry, features=plain), trainer(registry, features=single)
    histories = [
        [{k: v for k, v in r.items() if k != "seconds"} for r in t.fit().history]
        for t in (one, other)
    ]
    assert histories[0] == histories[1]
    first, second = weights(one.model), weights(other.model)
    assert all(torch.equal(first[k], second[k]) for k in first)
