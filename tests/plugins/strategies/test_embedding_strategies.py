"""Strategies on embeddings, compared with values computed by hand or in plain numpy."""

import itertools

import numpy as np
import pytest
import torch

from fusion.core.contracts.errors import ParameterError
from fusion.plugins.strategies.attention import Attention
from fusion.plugins.strategies.film import Film
from fusion.plugins.strategies.gated import Gated
from fusion.plugins.strategies.lmf import LMF
from fusion.plugins.strategies.mean import Mean
from fusion.plugins.strategies.normalised import Normalised
from fusion.plugins.strategies.sum import Sum
from fusion.plugins.strategies.tensor import TensorFusion

ALL = [Attention, Film, Gated, LMF, Mean, Normalised, Sum, TensorFusion]


def dims_of(names, size=2):
    return dict.fromkeys(names, size)


def row(*values):
    return torch.tensor([[float(v) for v in values]])


def put(module, **values):
    with torch.no_grad():
        for name, value in values.items():
            getattr(module, name).copy_(torch.tensor(value, dtype=torch.float32))


def embeddings(names, size=4, batch=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.randn(batch, size, generator=generator) for m in names}


def double(strategy, inputs):
    return strategy.double().eval(), {m: x.double() for m, x in inputs.items()}


# -- sum and mean ----------------------------------------------------------------------


def test_sum_and_mean_by_hand():
    inputs = {"a": row(1, 2), "b": row(3, -4), "c": row(-1, 8)}
    for strategy, joined in ((Sum, (3, 6)), (Mean, (1, 2))):
        created = strategy(dims_of("abc"), 2)
        put(created.head, weight=[[1, 0], [2, -1]], bias=[0, 10])
        x, y = joined
        assert created(inputs).tolist() == [[x, 2 * x - y + 10]]


@pytest.mark.parametrize("strategy", [Sum, Mean, Attention])
def test_embeddings_of_different_sizes_are_refused(strategy):
    with pytest.raises(ParameterError, match=f"'{strategy.name}' needs embeddings of one size"):
        strategy({"a": 4, "b": 8}, 2)


# -- normalised ------------------------------------------------------------------------


def test_normalised_by_hand():
    created = Normalised({"a": 1, "b": 2}, 2, hidden=2, dropout=0.0)
    put(created.head[0], weight=[[1, 0, 0], [0, 1, -1]])
    put(created.head[1], weight=[1, 2], bias=[0, 1])
    put(created.head[4], weight=[[1, 0], [0, 1]], bias=[0, 5])
    # In training each feature of two clips becomes -1 and 1, whatever its scale.
    inputs = {"a": torch.tensor([[0.0], [1000.0]]), "b": torch.tensor([[2.0, 5.0], [3.0, 3.0]])}
    # W1: (-1, -1 - 1), (1, 1 + 1); normalised: (-1, -1), (1, 1); times (1, 2) plus (0, 1):
    # (-1, -1), (1, 3); relu: (0, 0), (1, 3); plus (0, 5).
    scores = created.train()(inputs).detach()
    assert scores.numpy() == pytest.approx(np.array([[0.0, 5.0], [1.0, 8.0]]), abs=1e-4)


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_normalised_does_not_depend_on_the_scale_of_a_modality(names):
    torch.manual_seed(0)
    created = Normalised(dims_of(names, 4), 3, dropout=0.0).train()
    inputs = embeddings(names, batch=16)
    loud = {**inputs, "a": 1000 * inputs["a"] - 300}
    # Not exact: a normalisation adds 1e-5 to the variance.
    assert torch.allclose(created(inputs), created(loud), atol=1e-3)


# -- film ------------------------------------------------------------------------------


def test_film_by_hand_as_in_the_paper():
    created = Film(dims_of("ab"), 2, target="b")
    assert set(created.modulation) == {"b"}
    # gamma = 1 + (a1 + 1, a2), beta = (10 a1, 0).
    put(created.modulation["b"], weight=[[1, 0], [0, 1], [10, 0], [0, 0]], bias=[1, 0, 0, 0])
    put(created.head, weight=[[1, 0], [0, 1]], bias=[0, 0])
    # gamma = (4, 4), beta = (20, 0): (4 * 5 + 20, 4 * 7).
    assert created({"a": row(2, 3), "b": row(5, 7)}).tolist() == [[40, 28]]


def test_film_modulates_each_modality_by_the_others():
    created = Film({"a": 1, "b": 1, "c": 1}, 3)
    # The layer of each target computes gamma - 1 and beta from the two others, in the order of
    # dims.
    put(created.modulation["a"], weight=[[1, 0], [0, 1]], bias=[0, 0])
    put(created.modulation["b"], weight=[[0, 2], [0, 0]], bias=[0, 0])
    put(created.modulation["c"], weight=[[0, 0], [1, 1]], bias=[-1, 0])
    put(created.head, weight=np.eye(3).tolist(), bias=[0, 0, 0])
    # a: (1 + 3) 2 + 5; b: (1 + 2 * 5) 3; c: 0 * 5 + 2 + 3.
    assert created({"a": row(2), "b": row(3), "c": row(5)}).tolist() == [[13, 33, 5]]


