"""Presence of modalities in a batch, and arrays with rows only for the clips that have one."""

import numpy as np
import pytest
import torch
from arrays import Rows

from fusion.core.data.presence import Gapped, having, presence_of

CPU = torch.device("cpu")


def test_presence_by_hand():
    absent = {"b": np.array([True, False, True, False])}
    presence = presence_of(absent, ["a", "b"], np.array([3, 0, 1]), CPU)
    assert presence.table.tolist() == [[True, True], [True, False], [True, True]]
    assert {m: rows.tolist() for m, rows in presence.rows.items()} == {"b": [0, 2]}
    assert presence_of(absent, ["a", "b"], np.array([1, 3]), CPU) is None  # all of these have both
    assert presence_of({}, ["a"], np.array([0]), CPU) is None


def test_gapped_arrays_have_zeros_for_absent_clips():
    stored = Rows(np.array([[1.0], [2.0]], np.float32))
    gapped = Gapped(stored, np.array([True, False, True, False]))
    assert len(gapped) == 4 and gapped.nbytes == 16
    assert gapped.take([3, 0, 1, 3]).tolist() == [[2], [0], [1], [2]]
    assert gapped.take([0, 2]).tolist() == [[0], [0]]


def test_gapped_rows_keep_their_type_and_shape_if_no_clip_has_the_modality():
    stored = Rows(np.zeros((0, 2, 3), np.float16))
    gapped = Gapped(stored, np.array([True, True]))
    result = gapped.take([1, 0, 1])
    assert (result.shape, result.dtype, result.any()) == ((3, 2, 3), np.float16, False)
    assert gapped.nbytes == 0


@pytest.mark.parametrize(
    ("modalities", "expected"),
    [([], [4, 0, 2, 3]), (["a"], [4, 0, 2, 3]), (["b"], [4, 2]), (["c"], [0, 2, 3]),
     (["a", "b", "c"], [2])],
)  # fmt: skip
def test_clips_that_have_all_given_modalities_keep_their_order(modalities, expected):
    absent = {
        "b": np.array([True, False, False, True, False]),
        "c": np.array([False, True, False, False, True]),
    }
    assert having(absent, np.array([4, 0, 2, 3]), modalities).tolist() == expected
