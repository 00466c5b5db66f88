import threading

import numpy as np
import pytest
import torch
from arrays import Rows
from hypothesis import given
from hypothesis import strategies as st

from fusion import Modality
from fusion.core.data.features import Features, batches, kept_axes
from fusion.core.data.windows import ClipRows


def features(array, axes=("channel", "frequency", "time"), resident=0):
    modality = Modality("m", array.shape[1:], axes)
    targets = np.arange(len(array)) % 2
    return Features({"m": modality}, {"m": Rows(array)}, targets, torch.device("cpu"),
                    resident_bytes=resident)  # fmt: skip


@pytest.mark.parametrize("keep", [(), (0,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("n", [3, 64, 150])
def test_statistics_equal_numpys(keep, n):
    array = np.random.default_rng(n).normal(3, 2, size=(n + 5, 2, 4, 5)).astype(np.float32)
    result = features(array).statistics("m", np.arange(n), keep)
    pooled = (0, *(a + 1 for a in range(3) if a not in keep))
    rows = array[:n].astype(np.float64)
    np.testing.assert_allclose(result.mean, rows.mean(axis=pooled, keepdims=True)[0], rtol=1e-5)
    np.testing.assert_allclose(
        result.deviation, rows.std(axis=pooled, keepdims=True)[0], rtol=1e-4, atol=1e-5
    )


def test_axes_with_separate_statistics():
    mel = Modality("m", (1, 8, 9), ("channel", "frequency", "time"))
    assert kept_axes(mel, "feature") == (0, 1)
    assert kept_axes(mel, "channel") == (0,)
    diagrams = Modality("d", (4, 26), ("channel", "statistic"))
    assert kept_axes(diagrams, "feature") == (0, 1)
    assert kept_axes(diagrams, "channel") == (0,)
    table = Modality("t", (40,))
    assert kept_axes(table, "feature") == (0,)
    assert kept_axes(table, "channel") == ()


@given(st.integers(1, 200), st.integers(1, 50), st.integers(0, 9))
def test_batches_cover_all_clips_once_and_are_nearly_equal(n, size, seed):
    parts = list(batches(np.arange(n), size, np.random.default_rng(seed)))
    assert sorted(np.concatenate(parts)) == list(range(n))
    lengths = {len(p) for p in parts}
    assert max(lengths) <= max(size, 3)
    assert min(lengths) >= min(n, 2)  # batch normalisation needs two clips
    assert max(lengths) - min(lengths) <= 1
    unshuffled = [len(p) for p in batches(np.arange(n), size, None)]
    assert sum(unshuffled) == n and max(unshuffled) <= size


def test_a_batch_is_aligned_with_its_classes():
    array = np.arange(24, dtype=np.float32).reshape(6, 1, 2, 2)
    for resident in (0, 10**6):
        inputs, targets = features(array, resident=resident).batch(np.array([5, 0, 2]))
        np.testing.assert_array_equal(inputs["m"], array[[5, 0, 2]])
        assert targets.tolist() == [1, 0, 0]


class Slow(Rows):
    """Rows that record each read, and whether the main thread made it."""

    def __init__(self, array):
        super().__init__(array)
        self.reads = []

    def take(self, indices):
        self.reads.append((list(indices), threading.current_thread() is threading.main_thread()))
        return super().take(indices)


def slow_features(resident_bytes=0):
    array = Slow(np.arange(12, dtype=np.float32).reshape(6, 2))
    return array, Features({"a": Modality("a", (2,))}, {"a": array}, np.zeros(6, np.int64),
                           torch.device("cpu"), resident_bytes=resident_bytes)  # fmt: skip


def test_a_prefetched_batch_is_read_once_in_another_thread():
    array, features = slow_features()
    first, second, third = (np.array(rows) for rows in ([0, 1], [2, 3], [4, 5]))
    features.prefetch(second)
    assert features.batch(first)[0]["a"].tolist() == [[0, 1], [2, 3]]
    features.prefetch(third)
    assert features.batch(second)[0]["a"].tolist() == [[4, 5], [6, 7]]
    assert features.batch(first)[0]["a"].tolist() == [[0, 1], [2, 3]]  # not prefetched
    assert features.batch(third)[0]["a"].tolist() == [[8, 9], [10, 11]]
    assert sorted(array.reads) == [
        ([0, 1], True), ([0, 1], True), ([2, 3], False), ([4, 5], False),
    ]  # fmt: skip


def test_an_error_while_prefetching_is_raised_by_the_batch():
    _, features = slow_features()
    features.prefetch(np.array([99]))
    with pytest.raises(IndexError):
        features.batch(np.array([99]))


def test_arrays_on_the_device_are_not_prefetched():
    array, features = slow_features(resident_bytes=10**6)
    array.reads.clear()
    features.prefetch(np.array([0]))
    assert not array.reads


# -- windows ---------------------------------------------------------------------------


def windowed(resident=0):
    """Three clips with 1, 3 and 2 windows; `whole` is the same in all windows of a clip."""
    first = np.array([0, 1, 4, 6])
    arrays = {
        "parts": Rows(np.array([[0], [10], [11], [15], [20], [22]], np.float32)),
        "whole": Rows(np.array([[5], [6], [6], [6], [7], [7]], np.float32)),
    }
    modalities = {m: Modality(m, (1,)) for m in arrays}
    return Features(modalities, arrays, np.array([0, 1, 0]), torch.device("cpu"),
                    resident_bytes=resident, rows=ClipRows(first, ("parts",)))  # fmt: skip


@pytest.mark.parametrize("resident", [0, 10**6])
def test_a_batch_has_the_middle_window_or_the_given_one(resident):
    features, clips = windowed(resident), np.array([1, 2, 1])
    inputs, targets = features.batch(clips)
    assert inputs["parts"][:, 0].tolist() == [11, 22, 11] and targets.tolist() == [1, 0, 1]
    inputs, targets = features.batch(clips, np.array([3, 4, 1]))
    assert inputs["parts"][:, 0].tolist() == [15, 20, 10] and targets.tolist() == [1, 0, 1]
    assert inputs["whole"][:, 0].tolist() == [6, 7, 6]
    assert len(features) == 3


def test_a_window_that_was_not_prefetched_is_not_mistaken_for_one_that_was():
    features, clips = windowed(), np.array([1, 2])
    features.prefetch(clips, np.array([3, 4]))
    assert features.batch(clips)[0]["parts"][:, 0].tolist() == [11, 22]
    assert features.batch(clips, np.array([3, 4]))[0]["parts"][:, 0].tolist() == [15, 20]
    features.prefetch(clips)
    assert features.batch(clips)[0]["parts"][:, 0].tolist() == [11, 22]


def test_statistics_use_every_window_of_a_divided_modality_and_each_clip_once_otherwise():
    features = windowed()
    result = features.statistics("parts", np.array([0, 1]), (0,))
    values = np.array([0, 10, 11, 15])
    assert result.mean.item() == values.mean()
    assert result.deviation.item() == pytest.approx(values.std())
    assert features.statistics("whole", np.array([0, 1]), (0,)).mean.item() == 5.5


def test_clips_without_windows_have_no_random_windows():
    array = np.zeros((4, 2), np.float32)
    assert features(array, ()).random_rows(np.arange(4), np.random.default_rng(0)) is None
    rows = windowed().random_rows(np.array([1, 1, 0]), np.random.default_rng(0))
    assert set(rows[:2].tolist()) <= {1, 2, 3} and rows[2] == 0
