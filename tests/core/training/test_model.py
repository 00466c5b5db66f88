from pathlib import Path

import pytest
import torch

from fusion import Branch, Modality
from fusion.core.contracts.errors import ParameterError
from fusion.core.registry.registry import Registry
from fusion.core.toolkit.run_files import as_type
from fusion.core.training.model import (
    BranchSpec,
    FusionModel,
    LinearHead,
    ModelSpec,
    Standardise,
    build_model,
    count_parameters,
    default_branch,
)


@pytest.fixture(scope="module")
def registry():
    return Registry()


def spec(*names, strategy="gated"):
    branches = tuple(
        BranchSpec(Modality(name, (2, 8, 8), ("channel", "frequency", "time")), "cnn",
                   {"blocks": 2, "channels": 4}) for name in names
    )  # fmt: skip
    return ModelSpec(branches, num_classes=3, dim=5, strategy=strategy)


@pytest.mark.parametrize("strategy", ["concat", "gated"])
@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("a", "b", "c")])
def test_any_number_of_modalities(registry, strategy, names):
    model = build_model(spec(*names, strategy=strategy), registry)
    scores = model({name: torch.randn(4, 2, 8, 8) for name in names})
    assert scores.shape == (4, 3)


def test_a_spec_can_be_written_to_json_and_read_back(registry):
    import json

    one = spec("a", "b")
    again = as_type(json.loads(json.dumps(one.to_json())), ModelSpec, Path("run.json"))
    assert again == one


def test_a_baseline_has_the_same_branch_and_no_probe(registry):
    baseline = build_model(spec("a", "b").single("b"), registry)
    assert baseline.modalities == ["b"]
    assert isinstance(baseline.strategy, LinearHead)
    encoded = baseline.encode({"b": torch.randn(2, 2, 8, 8)})
    assert baseline.probe(encoded) == {}


def test_a_probes_gradient_stops_at_the_embedding(registry):
    model = build_model(spec("a", "b"), registry)
    inputs = {m: torch.randn(4, 2, 8, 8) for m in "ab"}
    sum(p.sum() for p in model.probe(model.encode(inputs)).values()).backward()
    assert all(p.grad is None for p in model.branches.parameters())
    assert all(p.grad is not None for p in model.probes.parameters())


def test_standardise_by_hand():
    module = Standardise((2, 1, 2))
    module.set(torch.tensor([1.0, 2.0]).view(2, 1, 1), torch.tensor([2.0, 0.0]).view(2, 1, 1))
    x = torch.tensor([[[3.0, 1.0]], [[2.0, 5.0]]])[None]
    # The second channel is constant in training: it is centred, but not divided by almost zero.
    assert module(x).tolist() == [[[[1.0, 0.0]], [[0.0, 3.0]]]]
    # A feature with small values is scaled like any other.
    module.set(torch.zeros(2, 1, 1), torch.full((2, 1, 1), 1e-7))
    assert module(1e-7 * x)[0, 0, 0, 0].item() == pytest.approx(3.0, rel=1e-4)


def test_the_first_branch_that_accepts_the_shape_is_the_default(registry):
    assert default_branch(Modality("t", (40,)), None, registry) == "mlp"
    assert default_branch(Modality("t", (1, 8, 8)), None, registry) == "cnn"
    assert default_branch(Modality("t", (1, 8, 8)), "mlp", registry) == "mlp"


def test_a_branch_that_refuses_the_shape_is_reported(registry):
    bad = ModelSpec((BranchSpec(Modality("t", (40,)), "cnn"),), 3, 5)
    expected = r"'cnn' does not accept modality 't' of shape \(40,\)"
    with pytest.raises(ParameterError, match=expected):
        build_model(bad, registry)


@pytest.mark.parametrize("fault", ["classes", "raises", "weights", "dim"])
def test_mistakes_of_a_plugin_are_found_before_training(fault):
    from fusion import Strategy
    from fusion.core.contracts.errors import PluginError
    from fusion.core.training.model import check_model

    class Odd(Strategy):
        name = "odd"

        def __init__(self, dims, num_classes):
            super().__init__()  # a plugin may omit the arguments
            self.head = torch.nn.Linear(sum(dims.values()), num_classes + (fault == "classes"))

        def forward(self, inputs):
            if fault == "raises":
                raise KeyError("video")
            return self.head(torch.cat(list(inputs.values()), dim=1))

        def modality_weights(self, inputs):
            return torch.ones(2, 3) if fault == "weights" else None

    branches = {m: _Maps((2, 8, 8)) for m in "ab"}
    strategy = Odd(dict.fromkeys("ab", 5), 3)
    if fault == "dim":
        branches["a"].dim = 7
    words = {
        "classes": r"strategy 'odd' returned a tensor of shape \(2, 4\) from forward",
        "raises": "Odd fails .* KeyError: 'video'",
        "weights": r"'odd' returned a tensor of shape \(2, 3\) from modality_weights",
        "dim": r"branch 'maps' returned a tensor of shape \(2, 5\) for 'a' from forward",
    }
    with pytest.raises(PluginError, match=words[fault]):
        check_model(FusionModel(branches, strategy, 3))


class _Maps(Branch):
    name = "maps"

    def __init__(self, shape, dim=5):
        super().__init__(shape, dim)
        self.map_channels = 2
        self.linear = torch.nn.Linear(2, dim)

    def maps(self, x):
        return x

    def pool(self, maps):
        return self.linear(maps.mean(dim=(2, 3)))


def test_a_strategy_may_take_maps():
    from fusion import Strategy

    class Early(Strategy):
        name = "early"
        takes = "maps"

        def __init__(self, dims, num_classes):
            super().__init__(dims, num_classes)
            self.head = torch.nn.Linear(sum(dims.values()), num_classes)

        def forward(self, inputs):
            assert all(x.shape[1:] == (2, 8, 8) for x in inputs.values())
            return self.head(torch.cat([x.mean(dim=(2, 3)) for x in inputs.values()], dim=1))

    branches = {m: _Maps((2, 8, 8)) for m in "ab"}
    dims = {m: b.map_channels for m, b in branches.items()}
    model = FusionModel(branches, Early(dims, 3), 3)
    inputs = {m: torch.randn(4, 2, 8, 8) for m in "ab"}
    assert model(inputs).shape == (4, 3)
    assert set(model.probe(model.encode(inputs))) == {"a", "b"}
    assert count_parameters(model) == 2 * (2 * 5 + 5) + 2 * (5 * 3 + 3) + (4 * 3 + 3)
    # Only the probe trains the pooling, and its gradient stops at the maps.
    encoded = model.encode({m: x.requires_grad_() for m, x in inputs.items()})
    assert all(maps.requires_grad for maps in encoded.maps.values())
    sum(p.sum() for p in model.probe(encoded).values()).backward()
    for m in "ab":
        assert model.branches[m].linear.weight.grad is not None
        assert inputs[m].grad is None
