import sys
from types import SimpleNamespace
from typing import ClassVar, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_gradients import flat, loss_gradients, of_step, probe_gradients

from fusion import Gradients
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, one_step, small_trainer
from fusion.plugins.balancers.aggregate import Aggregate, Method
from fusion.testing import BalancerSuite


def missing(*packages):
    def there(package):
        try:
            __import__(package)
        except ImportError:
            return False
        return True

    return [p for p in packages if not there(p)]


def needs(extra, *packages):
    lacking = missing(*packages)
    reason = f"{', '.join(lacking)} not installed: pip install 'modal-fusion[{extra}]'"
    return pytest.mark.skipif(bool(lacking), reason=reason)


TORCHJD = needs("aggregate", "torchjd", "quadprog", "qpsolvers")
CVXPY = needs("aggregate,cvxpy", "torchjd", "cvxpy", "ecos")
LIGHT = [m for m in get_args(Method) if m not in ("cagrad", "nashmtl")]


@TORCHJD
class TestAggregate(BalancerSuite):
    plugin = Aggregate
    single_unchanged = True


@TORCHJD
@pytest.mark.slow
class TestPCGrad(BalancerSuite):
    plugin = Aggregate
    parameters: ClassVar = {"method": "pcgrad"}
    single_unchanged = True
    order_matters = "the losses are projected in random order"


@CVXPY
@pytest.mark.slow
class TestNashMTL(BalancerSuite):
    plugin = Aggregate
    parameters: ClassVar = {"method": "nashmtl"}
    single_unchanged = True
    # The solver stops at a tolerance, and its path depends on the order of the losses.
    order_matters = "its solver's tolerance"


def joined(method, rows, **parameters):
    """Return the combined gradient of the rows of a Jacobian, as a tensor."""
    balancer = Aggregate(method=method, **parameters)
    balancer.setup(SimpleNamespace(modalities=[f"m{i}" for i in range(len(rows) - 1)]))
    step = SimpleNamespace(generator=torch.Generator().manual_seed(0))
    return balancer.aggregate(torch.tensor(rows), step)


# g = (1, 0) and u = (-2, 1) oppose each other: <g, u> = -2, |g|^2 = 1, |u|^2 = 5.
ROWS = [[1.0, 0.0], [-2.0, 1.0]]


@TORCHJD
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # g + 2/5 u = (0.2, 0.4) and u + 2 g = (0, 1), added up.
        ("pcgrad", [0.2, 1.4]),
        # For two rows, the projection onto the cone is equal; the sum is twice the mean.
        ("upgrad", [0.2, 1.4]),
        # The mean (-0.5, 0.5) opposes g; without that part it is (0, 0.5), times two.
        ("dualproj", [0.0, 1.0]),
        # 0.7 g + 0.3 u = (0.1, 0.3) is the shortest convex combination, times two.
        ("mgda", [0.2, 0.6]),
    ],
)
def test_a_conflict_by_hand(method, expected):
    assert joined(method, ROWS).tolist() == pytest.approx(expected, abs=2e-3)


@TORCHJD
def test_further_methods_in_numpy():
    rows = np.array(ROWS)
    u, s, vt = np.linalg.svd(rows, full_matrices=False)
    # The sum of orthogonalised rows, each as long as the smallest singular value.
    aligned = (s.min() * u @ vt).sum(axis=0)
    assert joined("alignedmtl", ROWS).numpy() == pytest.approx(aligned, abs=1e-4)
    # Equal projections on the directions of both rows, with weights that sum to 1, times two.
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    result = joined("imtlg", ROWS).numpy()
    assert units[0] @ result == pytest.approx(units[1] @ result, abs=1e-4)
    assert np.linalg.solve(rows.T, result).sum() == pytest.approx(2.0, abs=1e-4)
    # Equal angles to both rows; the length is the sum of the projections.
    result = joined("config", ROWS).numpy()
    assert units[0] @ result == pytest.approx(units[1] @ result, abs=1e-4)
    assert np.linalg.norm(result) == pytest.approx(
        (rows @ result).sum() / np.linalg.norm(result), abs=1e-4
    )


@CVXPY
def test_methods_with_a_convex_solver():
    assert joined("cagrad", ROWS, c=0.0).tolist() == pytest.approx([-1.0, 1.0], abs=1e-3)
    # The mean opposes g; a wider radius gives g a larger part.
    served = [float(joined("cagrad", ROWS, c=c)[0]) for c in (0.0, 0.4, 0.8)]
    assert served == sorted(served) and served[-1] > served[0]
    # For orthogonal rows of length 1 the Nash bargain is their sum, scaled to length 1.
    half = 0.5**0.5
    result = joined("nashmtl", [[1.0, 0.0], [0.0, 1.0]]).tolist()
    assert result == pytest.approx([half, half], abs=1e-3)


