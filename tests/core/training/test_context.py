import numpy as np
import pytest
import torch
from torch.nn import functional

from fusion import Balancer
from fusion.core.testing.checks.problem import (
    CONFIG,
    SmallMaps,
    SmallStrategy,
    one_step,
    small_features,
    small_model,
    small_step,
    small_trainer,
)
from fusion.core.training.context import TrainingContext, shown

PARTS = {"train": np.arange(36), "val": np.arange(36, 48)}


def context(modalities=2, strategy=SmallStrategy):
    model = small_model(modalities, strategy=strategy)
    return TrainingContext(model, CONFIG, small_features(modalities), PARTS)


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_outputs_equal_those_of_the_model(strategy):
    one = context(3, strategy)
    result = one.outputs("val")
    features, model = small_features(3), one.model.eval()
    raw, labels = features.batch(PARTS["val"])
    with torch.no_grad():
        encoded = model.encode(model.standardised(raw))
        torch.testing.assert_close(result.logits, model(raw))
        probes = model.probe(encoded)
    assert result.indices.tolist() == PARTS["val"].tolist()
    assert torch.equal(result.labels, labels)
    for m in model.modalities:
        torch.testing.assert_close(result.embeddings[m], encoded.embeddings[m])
        torch.testing.assert_close(result.unimodal[m], probes[m])
    assert not result.logits.requires_grad


def test_outputs_are_kept_until_the_weights_change():
    one = context()
    first = one.outputs("train")
    assert one.outputs("train") is first
    one.changed()
    assert one.outputs("train") is not first


def test_outputs_change_after_a_step():
    trainer = small_trainer([], 2)
    before = trainer.context.outputs("val").logits
    one_step(trainer)
    assert not torch.equal(trainer.context.outputs("val").logits, before)


def test_outputs_of_subsets_by_hand():
    one = context(2)
    result = one.outputs("val", subsets=True)
    assert list(result.subsets) == [(), ("voice",), ("face",), ("voice", "face")]
    head = one.model.strategy.head
    voice, face = (result.embeddings[m] for m in ("voice", "face"))
    with torch.no_grad():
        only = voice @ head.weight[:, :6].T + head.bias
        torch.testing.assert_close(result.subsets["voice",], only)
        torch.testing.assert_close(result.subsets["face",], face @ head.weight[:, 6:].T + head.bias)
        torch.testing.assert_close(result.subsets[()], head.bias.expand(12, -1))
    torch.testing.assert_close(result.subsets["voice", "face"], result.logits)


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_outputs_with_subsets_are_reused_and_additive(strategy):
    trainer = small_trainer([], 3, strategy=strategy)
    context, model = trainer.context, trainer.model
    plain = context.outputs("train")
    assert plain.subsets == {}
    reference = context.outputs("train", subsets=True)
    assert context.outputs("train") is reference  # reused without `subsets`
    assert len(reference.subsets) == 8
    a, b, c = model.modalities
    assert torch.allclose(reference.subsets[a, b, c], reference.logits)
    assert torch.equal(reference.logits, plain.logits)
    # The strategies are additive: the scores of two modalities are the sum of both, minus those of
    # none.
    parts = reference.subsets[a,] + reference.subsets[c,] - reference.subsets[()]
    assert torch.allclose(reference.subsets[a, c], parts, atol=1e-5)
    assert np.array_equal(reference.indices, trainer.train)
    one_step(trainer)
    assert not torch.equal(context.outputs("train").logits, reference.logits)


def test_a_resumed_training_discards_outputs_from_setup(tmp_path):
    """Outputs requested in setup are from other weights than those of the checkpoint."""

    class Asks(Balancer):
        name = "asks"

        def setup(self, context):
            self.context = context
            self.said = [context.outputs("val").logits]

        def epoch_start(self, epoch):
            self.said.append(self.context.outputs("val").logits)

    class StopError(Exception):
        pass

    def stop(record):
        if record["epoch"] == 1:
            raise StopError

    whole, again = Asks(), Asks()
    small_trainer([whole]).fit()
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(StopError):
        small_trainer([Asks()], checkpoint=path, on_epoch=stop).fit()
    small_trainer([again], checkpoint=path).fit()
    assert torch.equal(again.said[-1], whole.said[-1])


def test_a_batch_has_gradients_and_keeps_the_training_modes():
    one = context()
    one.model.train()
    one.model.branches["face"].eval()
    step = one.batch("train", 8, torch.Generator().manual_seed(0))
    assert one.model.training and not one.model.branches["face"].training
    assert len(step.labels) == 8 and step.present.all() and step.present.shape == (8, 2)
    raw, labels = small_features(2).batch(
        torch.randperm(36, generator=torch.Generator().manual_seed(0))[:8].numpy()
    )
    assert torch.equal(step.labels, labels)
    torch.testing.assert_close(step.logits, one.model(raw))
    torch.testing.assert_close(step.fused_loss, functional.cross_entropy(step.logits, labels))
    step.fused_loss.backward()
    assert all(p.grad is not None for p in one.model.branches.parameters())
    assert all(p.grad is None for p in one.model.probes.parameters())


def test_a_batch_is_no_larger_than_its_part():
    one = context()
    step = one.batch("val", 100, torch.Generator().manual_seed(0))
    assert len(step.labels) == 12


def test_setup_while_checking_has_no_clips():
    one = TrainingContext(small_model(), CONFIG)
    assert one.checking and one.modalities == ["voice", "face"]
    logits = torch.tensor([[0.0, 0.0, 0.0]])
    assert float(one.cross_entropy(logits, torch.tensor([1]))) == pytest.approx(np.log(3))
    for ask in (lambda: one.outputs("train"), lambda: one.batch("val", 2, torch.Generator())):
        with pytest.raises(AssertionError, match="may not ask for clips in setup"):
            ask()


def test_the_cross_entropy_has_class_weights_and_smoothing():
    trainer = small_trainer([], 2, class_weights="balanced", label_smoothing=0.3)
    trainer.features.targets[:12] = 0  # the 36 training clips now have 20, 8 and 8 per class
    one = TrainingContext(trainer.model, trainer.config, trainer.features, {"train": np.arange(36)})
    counts = np.bincount(trainer.features.targets[:36].numpy(), minlength=3)
    weights = 36 / (3 * counts)
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]])
    labels = torch.tensor([2, 0])
    logs = logits.log_softmax(1).numpy()
    # PyTorch smooths over classes with their weights, and divides by the weights of the labels.
    own = sum(-weights[y] * logs[i, y] for i, y in enumerate([2, 0]))
    spread = sum(-weights[c] * logs[i, c] for i in range(2) for c in range(3))
    expected = (0.7 * own + 0.3 / 3 * spread) / (weights[2] + weights[0])
    assert float(one.cross_entropy(logits, labels)) == pytest.approx(expected, rel=1e-5)


def test_steps_per_epoch():
    assert context().steps_per_epoch == 5  # 36 clips in batches of at most 8


def test_shown_modalities_of_clips():
    labels = torch.zeros(2, dtype=torch.int64)
    assert shown(None, labels, 3).tolist() == [[True] * 3] * 2
    rows = np.array([[True, False], [False, True]])
    assert shown(rows, labels, 2).tolist() == rows.tolist()


def test_a_small_step_has_the_modalities_of_the_model():
    step = small_step(small_model(3))
    assert set(step.unimodal) == {"voice", "face", "text"}
    assert step.context.modalities == step.modalities
