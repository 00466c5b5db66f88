"""Contributions by Shapley values, leaving out, permuting and integrated gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fusion import Branch, Clip, Modality, Recording, Strategy
from fusion.core.analysis.explain import permuted
from fusion.core.analysis.explain.evidence import Evidence, gather
from fusion.core.analysis.explain.gradients import integrated_gradients
from fusion.core.analysis.explain.groups import MAX_PARTS, Group, groups_of
from fusion.core.analysis.explain.model import Explained
from fusion.core.analysis.explain.summary import probability_shapley, summarise
from fusion.core.contracts.errors import PluginError, UnknownNameError
from fusion.core.data.dataset import RunData
from fusion.core.runs.bundle import Part
from fusion.core.training.model import FusionModel

A, B = (0, "a"), (0, "b")


class Flat(Branch):
    """An embedding that is the input itself."""

    def __init__(self, shape):
        super().__init__(shape, math.prod(shape))
        self.map_channels = shape[0]

    def maps(self, x):
        return x

    def pool(self, maps):
        return maps.flatten(1)


class Linear(Strategy):
    """Scores of two classes: 0, and a weighted sum of everything."""

    def __init__(self, weights):
        super().__init__()
        self.weights = {m: torch.tensor(w) for m, w in weights.items()}

    def forward(self, inputs):
        score = sum(inputs[m] @ w for m, w in self.weights.items())
        return torch.stack([torch.zeros_like(score), score], dim=1)


def linear_model(weights):
    """One row of channels per modality, a weight for each."""
    branches = {m: Flat((len(w), 1)) for m, w in weights.items()}
    return FusionModel(branches, Linear(weights), 2)


def rows(*values):
    return torch.tensor(values)[..., None]  # (n, channels, 1)


def channel_groups(model):
    modalities = [
        Modality(m, tuple(model.branches[m].shape), ("channel", "time")) for m in model.modalities
    ]
    return groups_of(modalities, {})


def asked(model, inputs, *, permutations=4):
    n = len(next(iter(inputs.values())))
    keyed = {(0, m): x for m, x in inputs.items()}
    groups = channel_groups(model)
    found = gather(
        Explained([Part(model)]), keyed, np.arange(n), groups, permuted(n, permutations, 0)
    )
    return {g.title: k for k, g in enumerate(groups)}, found


# -- integrated gradients ------------------------------------------------------------


def test_of_a_linear_score_they_are_weight_times_value():
    weights = torch.tensor([[0.0, 2.0, -1.0], [1.0, 0.0, 0.5]])  # (C, 3)
    x = torch.tensor([[1.0, 3.0, -2.0], [4.0, 5.0, 6.0]])

    found = integrated_gradients(
        lambda inputs: inputs[A] @ weights.T, {A: x}, torch.tensor([0, 1]), steps=(1,)
    )

    assert found.values[A].tolist() == [[0.0, 6.0, 2.0], [4.0, 0.0, 3.0]]
    assert found.difference.tolist() == [8.0, 7.0]
    assert found.gap.tolist() == [0.0, 0.0]


def test_of_a_product_each_factor_has_half():
    """The gradient of x y on the way is (t y, t x); its integral (y, x) / 2; times the input."""
    found = integrated_gradients(
        lambda inputs: inputs[A] * inputs[B],
        {A: torch.tensor([[3.0]]), B: torch.tensor([[4.0]])},
        torch.tensor([0]),
        steps=(1,),
    )

    assert found.values[A].item() == found.values[B].item() == 6.0


def test_a_clip_on_a_kink_gets_more_points_and_the_others_do_not():
    """relu(x - 1) up to x = 4: the integral of the gradient is 3/4, which few points miss."""
    found = integrated_gradients(
        lambda inputs: (inputs[A] - 1).relu() + 5 * inputs[A].clamp(max=0),
        {A: torch.tensor([[4.0], [-1.0]])},
        torch.tensor([0, 0]),
        steps=(2, 512),
        tolerance=0.01,
    )

    assert found.steps.tolist() == [512, 2]
    assert found.difference.tolist() == [3.0, -5.0]
    assert found.values[A][:, 0].tolist() == pytest.approx([3.0, -5.0], abs=0.02)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), clips=st.integers(1, 5), channels=st.integers(1, 4))
def test_they_sum_to_the_score_minus_that_of_the_baseline(seed, clips, channels):
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(s, generator=generator) for s in ((channels + 2, 6), (6, 3)))
    inputs = {
        A: 2 * torch.randn(clips, channels, generator=generator),
        B: 2 * torch.randn(clips, 2, generator=generator),
    }

    def scores(given):
        return ((torch.cat([given[A], given[B]], 1) @ first).tanh() @ second).log_softmax(1)

    targets = torch.randint(3, (clips,), generator=generator)
    found = integrated_gradients(scores, inputs, targets, steps=(64,))
    total = sum(v.sum(1) for v in found.values.values())
    blank = scores({key: torch.zeros_like(x) for key, x in inputs.items()})
    expected = (scores(inputs) - blank).gather(1, targets[:, None])[:, 0]

    assert torch.allclose(total, expected, atol=1e-3)
    assert torch.allclose(found.gap, total - expected, atol=1e-5)


def test_a_score_that_ignores_its_inputs_has_none():
    found = integrated_gradients(
        lambda inputs: torch.ones(2, 3), {A: torch.ones(2, 4)}, torch.tensor([0, 1])
    )

    assert not found.values[A].any()
    assert not found.gap.any()


# -- groups --------------------------------------------------------------------------

NAMES = ("Round H0", "Round H1", "Square H0", "Square H1")


def test_names_of_two_words_make_groups_by_either_word():
    groups = groups_of([Modality("a", (4, 2), ("channel", "time"))], {"a": NAMES})

    assert [(g.name, g.entries, g.pooled) for g in groups] == [
        ("", (), False),
        *((name, (i,), False) for i, name in enumerate(NAMES)),
        ("Round", (0, 1), True),
        ("Square", (2, 3), True),
        ("H0", (0, 2), True),
        ("H1", (1, 3), True),
    ]


def test_neighbours_on_a_long_axis_share_a_part():
    modality = Modality("a", (1, 20), ("channel", "frequency"))

    groups = groups_of([modality], {}, {"a": "frequency"})[1:]

    assert len(groups) == MAX_PARTS
    assert [e for g in groups for e in g.entries] == list(range(20))
    assert groups[0].name == "frequency 0 to 2"
    assert not any(g.pooled for g in groups)


def test_many_names_make_parts_by_their_first_words():
    names = [f"{family} {band} {kind}" for family, band in
             [("surface", "low"), ("surface", "high"), ("levels", "low"), ("levels", "middle"),
              ("levels", "high")] for kind in ("H0", "H1")]  # fmt: skip

    groups = groups_of([Modality("a", (10, 2), ("channel", "statistic"))], {"a": names})

    by_band = {
        "surface low": (0, 1), "surface high": (2, 3), "levels low": (4, 5),
        "levels middle": (6, 7), "levels high": (8, 9),
    }  # fmt: skip
    assert [(g.name, g.entries, g.pooled) for g in groups[1:]] == [
        *((name, entries, False) for name, entries in by_band.items()),
        ("H0", (0, 2, 4, 6, 8), True),
        ("H1", (1, 3, 5, 7, 9), True),
    ]


@pytest.mark.parametrize("names", [[f"{i} a" for i in range(9)], ["a b"] * 8 + ["c"],
                                   [f"a {i}" for i in range(9)]])  # fmt: skip
def test_many_names_that_do_not_begin_alike_make_no_parts(names):
    groups = groups_of([Modality("a", (9, 2), ("channel", "statistic"))], {"a": names})
    assert [g.name for g in groups[1:3]] == ["channel 0 to 1", names[2]]


@pytest.mark.parametrize("axes", [(), ("time", "place"), ("channel", "time")])
def test_without_several_channels_there_is_the_modality_alone(axes):
    assert groups_of([Modality("a", (1, 4), axes)], {}) == [Group("a")]


def test_what_does_not_exist_is_named():
    modality = Modality("mono", (2, 4), ("channel", "time"))
    with pytest.raises(UnknownNameError, match="modality to part 'stereo'.*Known: mono"):
        groups_of([modality], {}, {"stereo": "time"})
    with pytest.raises(UnknownNameError, match="axis of mono 'tme'. Did you mean 'time'"):
        groups_of([modality], {}, {"mono": "tme"})
    with pytest.raises(PluginError, match="'mono' names 4 channels and has 2"):
        groups_of([modality], {"mono": NAMES})


def test_a_group_takes_its_own_values_and_no_others():
    group = Group("a", "outer", 0, (0, 2))
    x, other = torch.arange(6.0).reshape(1, 3, 2), torch.full((1, 3, 2), 9.0)

    assert group.replaced(x, other).tolist() == [[[9, 9], [2, 3], [9, 9]]]
    assert group.total(x).tolist() == [0 + 1 + 4 + 5]
    assert Group("a").total(x).tolist() == [15]


# -- models --------------------------------------------------------------------------


def test_a_mean_of_models_is_a_mean_of_probabilities():
    low, high = linear_model({"a": [0.0]}), linear_model({"a": [2.0]})
    high.standardise["a"].set(torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    explained = Explained([Part(low, 0.25, group=0), Part(high, 0.75, group=1)])

    inputs = explained.standardised({"a": rows([5.0])})
    probability = explained(inputs).exp()[0, 1].item()

    assert inputs[0, "a"].item() == 5.0  # each member by its own training
    assert inputs[1, "a"].item() == 2.0  # (5 - 1) / 2
    assert probability == pytest.approx(0.25 * 0.5 + 0.75 / (1 + math.exp(-4.0)))


def test_in_an_ensemble_a_member_without_its_modality_sees_zeros():
    models = [linear_model({"a": [2.0]}), linear_model({"b": [1.0]})]
    explained = Explained([Part(model, 0.5, group=k) for k, model in enumerate(models)])
    known = explained.represent(explained.standardised({"a": rows([1.0]), "b": rows([3.0])}))

    assert explained.modalities == ["a", "b"]
    assert not explained.knows_absence
    probability = explained.fuse(known, ["b"]).exp()[0, 1].item()
    assert probability == pytest.approx(0.5 * 0.5 + 0.5 / (1 + math.exp(-3.0)))


def test_a_pool_of_models_multiplies_powers_of_probabilities():
    """In a group p(1) : p(0) is the product of the members' odds to their powers."""
    one, other = linear_model({"a": [2.0]}), linear_model({"b": [1.0]})
    alone = linear_model({"a": [0.0]})
    parts = [Part(one, 0.5, 1.5, 0), Part(other, 0.5, 0.5, 0), Part(alone, 0.5, 1.0, 1)]
    explained = Explained(parts)

    inputs = explained.standardised({"a": rows([1.0]), "b": rows([3.0])})
    probability = explained(inputs).exp()[0, 1].item()

    odds = 1.5 * 2.0 + 0.5 * 3.0  # log
    assert probability == pytest.approx(0.5 / (1 + math.exp(-odds)) + 0.5 * 0.5)