@TORCHJD
@pytest.mark.parametrize("method", LIGHT)
def test_equal_rows_give_about_the_plain_sum(method):
    row = [1.0, -2.0, 0.5]
    assert joined(method, [row] * 3).tolist() == pytest.approx([3.0, -6.0, 1.5], rel=1e-3)


@TORCHJD
@pytest.mark.parametrize("method", LIGHT)
def test_one_zero_row_and_only_zero_rows(method):
    for rows in ([[1.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]):
        assert bool(torch.isfinite(joined(method, rows)).all())


@TORCHJD
@given(st.lists(st.lists(st.floats(-5, 5, width=32), min_size=4, max_size=4), min_size=2,
                max_size=4))  # fmt: skip
def test_upgrad_opposes_no_row(rows):
    result = joined("upgrad", rows)
    jacobian = torch.tensor(rows)
    # The tolerance is 1e-2 because torchjd solves a slightly regularised problem.
    assert bool(((jacobian @ result) >= -1e-2 * (1 + jacobian.norm() ** 2)).all())


@TORCHJD
def test_gradients_of_other_losses_are_kept():
    parts = {"fused": {"a": [torch.tensor([1.0, 0.0])]},
             "unimodal.a": {"a": [torch.tensor([-2.0, 1.0])]}}  # fmt: skip
    gradients = Gradients({"a": [torch.tensor([-1.0, 1.0]) + 10.0]}, parts=parts)
    balancer = Aggregate(method="pcgrad")
    balancer.setup(SimpleNamespace(modalities=["a", "b"]))
    balancer.gradients(gradients, SimpleNamespace(generator=torch.Generator()))
    assert gradients["a"][0].tolist() == pytest.approx([10.2, 11.4])


@TORCHJD
@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_in_a_step(strategy):
    trainer = small_trainer(
        [Aggregate(method="mgda")], 3, strategy=strategy, optimizer="sgd", clip=0.0
    )
    alone, probes = loss_gradients(trainer), probe_gradients(trainer)
    one_step(trainer)
    names = trainer.model.modalities
    # The loss of one modality has zero gradient in the columns of the other modalities.
    jacobian = torch.stack([torch.cat([flat(grads[m]) for m in names]) for grads in alone.values()])
    assert bool((jacobian[1, -len(flat(alone["fused"]["text"])) :] == 0).all())
    result = torch.cat([of_step(trainer, m) - flat(probes[m]) for m in names])
    assert torch.allclose(result, joined("mgda", jacobian.tolist()), rtol=1e-3, atol=1e-5)
    assert torch.allclose(of_step(trainer, "head"), flat(alone["fused"]["head"]), atol=1e-6)


@CVXPY
def test_the_bargain_continues_after_loading_its_state():
    first, second = Aggregate(method="nashmtl"), Aggregate(method="nashmtl")
    for balancer in (first, second):
        balancer.setup(SimpleNamespace(modalities=["a"]))
    first.aggregate(torch.tensor(ROWS), None)
    assert len(first.state_dict()["bargains"]["2"]) == 2
    second.load_state_dict(first.state_dict())
    rows = torch.tensor([[1.0, 1.0], [-1.0, 2.0]])
    assert torch.equal(second.aggregate(rows, None), first.aggregate(rows, None))


@pytest.mark.parametrize(
    ("method", "package", "extras"),
    [
        ("upgrad", "torchjd.aggregation", "aggregate"),
        ("nashmtl", "torchjd.aggregation", "aggregate,cvxpy"),
        pytest.param("upgrad", "quadprog", "aggregate", marks=TORCHJD),
        pytest.param("cagrad", "cvxpy", "aggregate,cvxpy", marks=CVXPY),
    ],
)
def test_a_missing_package_is_named(monkeypatch, method, package, extras):
    monkeypatch.setitem(sys.modules, package, None)
    balancer = Aggregate(method=method)
    with pytest.raises(ParameterError, match="torchjd") as caught:
        balancer.setup(SimpleNamespace(modalities=["a", "b"]))
    assert caught.value.hint == f"pip install 'modal-fusion[{extras}]'"


@pytest.mark.parametrize("bad", [{"c": -0.1}, {"method": "sum"}])
def test_parameters_out_of_range(bad):
    with pytest.raises(ParameterError, match=f"aggregate.{next(iter(bad))} must be"):
        Aggregate(**bad)
