"""Data of a run: the modalities that each clip has, its windows, and its keys."""

from pathlib import Path

import numpy as np
import pytest
from arrays import Rows

from fusion import Clip, Recording
from fusion.core.data.dataset import RunData
from fusion.core.data.splits import Split
from fusion.core.data.windows import Window


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


# -- windows ---------------------------------------------------------------------------


def windowed():
    """Three clips; the second has three windows, and the third has no mel."""
    path = Path("x.wav")
    clips = tuple(Clip(Recording(path), str(i), "x", "s", "c") for i in range(3))
    windows = tuple(Window(Recording(path, i, i + 1.5), f"w{i}") for i in range(3))
    split = Split(np.array([0]), np.array([1]), np.array([2]), None, True)
    return RunData(
        clips, ("a", "b", "c"), np.array([0, 1, 1]), ("x", "y"), (split,),
        {"mel": np.array([False, False, True])}, {1: windows}, ("mel",),
    )  # fmt: skip


def test_a_divided_modality_has_one_array_per_window():
    data = windowed()
    assert data.keys_of("mel") == ["a", "w0", "w1", "w2"]
    assert data.keys_of("text") == ["a", "b", "c"]
    places = [(clip.name, part.recording.start, part.key) for clip, part in data.arrays_of("mel")]
    assert places == [("0", 0.0, "a"), ("1", 0, "w0"), ("1", 1, "w1"), ("1", 2, "w2")]
    assert data.all_keys() == {"a", "b", "c", "w0", "w1", "w2"}
    assert [data.shown("mel", i).key for i in (0, 1)] == ["a", "w1"]
    assert data.shown("text", 1) == Window(data.clips[1].recording, "b")


def test_views_of_arrays_by_window_and_by_clip():
    data = windowed()
    assert data.clips_of("mel").tolist() == [0, 1, 1, 1, 2]
    assert data.clips_of("text").tolist() == [0, 1, 2]
    mel, text = Rows(np.arange(5) * 10), Rows(np.arange(3) + 7)
    everything = np.arange(5)
    assert data.by_window("mel", mel) is mel
    assert data.by_window("text", text).take(everything).tolist() == [7, 8, 8, 8, 9]
    assert data.by_clip("text", text) is text
    assert data.by_clip("mel", mel).take(everything[:3]).tolist() == [0, 20, 40]
    assert data.rows.first.tolist() == [0, 1, 4, 5] and data.rows.divided == ("mel",)


def test_without_windows_arrays_are_used_as_they_are(data):
    arrays = Rows(np.arange(4))
    assert data.rows is None and data.clips_of("mel").tolist() == [0, 1, 2, 3]
    assert data.by_window("mel", arrays) is arrays and data.by_clip("mel", arrays) is arrays