def test_recurrent_branches_are_differentiable_in_evaluation_mode():
    class Recurrent(Flat):
        def __init__(self):
            super().__init__((1, 1))
            self.rnn = nn.GRU(1, 1)

    model = FusionModel({"a": Recurrent()}, Linear({"a": [1.0]}), 2)
    with Explained([Part(model)]).evaluating():
        assert not model.branches["a"].training
        assert not torch.backends.cudnn.enabled
    assert model.branches["a"].training
    assert torch.backends.cudnn.enabled


def test_shapley_values_of_a_probability_by_hand():
    subsets = {
        frozenset(): np.array([[0.5, 0.5]]),
        frozenset("a"): np.array([[0.1, 0.9]]),
        frozenset("b"): np.array([[0.4, 0.6]]),
        frozenset("ab"): np.array([[0.2, 0.8]]),
    }

    found = probability_shapley(subsets, np.array([1]), ["a", "b"])

    assert found["a"][0] == pytest.approx(((0.9 - 0.5) + (0.8 - 0.6)) / 2)
    assert found["b"][0] == pytest.approx(((0.6 - 0.5) + (0.8 - 0.9)) / 2)


def test_a_channel_that_the_model_ignores_brings_nothing():
    torch.manual_seed(0)
    inputs = {"a": torch.randn(9, 2, 1), "b": torch.randn(9, 1, 1)}
    at, found = asked(linear_model({"a": [1.5, 0.0], "b": [1.0]}), inputs)
    ignored, used = at["a: channel 1"], at["a: channel 0"]

    assert np.allclose(found.left_out[ignored], found.said)
    assert np.allclose(found.permuted[ignored], found.said)
    assert not found.signed[ignored].any()
    assert not found.absolute[ignored].any()
    assert not np.allclose(found.left_out[used], found.said)
    assert not np.allclose(found.permuted[used], found.said)
    assert found.signed[used].all()


