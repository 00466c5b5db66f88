import pytest
import torch

from fusion import Balancer, Gradients, Modality
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.registry.registry import Registry
from fusion.core.training.model import BranchSpec, ModelSpec, build_model
from fusion.core.training.optim import Optimizer, _uncompiled, parameter_groups


@pytest.fixture(scope="module")
def model():
    branches = tuple(BranchSpec(Modality(m, (6,)), "mlp", {"hidden": 4}) for m in ("a", "b"))
    return build_model(ModelSpec(branches, 3, 5, "concat"), Registry())


def test_groups_contain_every_parameter_once(model):
    groups = parameter_groups(model, TrainConfig(), [])
    assert [(g.role, g.modality) for g in groups] == [
        ("branch", "a"), ("branch", "b"), ("head", None), ("probe", "a"), ("probe", "b"),
    ]  # fmt: skip
    ids = [id(p) for g in groups for p in g.parameters]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in model.parameters()}


def test_a_balancer_may_change_the_learning_rates(model):
    class Slow(Balancer):
        name = "slow"

        def parameter_groups(self, groups):
            for group in groups:
                group.lr *= 0.1 if group.role == "branch" else 1
            return groups

    groups = parameter_groups(model, TrainConfig(lr=1e-2), [Slow()])
    assert [round(g.lr, 6) for g in groups] == [1e-3, 1e-3, 1e-2, 1e-2, 1e-2]


def test_the_schedule_rises_then_falls_to_zero(model):
    optimizer = Optimizer(parameter_groups(model, TrainConfig(), []), TrainConfig(warmup=0.1), 100)
    values = [optimizer.schedule(i) for i in range(101)]
    assert values[:3] == pytest.approx([1 / 11, 2 / 11, 3 / 11])
    assert values[10] == pytest.approx(1.0)
    assert values[55] == pytest.approx(0.5)
    assert values[100] == pytest.approx(0.0)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_gradient_factor_scales_the_update_with_any_optimiser(kind):
    """A first step with factor 0.25 moves a branch by a quarter; the head is unchanged."""

    def first_step(factor):
        torch.manual_seed(0)
        branches = tuple(BranchSpec(Modality(m, (6,)), "mlp", {"hidden": 4}) for m in ("a", "b"))
        model = build_model(ModelSpec(branches, 3, 5, "concat"), Registry())
        config = TrainConfig(optimizer=kind, lr=1e-2, weight_decay=0.0, clip=0.0)
        optimizer = Optimizer(parameter_groups(model, config, []), config, 10)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        x = {m: torch.randn(8, 6, generator=torch.Generator().manual_seed(1)) for m in "ab"}
        model(x).square().mean().backward()
        grads = {m: [p.grad for p in model.branches[m].parameters()] for m in "ab"}
        gradients = Gradients(grads)
        if factor != 1:
            gradients.scale("a", factor)
        optimizer.step(3, gradients)
        return {n: p.detach() - before[n] for n, p in model.named_parameters()}

    plain, scaled = first_step(1), first_step(0.25)
    for name, moved in plain.items():
        share = 0.25 if name.startswith("branches.a.") else 1.0
        torch.testing.assert_close(scaled[name], share * moved, rtol=1e-4, atol=1e-7)
    assert any(m.abs().max() > 0 for n, m in plain.items() if n.startswith("branches.a."))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(torch.optim.AdamW, {"fused": True}), (torch.optim.SGD, {"momentum": 0.9, "foreach": True})],
)
def test_uncompiled_optimisers_take_the_same_steps(kind, settings):
    generator = torch.Generator().manual_seed(0)
    start, gradients = (torch.randn(4, 3, 5, generator=generator) for _ in range(2))
    ends = []
    for created in (kind, _uncompiled(kind)):
        parameter = torch.nn.Parameter(start[0].clone())
        optimizer = created([parameter], lr=0.1, weight_decay=0.01, **settings)
        for gradient in gradients:
            optimizer.zero_grad()
            assert parameter.grad is None
            parameter.grad = gradient.clone()
            optimizer.step()
            assert torch.is_grad_enabled()
        again = created([parameter], lr=0.5, **settings)
        again.load_state_dict(optimizer.state_dict())
        assert again.param_groups[0]["lr"] == 0.1
        ends.append(parameter.detach().clone())
    assert torch.equal(*ends)
