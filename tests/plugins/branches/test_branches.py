"""Requirements on every branch."""

import pickle

import pytest
import torch

from fusion.core.contracts.errors import ParameterError
from fusion.core.registry.parameters import parameters_of
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
def test_a_clips_embedding_does_not_depend_on_the_batch(kind, shape):
    branch = make(kind, shape).eval()
    x = torch.randn(4, *shape)
    assert torch.allclose(branch(x)[1:2], branch(x[1:2]), atol=1e-5)
    with torch.no_grad():  # torch runs transformers by a different code path here
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


def test_every_parameter_is_documented(kind):
    assert all(p.doc for p in parameters_of(kind[0]).values())


@pytest.mark.parametrize("shape", [(40,), (8, 8), (1, 2, 3, 4)])
def test_only_the_mlp_accepts_shapes_that_are_not_images(kind, shape):
    assert kind[0].accepts(shape) is (kind[0] is MLP)


# -- shrinking, statistics, standardising: by hand -------------------------------------


def test_statistics_are_means_and_deviations_over_time_per_row():
    branch = CNN((1, 8, 8), 5, blocks=2, channels=3, pooling="statistics", dropout=0.0).eval()
    maps = torch.randn(2, 3, 2, 7)  # (B, C, H, W)
    assert branch.embed.in_features == 2 * 3 * 2
    used = []
    branch.embed.register_forward_hook(lambda module, args, _: used.append(args[0]))
    branch.pool(maps)
    for clip in range(2):
        rows = maps[clip].reshape(6, 7).double().numpy()
        means, deviations = used[0][clip].detach().double().split(6)
        assert means.tolist() == pytest.approx(rows.mean(axis=1), abs=1e-6)
        assert deviations.tolist() == pytest.approx((rows.var(axis=1) + 1e-4) ** 0.5, abs=1e-6)


def test_statistics_of_constant_maps_have_a_finite_gradient():
    branch = CNN((1, 8, 8), 5, blocks=1, channels=3, pooling="statistics")
    maps = torch.ones(2, 3, 4, 4, requires_grad=True)
    branch.pool(maps).sum().backward()
    assert torch.isfinite(maps.grad).all()


@pytest.mark.parametrize("pooling", ["mean", "statistics"])
@pytest.mark.parametrize("shrink", [1, 2, 3])
@pytest.mark.parametrize("stem_stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 7, 9), (2, 16, 12), (1, 3, 40)])
def test_every_cnn_fits_its_own_maps(shape, stem_stride, shrink, pooling):
    branch = CNN(shape, 5, blocks=3, channels=3, shrink=shrink, pooling=pooling,
                 stem_stride=stem_stride)  # fmt: skip
    assert branch(torch.randn(4, *shape)).shape == (4, 5)


def test_shrinking_averages_squares():
    torch.manual_seed(0)
    small = CNN((2, 4, 6), 5, blocks=2, channels=3).eval()
    large = CNN((2, 9, 13), 5, blocks=2, channels=3, shrink=2).eval()
    large.load_state_dict(small.state_dict())
    x = torch.randn(3, 2, 9, 13)
    squares = (
        x[:, :, :8, :12].reshape(3, 2, 4, 2, 6, 2).mean(dim=(3, 5))
    )  # row 8 and column 12 are cut off
    torch.testing.assert_close(large(x), small(squares))
    flat = MLP((2, 4, 6), 5, hidden=7).eval()
    shrunk = MLP((2, 9, 13), 5, hidden=7, shrink=2).eval()
    shrunk.load_state_dict(flat.state_dict())
    torch.testing.assert_close(shrunk(x), flat(squares))


def test_normalise_standardises_each_value_of_the_input():
    torch.manual_seed(0)
    branch = MLP((1, 4, 4), 5, hidden=7, shrink=2, normalise=True, dropout=0.0).train()
    scales = 10.0 ** torch.arange(-3, 1).float().reshape(1, 1, 2, 2)
    x = scales * torch.randn(64, 1, 2, 2) + 5 * scales
    recorded = []
    linear = next(layer for layer in branch.layers if isinstance(layer, torch.nn.Linear))
    linear.register_forward_hook(lambda module, args, _: recorded.append(args[0]))
    branch(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert recorded[0].shape == (64, 4)
    assert recorded[0].mean(0).tolist() == pytest.approx([0.0] * 4, abs=1e-4)
    # The result is not exact: the normalisation adds 1e-5 to the variance, which is 1e-6 at least.
    assert recorded[0].std(0, unbiased=False)[2:].tolist() == pytest.approx([1.0] * 2, abs=0.1)
    assert not list(branch.layers[1].parameters())  # without weights


def test_input_dropout_acts_only_in_training():
    torch.manual_seed(0)
    branch = MLP((6,), 5, hidden=7, input_dropout=0.5, dropout=0.0)
    plain = MLP((6,), 5, hidden=7, dropout=0.0).eval()
    names = dict(zip(branch.state_dict(), plain.state_dict().values(), strict=True))
    branch.load_state_dict(names)
    x = torch.randn(8, 6)
    torch.testing.assert_close(branch.eval()(x), plain(x))
    assert not torch.equal(branch.train()(x), branch.train()(x))


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (lambda: CNN((1, 8, 8), 5, shrink=9), "cnn.shrink must be 1 to 8"),
        (lambda: CNN((1, 8, 8), 5, shrink=0), "cnn.shrink must be 1 to 8"),
        (lambda: MLP((8,), 5, shrink=2), "mlp.shrink=2 does not fit"),
        (lambda: MLP((1, 3, 8), 5, shrink=4), "mlp.shrink=4 does not fit"),
        (lambda: MLP((8,), 5, input_dropout=1.0), "input_dropout=1.0"),
    ],
)
def test_parameters_out_of_range(make_it, words):
    with pytest.raises(ParameterError, match=words):
        make_it()