def test_a_modality_that_the_model_ignores_brings_nothing():
    at, found = asked(
        linear_model({"a": [2.0], "b": [0.0]}), {"a": rows([1.0], [-1.0]), "b": rows([3.0], [4.0])}
    )
    shapley = probability_shapley(found.subsets, np.array([1, 0]), ["a", "b"])

    assert shapley["b"].tolist() == [0.0, 0.0]
    assert shapley["a"] == pytest.approx([1 / (1 + math.exp(-2.0)) - 0.5] * 2)
    assert not found.signed[at["b"]].any()


def test_two_channels_that_say_the_same_share():
    """Each has half of the gradients; without one, the other still tells the class."""
    same = torch.tensor([3.0, -3.0, 2.0, -2.0])[:, None, None]
    at, found = asked(linear_model({"a": [1.0, 1.0]}), {"a": same.expand(-1, 2, 1)})
    one, other, both = at["a: channel 0"], at["a: channel 1"], at["a"]

    assert np.allclose(found.signed[one], found.signed[other])
    assert np.allclose(found.signed[one] + found.signed[other], found.signed[both])
    best = found.said.argmax(axis=1)
    assert (found.left_out[one].argmax(axis=1) == best).all()
    assert np.allclose(found.left_out[both], math.log(0.5))