def test_film_of_one_modality_is_a_linear_head():
    created = Film({"a": 4}, 3)
    inputs = embeddings("a")
    assert torch.equal(created(inputs), created.head(inputs["a"]))
    assert not created.modulation


def test_an_unknown_film_target_is_refused():
    with pytest.raises(ParameterError, match="film.target is 'x'.* Possible: a, b, or none"):
        Film(dims_of("ab"), 2, target="x")


# -- tensor and lmf --------------------------------------------------------------------


def test_tensor_by_hand():
    created = TensorFusion({"a": 1, "b": 2}, 2)
    # Entries: a b1, a b2, a, b1, b2, 1.
    put(created.head, weight=[[1, 10, 100, 0, 0, 0], [0, 0, 0, 1, 10, 100]])
    a, b1, b2 = 2, 3, 5
    expected = [a * b1 + 10 * a * b2 + 100 * a, b1 + 10 * b2 + 100]
    assert created({"a": row(a), "b": row(b1, b2)}).tolist() == [expected]


def test_tensor_of_three_is_the_outer_product():
    torch.manual_seed(0)
    created, inputs = double(TensorFusion({"a": 2, "b": 3, "c": 4}, 5), {
        "a": torch.randn(6, 2), "b": torch.randn(6, 3), "c": torch.randn(6, 4)})  # fmt: skip
    ones = {m: np.hstack([x.numpy(), np.ones((6, 1))]) for m, x in inputs.items()}
    weight = created.head.weight.detach().numpy().reshape(5, 3, 4, 5)
    expected = np.einsum("ni,nj,nk,cijk->nc", ones["a"], ones["b"], ones["c"], weight)
    assert created(inputs).detach().numpy() == pytest.approx(expected)


def test_tensor_refuses_too_many_weights():
    with pytest.raises(ParameterError, match=r"65 x 65 x 65 x 65 x 6 classes = 107,103,750") as e:
        TensorFusion(dims_of("abcd", 64), 6)
    hint = e.value.hint
    assert "--strategy lmf" in hint and "tensor.max_weights=107103750" in hint
    # The size that the hint proposes fits, and the next larger size does not.
    assert "train.dim=34" in hint
    assert 6 * 35**4 <= 10_000_000 < 6 * 36**4
    assert TensorFusion(dims_of("ab", 3), 2, max_weights=32).head.weight.numel() == 32
    with pytest.raises(ParameterError, match="= 32 weights"):
        TensorFusion(dims_of("ab", 3), 2, max_weights=31)
    with pytest.raises(ParameterError) as e:
        TensorFusion({"a": 9, "b": 9, "c": 9, "d": 9}, 9, max_weights=100)
    assert "train.dim" not in e.value.hint  # no size is small enough


def test_lmf_by_hand():
    created = LMF({"a": 1, "b": 2}, 1, rank=2)
    # r = 1: (2 a + 1)(b1 - b2 + 3); r = 2: (a - 1)(5 b2).
    put(created.factors["a"], weight=[[2], [1]], bias=[1, -1])
    put(created.factors["b"], weight=[[1, -1], [0, 5]], bias=[3, 0])
    put(created, bias=[100])
    # a = 3, b = (4, 2): 7 * 5 + 2 * 10 + 100.
    assert created({"a": row(3), "b": row(4, 2)}).item() == 155


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_lmf_is_tensor_fusion_of_low_rank(names):
    torch.manual_seed(0)
    rank, classes, size = 3, 2, 4
    low, inputs = double(LMF(dims_of(names, size), classes, rank=rank), embeddings(names, size))
    factors = [  # (rank, C, D + 1), the weight on the 1 last
        torch.cat([f.weight, f.bias[:, None]], dim=1).unflatten(0, (rank, classes))
        for f in low.factors.values()
    ]
    letters = "ijk"[: len(names)]
    equation = ",".join(f"rc{i}" for i in letters) + f"->c{letters}"
    full = TensorFusion(dims_of(names, size), classes).double()
    full.head.weight.data = torch.einsum(equation, *factors).flatten(1).detach()
    put(low, bias=[0.0, 0.0])
    assert torch.allclose(low(inputs), full(inputs))


def test_every_factor_of_lmf_is_a_parameter():
    created = LMF({"a": 3, "b": 5}, 4, rank=2)
    assert sum(p.numel() for p in created.parameters()) == 2 * 4 * (3 + 1 + 5 + 1) + 4


# -- attention -------------------------------------------------------------------------


