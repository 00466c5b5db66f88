from itertools import combinations
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from fusion.core.contracts import Clips, Outputs
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks.problem import SmallMaps, SmallStrategy, small_trainer
from fusion.plugins.balancers.smv import SMV, copies, sample_values, with_copies
from fusion.testing import BalancerSuite


class TestConformance(BalancerSuite):
    plugin = SMV
    parameters: ClassVar = {"start": 0}
    single_unchanged = True


def known(names, right, indices=None):
    """Return outputs of clips of class 0; `right` has the correct clips of each subset."""
    total = len(next(iter(right.values())))
    scores = {
        s: torch.tensor([[1.0, 0.0] if ok else [0.0, 1.0] for ok in right.get(s, [False] * total)])
        for size in range(len(names) + 1)
        for s in combinations(names, size)
    }
    labels = torch.zeros(total, dtype=torch.int64)
    indices = np.arange(total) if indices is None else np.array(indices)
    return Outputs(indices, labels, {}, scores[tuple(names)], {}, scores)


TWO = {
    # Clip 0 is right with a, with b and with both, so each value is (1 + 2 - 1) / 2 = 1.
    ("a",): [1, 1, 0, 1, 0, 0, 0],
    ("b",): [1, 0, 1, 1, 1, 0, 0],
    ("a", "b"): [1, 1, 1, 0, 0, 1, 0],
}
VALUES = [[1, 1], [1.5, 0.5], [0.5, 1.5], [0, 0], [-0.5, 0.5], [1, 1], [0, 0]]


def test_two_modalities_by_hand():
    # phi_a = (v(a) + v(ab) - v(b)) / 2, where v(S) = |S| if the subset is right, else 0.
    assert sample_values(known(["a", "b"], TWO), ["a", "b"]).tolist() == VALUES


def test_three_modalities_by_hand():
    names = ["a", "b", "c"]
    right = {("a",): [1], ("a", "b"): [1], ("a", "c"): [1], ("a", "b", "c"): [1]}
    # a: 1/3 (1) + 1/6 (2) + 1/6 (2) + 1/3 (3); b: 1/6 (2 - 1) + 1/3 (3 - 2) and c alike.
    assert sample_values(known(names, right), names)[0].tolist() == pytest.approx([2, 0.5, 0.5])


def test_number_of_copies_of_a_clip():
    values = np.array([-0.5, -1 / 6, 0, 1 / 6, 0.4, 0.5, 2 / 3, 1, 1.5])
    assert copies(values).tolist() == [3, 3, 2, 2, 2, 1, 1, 0, 0]


def test_copies_show_one_modality():
    result = with_copies(
        Clips(np.array([10, 11, 12])), np.array([[0, 2], [0, 0], [1, 1]]), ["a", "b"]
    )
    assert result.indices.tolist() == [10, 11, 12, 10, 10, 12, 12]
    shown = [[True, True]] * 3 + [[False, True]] * 2 + [[True, False], [False, True]]
    assert result.present.tolist() == shown


def test_a_missing_modality_can_not_be_shown_alone():
    present = np.array([[True, False]])
    result = with_copies(Clips(np.array([4]), present), np.array([[1, 3]]), ["a", "b"])
    assert result.indices.tolist() == [4, 4]
    assert result.present.tolist() == [[True, False], [True, False]]


def test_the_order_of_the_modalities_does_not_matter():
    counts = np.array([[1, 2], [3, 0]])
    one = with_copies(Clips(np.array([0, 1])), counts, ["b", "a"])
    other = with_copies(Clips(np.array([0, 1])), counts[:, ::-1], ["a", "b"])
    assert one.indices.tolist() == other.indices.tolist()
    assert one.present.tolist() == other.present[:, ::-1].tolist()


def test_clips_are_looked_up_by_their_index():
    requested = []

    def outputs(part, *, subsets=False):
        requested.append((part, subsets))
        return known(["a", "b"], TWO, indices=[70, 10, 20, 60, 30, 50, 40])

    balancer = SMV(start=2)
    balancer.setup(SimpleNamespace(modalities=["a", "b"], outputs=outputs))
    clips = Clips(np.array([10, 10, 30]))
    assert balancer.clips(clips, 2) is clips
    assert balancer.metrics() == {}
    result = balancer.clips(clips, 3)
    assert requested == [("train", True)]
    # Clip 10 has the values (1.5, 0.5): one copy of b for each of its two occurrences. Clip 30 has
    # (-0.5, 0.5): three copies of a and one of b.
    assert result.indices.tolist() == [10, 10, 30, 10, 10, 30, 30, 30, 30]
    assert result.present[3:].sum(axis=0).tolist() == [3, 3]
    means = np.mean(VALUES, axis=0)
    assert balancer.metrics() == pytest.approx({"smv.a": means[0], "smv.b": means[1]})


def test_one_modality_changes_nothing():
    balancer = SMV(start=0)
    balancer.setup(SimpleNamespace(modalities=["a"]))
    clips = Clips(np.arange(4))
    assert balancer.clips(clips, 1) is clips


@pytest.mark.parametrize("strategy", [SmallStrategy, SmallMaps])
def test_the_values_sum_to_the_accuracy(strategy):
    balancer = SMV(start=0)
    trainer = small_trainer([balancer], 3, strategy=strategy)
    result = balancer.clips(Clips(trainer.train), 1)
    recorded = trainer.context.outputs("train")
    accuracy = float((recorded.logits.argmax(dim=1) == recorded.labels).float().mean())
    assert sum(balancer.metrics().values()) == pytest.approx(3 * accuracy, abs=1e-5)
    alone = result.present[len(trainer.train) :]
    assert len(alone) > 0
    assert (alone.sum(axis=1) == 1).all()


def test_parameters_out_of_range():
    with pytest.raises(ParameterError, match=r"smv\.start must be 0 or more, and is -1"):
        SMV(start=-1)