def test_the_gradients_of_all_modalities_are_the_difference():
    torch.manual_seed(1)
    at, found = asked(
        linear_model({"a": [1.0, -2.0], "b": [0.7]}),
        {"a": torch.randn(70, 2, 1), "b": torch.randn(70, 1, 1)},  # more than a batch
    )

    assert found.said.shape == (70, 2)
    assert found.permuted.shape == (len(at), 4, 70, 2)
    total = found.signed[at["a"]] + found.signed[at["b"]]
    assert total == pytest.approx(found.difference, abs=1e-3)
    assert (found.absolute >= np.abs(found.signed) - 1e-6).all()


def test_permutations_are_seeded_and_another_in_each_fold():
    first = permuted(20, 3, 0)

    assert first.shape == (3, 20)
    assert (np.sort(first, axis=1) == np.arange(20)).all()
    assert (permuted(20, 3, 0) == first).all()
    assert (permuted(20, 3, 1) != first).any()


# -- figures -------------------------------------------------------------------------


def small_summary():
    """Four clips of two speakers and two classes, one modality of no parts, by hand."""
    data = RunData(
        tuple(
            Clip(Recording(f"{i}.wav"), f"{i}.wav", "xy"[i % 2], f"s{i // 2}", "made")
            for i in range(4)
        ),
        ("",) * 4,
        np.array([0, 1, 0, 1]),
        ("x", "y"),
        (),
    )
    right = np.log([[0.8, 0.2], [0.4, 0.6], [0.8, 0.2], [0.4, 0.6]])
    even = np.log([[0.5, 0.5]] * 4)  # the first class, then
    wrong = np.log([[0.2, 0.8], [0.6, 0.4], [0.2, 0.8], [0.6, 0.4]])
    evidence = Evidence(
        np.arange(4),
        right,
        {frozenset(): np.exp(even), frozenset(["a"]): np.exp(right)},
        even[None],
        np.stack([right, wrong])[None],
        np.array([[0.4, 0.2, 0.4, 0.2]]),
        np.array([[0.6, 0.4, 0.6, 0.4]]),
        np.array([0.4, 0.2, 0.4, 0.2]),
        np.array([0.0, 0.01, 0.0, -0.03]),
        True,
    )
    return summarise(
        data, [evidence], [Group("a")], ["a"], run="r", model="a", part="test", notes=()
    )