def numpy_attention(state, tokens, heads):
    """One attention layer and the head in plain numpy, from the papers; tokens are (1 + M, D)."""

    def norm(x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x, name, infix="."):
        return x @ state[f"{name}{infix}weight"].T + state[f"{name}{infix}bias"]

    def softmax(x):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    layer = "layers.0"
    q, k, v = np.split(linear(norm(tokens, f"{layer}.norm1"), f"{layer}.self_attn", ".in_proj_"),
                       3, axis=1)  # fmt: skip
    width = tokens.shape[1] // heads
    outs, shares = [], []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        logits = q[:, part] @ k[:, part].T / np.sqrt(width)  # (1 + M, 1 + M)
        outs.append(softmax(logits) @ v[:, part])
        looks = softmax(logits)[0, 1:]
        shares.append(looks / looks.sum())
    tokens = tokens + linear(np.hstack(outs), f"{layer}.self_attn.out_proj")
    inner = np.maximum(linear(norm(tokens, f"{layer}.norm2"), f"{layer}.linear1"), 0)
    tokens = tokens + linear(inner, f"{layer}.linear2")
    return linear(norm(tokens[0], "norm"), "head"), np.mean(shares, axis=0)


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_attention_against_numpy(names):
    torch.manual_seed(0)
    created = Attention(dims_of(names, 8), 3, heads=2, hidden=5, dropout=0.1)
    for parameter in created.parameters():
        torch.nn.init.normal_(parameter)  # the initial 0 of biases and 1 of norms would hide errors
    created, inputs = double(created, embeddings(names, 8))
    state = {name: value.detach().numpy() for name, value in created.state_dict().items()}
    scores, weights = (
        created(inputs).detach().numpy(),
        created.modality_weights(inputs).detach().numpy(),
    )
    for clip in range(5):
        own = [inputs[m][clip].numpy() + state[f"origins.{m}"] for m in names]
        expected = numpy_attention(state, np.stack([state["token"], *own]), heads=2)
        assert scores[clip] == pytest.approx(expected[0])
        assert weights[clip] == pytest.approx(expected[1], rel=1e-5)


def test_layers_start_with_different_weights():
    created = Attention(dims_of("ab", 8), 3, layers=2)
    one, two = (layer.linear1.weight for layer in created.layers)
    assert not torch.equal(one, two)


def test_heads_must_divide_the_size():
    with pytest.raises(ParameterError, match="must divide the size of the embeddings, 6") as e:
        Attention(dims_of("ab", 6), 3, heads=4)
    assert "1, 2, 3, 6" in e.value.hint


# -- all -------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [Attention, LMF, Mean, Sum])
@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_scores_do_not_depend_on_the_order_of_modalities(strategy, order):
    """The weights are stored by modality name, so one state dict fits every order."""
    torch.manual_seed(0)
    one, inputs = double(strategy(dims_of("abc", 4), 3), embeddings("abc"))
    other = strategy(dims_of(order, 4), 3).double().eval()
    other.load_state_dict(one.state_dict())
    assert torch.allclose(one(inputs), other(inputs))


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_permuting_film_with_its_weights(order):
    torch.manual_seed(0)
    one, inputs = double(Film(dims_of("abc", 4), 3), embeddings("abc"))
    other = Film(dims_of(order, 4), 3).double()

    def blocks(weight, names):
        return dict(zip(names, weight.split(4, dim=1), strict=True))

    for t in "abc":
        columns = blocks(one.modulation[t].weight, [m for m in "abc" if m != t])
        present = [columns[m] for m in order if m != t]
        other.modulation[t].weight.data = torch.cat(present, dim=1).detach()
        other.modulation[t].bias.data = one.modulation[t].bias.detach()
    columns = blocks(one.head.weight, "abc")
    other.head.weight.data = torch.cat([columns[m] for m in order], dim=1).detach()
    other.head.bias.data = one.head.bias.detach()
    assert torch.allclose(one(inputs), other(inputs))


@pytest.mark.parametrize("names", ["ab", "abc"])
@pytest.mark.parametrize("strategy", ALL)
def test_every_modality_affects_the_scores(strategy, names):
    torch.manual_seed(0)
    created, inputs = double(strategy(dims_of(names, 4), 3), embeddings(names))
    before = created(inputs)
    for m in names:
        changed = created({**inputs, m: inputs[m].flip(0)})  # the embedding of another clip
        assert (changed - before).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("strategy", "bad"),
    [
        (Normalised, {"hidden": 0}),
        (Normalised, {"dropout": 1.0}),
        (Normalised, {"dropout": -0.1}),
        (LMF, {"rank": 0}),
        (TensorFusion, {"max_weights": 0}),
        (Attention, {"layers": 0}),
        (Attention, {"heads": 0}),
        (Attention, {"hidden": 0}),
        (Attention, {"dropout": 1.0}),
    ],
)
def test_parameters_out_of_range(strategy, bad):
    (name, value), = bad.items()  # fmt: skip
    with pytest.raises(ParameterError) as e:
        strategy(dims_of("ab", 8), 3, **bad)
    assert strategy.name in str(e.value) and name in str(e.value) and str(value) in str(e.value)
