"""Requirements on every strategy that takes feature maps."""

import pickle

import numpy as np
import pytest
import torch
from arrays import Rows

from fusion import Modality
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.data.features import Features
from fusion.core.training.model import FusionModel, check_model
from fusion.core.training.trainer import Trainer
from fusion.plugins.branches.cnn import CNN
from fusion.plugins.branches.crnn import CRNN
from fusion.plugins.branches.mlp import MLP
from fusion.plugins.branches.resnet import ResNet
from fusion.plugins.branches.transformer import Transformer
from fusion.plugins.strategies.bottleneck import Bottleneck
from fusion.plugins.strategies.cross_attention import CrossAttention
from fusion.plugins.strategies.early import Early

STRATEGIES = [Early, Bottleneck, CrossAttention]
GRIDS = {"spectrogram": (5, 9), "sequence": (7,), "volume": (2, 3, 2), "point": ()}

pytestmark = pytest.mark.parametrize("cls", STRATEGIES)


def make(cls, names):
    torch.manual_seed(0)
    return cls({m: 3 + i for i, m in enumerate(names)}, 4)


def maps_of(names, batch=2, **options):
    torch.manual_seed(1)
    return {m: torch.randn(batch, 3 + i, *GRIDS[m], **options) for i, m in enumerate(names)}


NAMES = [list(GRIDS)[:n] for n in (1, 2, 3, 4)] + [["point"], ["sequence", "point"]]


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_any_number_of_modalities_on_any_grids(cls, names, training):
    model = make(cls, names).train(training)
    scores = model(maps_of(names))
    assert scores.shape == (2, 4)
    assert torch.isfinite(scores).all()


def no_choice(name):
    """Return whether a weight only makes queries to a modality of one token.

    Attention to a single token doesn't depend on the query, so that weight has no gradient.
    """
    return "cross.point.layers.0.norm_target" in name or "cross.table.layers.0.norm_target" in name


@pytest.mark.parametrize("names", NAMES)
def test_a_gradient_reaches_every_weight_and_every_modality(cls, names):
    model = make(cls, names)
    maps = maps_of(names, batch=6, requires_grad=True)
    torch.nn.functional.cross_entropy(model(maps), torch.arange(6) % 4).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().max() > 0 or no_choice(name), name
    assert all(x.grad.abs().max() > 0 for x in maps.values())


def test_every_modality_affects_the_scores(cls):
    names = list(GRIDS)
    model = make(cls, names).eval()
    maps = maps_of(names)
    before = model(maps)
    for m in names:
        assert (model({**maps, m: maps[m].flip(1)}) - before).abs().max() > 1e-5, m


def test_a_clips_scores_do_not_depend_on_the_batch(cls):
    names = list(GRIDS)
    model = make(cls, names).eval()
    maps = maps_of(names, batch=5)
    alone = model({m: x[2:3] for m, x in maps.items()})
    assert torch.allclose(model(maps)[2:3], alone, atol=1e-5)


def test_inference_equals_the_forward_pass_with_gradients(cls):
    """torch runs transformers by a different code path if gradients are disabled."""
    names = list(GRIDS)
    model = make(cls, names).eval()
    maps = maps_of(names)
    with torch.no_grad():
        quick = model(maps)
    assert torch.allclose(quick, model(maps), atol=1e-5)


def test_bfloat16(cls):
    names = list(GRIDS)
    model = make(cls, names)
    maps = maps_of(names)
    exact = model.eval()(maps)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(maps)
        loss = model.train()({m: x.bfloat16() for m, x in maps.items()}).float().sum()
    loss.backward()
    assert torch.allclose(rough.float(), exact, atol=0.1)
    assert all(p.grad is not None for p in model.parameters())


def test_weights_survive_pickle_and_state(cls):
    names = list(GRIDS)
    model = make(cls, names).eval()
    maps = maps_of(names)
    assert torch.equal(pickle.loads(pickle.dumps(model))(maps), model(maps))
    other = cls({m: 3 + i for i, m in enumerate(names)}, 4).eval()
    assert not torch.equal(other(maps), model(maps))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(maps), model(maps))


def test_large_grids_fit(cls):
    """A map of 32,768 cells, as a branch without pooling returns it."""
    model = cls({"a": 3, "b": 2}, 4)
    maps = {"a": torch.randn(2, 3, 128, 256), "b": torch.randn(2, 2, 8)}
    assert model(maps).shape == (2, 4)


# -- with real branches, in the real loop ---------------------------------------------

SHAPES = {"sound": (1, 20, 33), "image": (3, 16, 16), "table": (5,)}


def problem():
    rng = np.random.default_rng(0)
    targets = np.arange(36) % 3
    arrays = {
        m: (rng.normal(size=(36, *s)) + targets.reshape(-1, *[1] * len(s))).astype(np.float32)
        for m, s in SHAPES.items()
    }
    modalities = {
        m: Modality(m, s, ("channel", "frequency", "time")[: len(s)] if len(s) == 3 else ())
        for m, s in SHAPES.items()
    }
    return Features(
        modalities,
        {m: Rows(a) for m, a in arrays.items()},
        targets,
        torch.device("cpu"),
        resident_bytes=10**9,
    )


def trained(cls, sound, image, precision):
    torch.manual_seed(0)
    branches = {
        "sound": sound(SHAPES["sound"], 6),
        "image": image(SHAPES["image"], 6),
        "table": MLP(SHAPES["table"], 6),
    }
    model = FusionModel(branches, cls({m: b.map_channels for m, b in branches.items()}, 3), 3)
    check_model(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = TrainConfig(epochs=1, batch_size=8, dim=6, lr=1e-3, precision=precision, average=0)
    trainer = Trainer(model, problem(), np.arange(24), np.arange(24, 36), config)
    history = trainer.fit().history  # 24 clips, 8 at a time: three steps
    assert trainer.progress.step == 3
    return model, before, history[-1]


def narrow(shape, dim):
    return ResNet(shape, dim, width=4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("sound", "image"), [(CNN, Transformer), (CRNN, narrow)])
def test_three_steps_in_the_training_loop(cls, sound, image, precision):
    model, before, record = trained(cls, sound, image, precision)
    assert np.isfinite(record["train_loss"]) and np.isfinite(record["val_loss"])
    for name, p in model.named_parameters():
        # A strategy on maps does not use the layers that turn maps into embeddings (`embed`).
        if "embed" not in name and not no_choice(name):
            assert not torch.equal(p, before[name]), name
    again = trained(cls, sound, image, precision)[0]
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