def test_figures_by_hand():
    found = small_summary()
    (a,) = found.contributions

    assert found.uar.value == 1.0
    assert found.speakers == 2
    assert found.log_probability == pytest.approx((math.log(0.8) + math.log(0.6)) / 2)
    assert found.uar_shapley == {"a": 0.5}
    assert found.true.values["a"] == pytest.approx(0.2)
    assert found.true.by_class["x"]["a"] == pytest.approx(0.3)
    assert found.true.by_class["y"]["a"] == pytest.approx(0.1)
    assert (found.true.none, found.true.all) == pytest.approx((0.5, 0.7))
    assert a.uar_drop.difference == 0.5  # all of the first class are right, none of the second
    assert (a.uar_drop.low, a.uar_drop.high) == (0.5, 0.5)  # for either speaker alike
    assert a.log_probability_drop == pytest.approx(found.log_probability - math.log(0.5))
    assert a.permuted_uar_drop.mean == pytest.approx(0.5)  # 0 and 1
    assert a.permuted_uar_drop.deviation == pytest.approx(math.sqrt(0.5))
    assert a.signed == pytest.approx(0.3)
    assert a.absolute == pytest.approx(0.5)
    assert a.share == 1.0
    assert found.difference == pytest.approx(0.3)
    assert found.gap == pytest.approx(0.01)
    assert found.worst_gap == pytest.approx(0.03)


def test_the_json_has_every_figure_and_every_clip():
    plain = small_summary().to_json()

    assert plain["format"] == 1
    assert plain["contributions"][0]["group"] == {
        "modality": "a", "name": None, "entries": None, "pooled": False,
    }  # fmt: skip
    assert [clip["predicted"] for clip in plain["clips"]] == ["x", "y", "x", "y"]
    assert plain["clips"][1]["shapley_true"] == {"a": 0.1}
    assert plain["clips"][1]["gradients"] == {"a": 0.2}


def test_permuting_what_does_not_matter_costs_about_nothing():
    torch.manual_seed(2)
    n = 400
    labels = torch.arange(n) % 2
    told = (2.0 * labels - 1)[:, None, None] + 0.3 * torch.randn(n, 1, 1)
    noise = torch.randn(n, 1, 1)
    model = linear_model({"a": [3.0, 0.05]})
    at, found = asked(model, {"a": torch.cat([told, noise], dim=1)}, permutations=10)

    def uar(said):
        return (said.argmax(-1) == labels.numpy()).mean(-1)  # balanced

    drop = uar(found.said) - uar(found.permuted[at["a: channel 1"]])
    assert np.abs(drop).max() < 0.01
    assert (uar(found.said) - uar(found.permuted[at["a: channel 0"]])).min() > 0.4
