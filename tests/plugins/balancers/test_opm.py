import math
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stand_in import StandIn

from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, one_step, small_trainer
from fusion.plugins.balancers.opm import OPM
from fusion.testing import BalancerSuite


class TestEntries(BalancerSuite):
    plugin = OPM
    parameters: ClassVar = {"warmup": 0}
    single_unchanged = True
    equal_unchanged = True


@pytest.mark.slow
class TestClips(BalancerSuite):
    plugin = OPM
    parameters: ClassVar = {"warmup": 0, "unit": "clip", "p_exe": 1.0}
    single_unchanged = True
    equal_unchanged = True


def rates(scores, **parameters):
    tensors = {m: torch.tensor(float(s)) for m, s in scores.items()}
    return {m: float(q) for m, q in OPM(**parameters).rates(tensors).items()}


def test_rates_by_hand():
    # rho_a = tanh(3/2 - 1); q_a = 0.4 (1 + 0.5 tanh 0.5).
    found = rates({"a": 3, "b": 2})
    assert found == pytest.approx({"a": 0.4 * (1 + 0.5 * math.tanh(0.5)), "b": 0.0})
    # With three, the means of the others are 2, 3.5 and 4.5: only a leads, by 6/2 - 1 = 2.
    found = rates({"a": 6, "b": 3, "c": 1}, q_base=0.2, lam=2.0)
    assert found == pytest.approx({"a": 0.2 * (1 + 2 * math.tanh(2.0)), "b": 0.0, "c": 0.0})


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=5))
def test_invariants(values):
    names = [f"m{i}" for i in range(len(values))]
    scores = dict(zip(names, values, strict=True))
    found = rates(scores)
    assert all(q == 0 or 0.4 <= q + 1e-6 <= 0.6 + 1e-5 for q in found.values())
    assert found[min(scores, key=scores.get)] == 0  # the lagging modality is never dropped
    if len(set(values)) == 1:
        assert set(found.values()) == {0.0}
    flipped = rates(dict(reversed(list(scores.items()))))
    assert flipped == pytest.approx(found, rel=1e-4)


def dropped(representations, scores, *, epoch=6, seed=0, **parameters):
    balancer = OPM(**{"p_exe": 1.0, **parameters})
    balancer.setup(StandIn(modalities=list(representations)))
    step = StandIn(
        epoch=epoch,
        generator=torch.Generator().manual_seed(seed),
        scores=lambda: {m: torch.tensor(float(s)) for m, s in scores.items()},
    )
    return balancer.representations(representations, step)


def test_entries_of_the_dominant_modality_are_dropped():
    given_ = {"a": torch.ones(200, 50), "b": torch.ones(200, 50)}
    found = dropped(given_, {"a": 3, "b": 2})
    assert torch.equal(found["b"], given_["b"])
    rate = rates({"a": 3, "b": 2})["a"]
    assert float((found["a"] == 0).float().mean()) == pytest.approx(rate, abs=0.02)
    kept = found["a"][found["a"] != 0]
    assert torch.allclose(kept, torch.full_like(kept, 1 / (1 - rate)))
    assert float(found["a"].mean()) == pytest.approx(1.0, abs=0.03)


def test_whole_channels_of_a_map_are_dropped():
    found = dropped({"a": torch.ones(20, 30, 4, 3), "b": torch.ones(20, 30, 2)}, {"a": 3, "b": 2})
    cells = found["a"].flatten(2)
    assert torch.equal(cells, cells[:, :, :1].expand_as(cells))
    assert 0.3 < float((cells == 0).float().mean()) < 0.7


def test_whole_clips_are_dropped():
    given_ = {"a": torch.ones(400, 9), "b": torch.ones(400, 9)}
    rows = dropped(given_, {"a": 3, "b": 2}, unit="clip")["a"]
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    rate = rates({"a": 3, "b": 2})["a"]
    assert float((rows == 0).float().mean()) == pytest.approx(rate, abs=0.08)


def test_the_warm_up_and_the_share_of_batches():
    given_ = {"a": torch.ones(8, 6), "b": torch.ones(8, 6)}
    assert dropped(given_, {"a": 3, "b": 2}, epoch=5) is given_
    assert dropped(given_, {"a": 3, "b": 2}, p_exe=0.0) is given_
    times = sum(
        not torch.equal(dropped(given_, {"a": 3, "b": 2}, p_exe=0.7, seed=s)["a"], given_["a"])
        for s in range(200)
    )
    assert times == pytest.approx(140, abs=20)


def test_the_order_of_the_modalities_does_not_matter():
    a, b = torch.rand(8, 6), torch.rand(8, 6)
    one = dropped({"a": a, "b": b}, {"a": 2, "b": 3})
    other = dropped({"b": b, "a": a}, {"b": 3, "a": 2})
    assert list(other) == ["b", "a"]
    assert all(torch.equal(one[m], other[m]) for m in one)


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_probes_use_representations_before_dropping(strategy):
    balancer = OPM(warmup=0, p_exe=1.0, q_base=0.6)
    step = one_step(small_trainer([balancer], strategy=strategy))
    plain = step.encoded.maps or step.encoded.embeddings
    changed = {m for m, x in step.representations.items() if not torch.equal(x, plain[m])}
    assert changed == {m.removeprefix("opm.") for m, q in balancer.metrics().items() if q > 0}
    assert len(changed) == 1


@pytest.mark.parametrize(
    "bad", [{"q_base": 0}, {"q_base": 1}, {"lam": -1}, {"p_exe": 1.1}, {"warmup": -1}]
)
def test_parameters_out_of_range(bad):
    with pytest.raises(ParameterError, match="opm needs"):
        OPM(**bad)


def test_rates_of_one_are_refused():
    with pytest.raises(ParameterError, match="highest rate, must be below 1, and is") as caught:
        OPM(q_base=0.5, lam=1.0)
    assert "lam must be below 1" in str(caught.value.hint)
    with pytest.raises(ParameterError, match="'entry' or 'clip'"):
        OPM(unit="batch")
