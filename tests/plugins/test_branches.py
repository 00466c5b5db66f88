"""What every branch must do."""

import pickle

import pytest
import torch

from fusion.core.parameters import parameters_of
from fusion.plugins.branches.cnn import CNN
from fusion.plugins.branches.crnn import CRNN
from fusion.plugins.branches.mlp import MLP
from fusion.plugins.branches.resnet import ResNet
from fusion.plugins.branches.transformer import Transformer

BRANCHES = {
    "cnn": (CNN, {}),
    "crnn": (CRNN, {}),
    "crnn, two layers, mean": (CRNN, {"layers": 2, "frequency": "mean"}),
    "mlp": (MLP, {}),
    "resnet": (ResNet, {"width": 8}),
    "transformer": (Transformer, {}),
    "transformer, class": (Transformer, {"pooling": "class"}),
}
SHAPES = [(1, 128, 256), (6, 32, 32), (2, 13, 37)]


@pytest.fixture(params=BRANCHES)
def kind(request):
    return BRANCHES[request.param]


def make(kind, shape):
    cls, parameters = kind
    torch.manual_seed(0)
    return cls(shape, 7, **parameters)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_maps_and_embeddings_are_as_declared(kind, shape, training):
    assert kind[0].accepts(shape)
    branch = make(kind, shape).train(training)
    maps = branch.maps(torch.randn(2, *shape))
    assert maps.shape[:2] == (2, branch.map_channels)
    embedding = branch.pool(maps)
    assert embedding.shape == (2, branch.dim) == (2, 7)
    assert torch.isfinite(embedding).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_gradient_reaches_every_weight_and_the_input(kind, shape):
    branch = make(kind, shape)
    x = torch.randn(8, *shape, requires_grad=True)
    (branch(x) * torch.randn(8, 7)).sum().backward()
    for name, p in branch.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name
    assert x.grad.abs().max() > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_a_clips_embedding_does_not_depend_on_its_company(kind, shape):
    branch = make(kind, shape).eval()
    x = torch.randn(4, *shape)
    assert torch.allclose(branch(x)[1:2], branch(x[1:2]), atol=1e-5)
    with torch.no_grad():  # torch has another code path for transformers here
        assert torch.allclose(branch(x), branch(x.clone()), atol=1e-5)


def test_bfloat16(kind):
    branch = make(kind, (2, 13, 37))
    x = torch.randn(4, 2, 13, 37)
    exact = branch.eval()(x)
    with torch.autocast("cpu", torch.bfloat16):
        rough = branch(x)
        loss = branch.train()(x).float().sum()
    loss.backward()
    assert torch.allclose(rough.float(), exact, atol=0.05)
    assert all(p.grad is not None for p in branch.parameters())


def test_the_same_seed_makes_the_same_branch(kind):
    one, other = make(kind, (6, 32, 32)), make(kind, (6, 32, 32))
    x = torch.randn(2, 6, 32, 32)
    torch.manual_seed(1)
    first = one(x)
    torch.manual_seed(1)
    assert torch.equal(first, other(x))


def test_weights_survive_pickle_and_state(kind):
    branch = make(kind, (6, 32, 32)).eval()
    x = torch.randn(2, 6, 32, 32)
    assert torch.equal(pickle.loads(pickle.dumps(branch))(x), branch(x))
    other = kind[0]((6, 32, 32), 7, **kind[1]).eval()
    other.load_state_dict(branch.state_dict())
    assert torch.equal(other(x), branch(x))


def test_every_parameter_is_explained(kind):
    assert all(p.doc for p in parameters_of(kind[0]).values())


@pytest.mark.parametrize("shape", [(40,), (8, 8), (1, 2, 3, 4)])
def test_shapes_that_are_no_image_are_left_to_others(kind, shape):
    assert kind[0].accepts(shape) is (kind[0] is MLP)
