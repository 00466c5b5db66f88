"""Data of a run: the modalities that each clip has, and its keys."""

import numpy as np
import pytest

from fusion.core.data.dataset import RunData
from fusion.core.data.splits import Split


@pytest.fixture
def data():
    """Four clips; the second and the fourth have no text."""
    split = Split(np.array([0, 1]), np.array([2]), np.array([3]), None, True)
    return RunData(
        (None,) * 4, ("a", "b", "c", "d"), np.array([0, 1, 1, 0]), ("x", "y"), (split,),
        {"text": np.array([False, True, False, True])},
    )  # fmt: skip


def test_presence_has_a_row_for_each_index_and_a_column_for_each_modality(data):
    result = data.present(["mel", "text"], np.array([1, 2, 1]))
    assert result.tolist() == [[True, False], [True, True], [True, False]]
    assert data.present(["text", "mel"], np.array([3])).tolist() == [[False, True]]
    assert data.present(["mel", "text"], np.array([], np.int64)).shape == (0, 2)


def test_complete_modalities_need_no_presence_table(data):
    assert data.present(["mel"], np.arange(4)) is None


def test_keys_of_a_modality_are_those_of_the_clips_that_have_it(data):
    assert data.keys_of("text") == ["a", "c"]
    assert data.keys_of("mel") == ["a", "b", "c", "d"]
