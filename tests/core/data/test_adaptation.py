"""Statistics of each speaker, and features adapted with them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from arrays import Rows

from fusion.core.contracts import Modality
from fusion.core.contracts.data import Clip, Recording
from fusion.core.data import adaptation
from fusion.core.data.adaptation import (
    Adapted,
    Collector,
    Moments,
    Population,
    adapt_tensor,
    adapted,
    adapted_axes,
    moments_of,
    numbered_speakers,
    offset_and_scale,
    population_of,
    population_tensors,
    populations_from,
    run_moments,
    training_population,
)
from fusion.core.data.dataset import RunData
from fusion.core.data.splits import Split

TABLE = Modality("table", (2,))
MEL = Modality("mel", (1, 3, 4), ("channel", "frequency", "time"))


def clip(number, speaker, corpus="c"):
    return Clip(Recording(Path(f"{number}.wav")), f"{number}.wav", "x", speaker, corpus)


def run_data(speakers, absent=None):
    clips = tuple(clip(i, s) for i, s in enumerate(speakers))
    half = len(clips) // 2
    train, rest = np.arange(half), np.arange(half, len(clips))
    split = Split(train, rest[:1], rest[1:], None, speaker_independent=True)
    return RunData(clips, tuple(c.name for c in clips), np.zeros(len(clips), np.int64), ("x",),
                   (split,), absent or {})  # fmt: skip


def shrunk(moments, population=None, k=1.0):
    everybody = np.arange(len(moments.count))
    return offset_and_scale(moments, population or population_of(moments, everybody), k)


def test_statistics_by_hand():
    array = np.array([[1.0, 10.0], [3.0, 10.0], [100.0, 0.0], [104.0, 4.0], [108.0, 8.0]])
    speakers = np.array([0, 0, 1, 1, 1])
    result = moments_of(Rows(array), TABLE, "feature", speakers, np.arange(5))
    assert result.count.tolist() == [2, 3]
    assert result.mean.tolist() == [[2, 10], [104, 4]]
    np.testing.assert_allclose(result.variance, [[1, 0], [32 / 3, 32 / 3]])
    population = population_of(result, np.array([0, 1]))
    np.testing.assert_allclose(population.mean, [(2 * 2 + 3 * 104) / 5, (2 * 10 + 3 * 4) / 5])
    np.testing.assert_allclose(population.variance, [(2 * 1 + 32) / 5, 32 / 5])
    offset, scale = offset_and_scale(result, population)
    # Speaker 0 has two clips: the weights are 2/3 and 1/3.
    np.testing.assert_allclose(offset[0], [(2 * 2 + 63.2) / 3, (2 * 10 + 6.4) / 3], rtol=1e-6)
    np.testing.assert_allclose(
        scale[0], [((2 * 1 + 6.8) / 3) ** -0.5, (6.4 / 3) ** -0.5], rtol=1e-6
    )
    rows = Adapted(Rows(array.astype(np.float16)), speakers, offset, scale).take([0, 4])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows[0], (array[0] - offset[0]) * scale[0], rtol=1e-5)
    np.testing.assert_allclose(rows[1], (array[4] - offset[1]) * scale[1], rtol=1e-5)


def test_axes_are_pooled_as_in_global_standardisation():
    rng = np.random.default_rng(0)
    array = rng.normal(size=(150, 1, 3, 4)) * np.arange(1, 4)[:, None] + 5
    speakers = rng.integers(0, 4, 150)
    result = moments_of(Rows(array), MEL, "feature", speakers, np.arange(150))
    assert result.mean.shape == (4, 1, 3, 1)
    for s in range(4):
        own = array[speakers == s]
        np.testing.assert_allclose(result.mean[s, 0, :, 0], own.mean(axis=(0, 1, 3)), rtol=1e-12)
        np.testing.assert_allclose(result.variance[s, 0, :, 0], own.var(axis=(0, 1, 3)), rtol=1e-10)
    assert moments_of(Rows(array), MEL, "channel", speakers, np.arange(9)).mean.shape == (
        4,
        1,
        1,
        1,
    )
    assert adapted_axes(MEL, "none") == adapted_axes(MEL, "feature") == (0, 1)
    assert adapted_axes(TABLE, "channel") == ()


def test_one_clip_and_the_pseudo_clip_have_equal_weight():
    array = np.array([[0.0, 0.0], [2.0, 4.0], [9.0, 9.0]])
    moments = moments_of(Rows(array), TABLE, "feature", np.array([0, 0, 1]), np.arange(3))
    population = population_of(moments, np.array([0]))
    offset, scale = offset_and_scale(moments, population)
    np.testing.assert_allclose(offset[1], [(9 + 1) / 2, (9 + 2) / 2])
    np.testing.assert_allclose(scale[1], [(1 / 2) ** -0.5, (4 / 2) ** -0.5])
    unknown = Moments(np.zeros(1), np.zeros((1, 2)), np.zeros((1, 2)))  # no clip
    offset, scale = offset_and_scale(unknown, population)
    np.testing.assert_allclose(offset[0], population.mean)
    np.testing.assert_allclose(scale[0], population.variance**-0.5)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7e5, 1e-9])
def test_a_constant_feature_is_centred_and_not_scaled(constant):
    array = np.full((6, 2), constant)
    array[:, 1] = np.arange(6)
    moments = moments_of(Rows(array), TABLE, "feature", np.arange(6) // 3, np.arange(6))
    offset, scale = shrunk(moments)
    rows = Adapted(Rows(array), np.arange(6) // 3, offset, scale).take(np.arange(6))
    assert scale[:, 0].tolist() == [1, 1]
    assert np.abs(rows[:, 0]).max() <= 1e-6 * abs(constant)
    assert np.abs(rows).max() < 4


def test_a_feature_that_is_constant_for_one_speaker_stays_small():
    rng = np.random.default_rng(0)
    array = rng.normal(size=(40, 2))
    array[:20, 0] = 3.0
    speakers = np.arange(40) // 20
    offset, scale = shrunk(moments_of(Rows(array), TABLE, "feature", speakers, np.arange(40)))
    assert np.abs(Adapted(Rows(array), speakers, offset, scale).take(np.arange(20))).max() < 4


def test_absent_and_non_finite_clips_do_not_count():
    array = np.array([[1.0, 1.0], [3.0, 5.0], [0.0, 0.0], [np.nan, 2.0], [5.0, 6.0]])
    reference = np.array([0, 1, 3, 4])
    result = moments_of(Rows(array), TABLE, "feature", np.array([0, 0, 0, 0, 1]), reference)
    assert result.count.tolist() == [2, 1]
    assert result.mean.tolist() == [[2, 3], [5, 6]]
    assert result.variance.tolist() == [[1, 4], [0, 0]]


def affine(array, speakers, speaker):
    """Return `array` with each feature of one speaker scaled and shifted by its own factors."""
    scale = np.array([0.2, 3.0, 7.0])[None, :, None]
    changed = array.copy()
    changed[speakers == speaker] = array[speakers == speaker] * scale + 10 * scale - 4
    return changed


def test_adaptation_removes_an_affine_change_of_a_speaker():
    rng = np.random.default_rng(1)
    array = rng.normal(size=(400, 1, 3, 4))
    speakers = np.arange(400) % 2
    rows = {}
    for name, x in (("as it is", array), ("changed", affine(array, speakers, 1))):
        moments = moments_of(Rows(x), MEL, "feature", speakers, np.arange(400))
        population = population_of(moments, np.array([0]))
        for k in (0.0, 1.0):
            offset, scale = offset_and_scale(moments, population, k)
            rows[name, k] = Adapted(Rows(x), speakers, offset, scale).take(np.arange(400))
    np.testing.assert_allclose(rows["as it is", 0.0], rows["changed", 0.0], atol=1e-4)
    # With the pseudo-clip, an offset of 50 deviations shrinks to 50 k / (n + k) deviations.
    moved = np.abs(rows["as it is", 1.0] - rows["changed", 1.0])
    assert moved.max() < 60 / 201 + 0.1
    np.testing.assert_array_equal(moved[::2], 0)


def test_statistics_do_not_depend_on_batches():
    array = np.random.default_rng(2).normal(size=(200, 1, 3, 4)) + 1e4
    speakers = np.arange(200) % 3
    whole, parts = (Collector(3, MEL.shape, (0, 1)) for _ in range(2))
    whole.add(speakers, array)
    for start in range(0, 200, 7):
        parts.add(speakers[start : start + 7], array[start : start + 7])
    for a, b in zip(vars(whole.moments()).values(), vars(parts.moments()).values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_statistics_read_a_limited_number_of_clips_at_a_time():
    class Counted(Rows):
        most = 0

        def take(self, indices):
            self.most = max(self.most, len(indices))
            return super().take(indices)

    array = Counted(np.zeros((500, 2)))
    moments_of(array, TABLE, "feature", np.zeros(500, np.int64), np.arange(500))
    assert array.most == 64


def test_the_population_is_that_of_the_training_speakers():
    data = run_data(["a", "a", "b", "b", "c", "c", "d", "d"])
    array = np.repeat(np.arange(4.0), 2)[:, None] * [1, 10] + np.tile([[0], [1.0]], (4, 1))
    moments = moments_of(Rows(array), TABLE, "feature", numbered_speakers(data.clips),
                         np.arange(8))  # fmt: skip
    np.testing.assert_allclose(training_population(moments, data, 0).mean, [1.0, 5.5])
    np.testing.assert_allclose(training_population(moments, data, None).mean, [2.0, 15.5])
    rows = adapted(Rows(array), moments, data, 0, TABLE.name).take([6])
    offset, scale = offset_and_scale(moments, training_population(moments, data, 0))
    np.testing.assert_array_equal(rows[0], (array[6].astype(np.float32) - offset[3]) * scale[3])


def test_equal_speaker_names_in_two_corpora_are_distinct_speakers():
    clips = [clip(0, "1", "b"), clip(1, "1", "a"), clip(2, "1", "b")]
    assert numbered_speakers(clips).tolist() == [1, 0, 1]


def test_statistics_are_computed_once_per_run(tmp_path):
    absent = {"table": np.array([False, True, False, False])}
    data = run_data(["a", "a", "b", "b"], absent)
    array = np.array([[1.0, 2], [0, 0], [3, 4], [5, 6]])
    first = run_moments(tmp_path, "id", TABLE, "feature", Rows(array), data)
    assert first.count.tolist() == [1, 2]
    again = run_moments(tmp_path, "id", TABLE, "feature", None, data)  # no array is needed
    for a, b in zip(vars(first).values(), vars(again).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    (file,) = (tmp_path / adaptation.FOLDER).iterdir()
    file.write_bytes(b"damaged")
    run_moments(tmp_path, "id", TABLE, "feature", Rows(array), data)
    assert run_moments(tmp_path, "id", TABLE, "feature", None, data).count.tolist() == [1, 2]


def test_tensors_are_adapted_like_arrays():
    array = np.random.default_rng(3).normal(size=(30, 1, 3, 4)).astype(np.float16)
    one = np.zeros(30, np.int64)
    moments = moments_of(Rows(array), MEL, "feature", one, np.arange(30))
    population = Population(np.ones((1, 3, 1)), np.full((1, 3, 1), 2.0))
    populations = population_tensors("population/fold0/mel", {"mel": population})
    result = populations_from("population/fold0/mel", {**populations, "fold0/mel/x": torch.ones(1)})
    assert list(result) == ["mel"]
    expected = Adapted(Rows(array), one, *offset_and_scale(moments, population)).take(np.arange(30))
    created = adapt_tensor(torch.from_numpy(array), moments, result["mel"])
    np.testing.assert_array_equal(created.numpy(), expected)
