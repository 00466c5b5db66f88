"""The persistence extractor, compared with values by hand, scipy, gudhi and persim."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import gudhi
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from persim import PersistenceImager
from scipy.spatial.distance import pdist, squareform
from scipy.stats import wasserstein_distance

from fusion import Recording
from fusion.core.contracts.errors import ParameterError, RecordingError
from fusion.core.data.extraction import fingerprint_of, make_extractor
from fusion.plugins.corpora.demo import Demo
from fusion.plugins.extractors.persistence import (
    IMAGERS,
    RANGES,
    REDUCTIONS,
    Persistence,
    Reduction,
    distance_matrices,
    gudhi_diagrams,
    persim_image,
    persistence_image,
)
from fusion.testing import ExtractorSuite

RATE = 16000
Reduce = Callable[[np.ndarray], list[np.ndarray]]
ZERO = np.zeros((6, 32, 32), np.float32)


def speechlike(seconds: float = 1.5, rate: int = RATE) -> np.ndarray:
    """A chirp of harmonics that swells and fades, with noise."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (120 * time + 30 * np.sin(2 * np.pi * 2 * time))
    voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * np.hanning(len(time))
    noise = np.random.default_rng(0).standard_normal(len(time))
    return (0.2 * voice + 0.002 * noise).astype(np.float32)


def recording(path: Path, samples: np.ndarray, rate: int = RATE) -> Recording:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return Recording(path)


@pytest.fixture
def clip(tmp_path: Path) -> Recording:
    return recording(tmp_path / "clip.wav", speechlike())


# ---------------------------------------------------------------- metrics


def test_metrics_by_hand() -> None:
    frames = np.array([[3.0, 0.0, 1.0], [3.0, 4.0, 1.0], [0.0, 0.0, 1.0]])
    euclidean, temporal, wasserstein = distance_matrices(frames)
    np.testing.assert_allclose(euclidean, [[0, 4, 3], [4, 0, 5], [3, 5, 0]])
    # Band 0 has mean 2 and deviation sqrt(2), band 1 4/3 and sqrt(32/9); band 2 is constant.
    steps = np.array([[0, 0, 3 / 2**0.5], [0, 0, 3 / 2**0.5], [3 / 2**0.5] * 2 + [0]])
    rises = 4 / (32 / 9) ** 0.5 * np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    instants = np.array([[0, 0.5, 1], [0.5, 0, 0.5], [1, 0.5, 0]])
    np.testing.assert_allclose(temporal, 0.5 * instants + 0.5 * np.hypot(steps, rises))
    # Shares: (3/4, 0, 1/4), (3/8, 1/2, 1/8), (0, 0, 1); their sums: (3/4, 3/4), (3/8, 7/8), (0, 0)
    np.testing.assert_allclose(wasserstein, [[0, 0.5, 1.5], [0.5, 0, 1.25], [1.5, 1.25, 0]])


def test_wasserstein_distances_equal_scipys(clip: Recording) -> None:
    frames = Persistence().frames(clip)
    frames[5] = 0  # a frame at the floor counts as evenly spread
    _, _, ours = distance_matrices(frames)
    bands = np.arange(128)
    for i, j in [(0, 1), (5, 30), (10, 80), (47, 48), (5, 5)]:
        shares = [np.ones(128) if k == 5 else frames[k] for k in (i, j)]
        expected = wasserstein_distance(bands, bands, *shares)
        np.testing.assert_allclose(ours[i, j], expected, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 12), bands=st.integers(1, 6))
def test_distances_are_metrics(seed: int, count: int, bands: int) -> None:
    rng = np.random.default_rng(seed)
    frames = np.maximum(rng.normal(size=(count, bands)), 0)  # some bands and some frames are 0
    for matrix in distance_matrices(frames):
        assert np.isfinite(matrix).all()
        np.testing.assert_array_equal(matrix, matrix.T)
        assert not matrix.diagonal().any()
        via = (matrix[:, :, None] + matrix[None]).min(axis=1)  # shortest path over a third point
        assert (matrix <= via + 1e-9).all()


# ---------------------------------------------------------------- diagrams


def simplex_tree_diagrams(distances: np.ndarray) -> list[np.ndarray]:
    """Finite bars computed by gudhi without a threshold."""
    tree = gudhi.RipsComplex(distance_matrix=distances).create_simplex_tree(max_dimension=2)
    tree.compute_persistence(homology_coeff_field=2)
    result = [tree.persistence_intervals_in_dimension(d).reshape(-1, 2) for d in (0, 1)]
    return [bars[np.isfinite(bars[:, 1])] for bars in result]


def assert_same_bars(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-4) -> None:
    """Raise if two diagrams differ as multisets, without bars shorter than 2 x `tolerance`."""
    stored = [bars[bars[:, 1] - bars[:, 0] > 2 * tolerance] for bars in (ours, theirs)]
    first, second = (bars[np.lexsort(bars.T.round(3))] for bars in stored)
    assert len(first) == len(second)
    np.testing.assert_allclose(first, second, atol=tolerance)


REDUCED = pytest.mark.parametrize("reduce", REDUCTIONS.values(), ids=REDUCTIONS)


@REDUCED
def test_a_square_has_one_hole(reduce: Reduce) -> None:
    corners = np.array([[0, 0], [0, 3], [3, 3], [3, 0.0]])
    distances = np.linalg.norm(corners[:, None] - corners[None], axis=2)
    connected, holes = reduce(distances)
    np.testing.assert_allclose(connected, [[0, 3]] * 3)
    np.testing.assert_allclose(holes, [[3, 18**0.5]], rtol=1e-6)


@REDUCED
def test_equal_points_make_no_bars(reduce: Reduce) -> None:
    for distances in (np.zeros((4, 4)), np.zeros((2, 2))):
        assert [bars.shape for bars in reduce(distances)] == [(0, 2), (0, 2)]


@REDUCED
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 25), bands=st.integers(2, 5))
def test_diagrams_equal_those_of_a_simplex_tree(
    reduce: Reduce, seed: int, count: int, bands: int
) -> None:
    frames = np.random.default_rng(seed).uniform(size=(count, bands))
    for distances in distance_matrices(frames):
        for ours, theirs in zip(reduce(distances), simplex_tree_diagrams(distances), strict=True):
            assert_same_bars(ours, theirs)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_diagrams_of_speech_equal_those_of_a_simplex_tree(
    ravdess: Path, reduction: Reduction
) -> None:
    extractor = Persistence(max_points=90, reduction=reduction)
    for path in sorted(ravdess.glob("Actor_*/*"))[::200]:
        ours = extractor.diagrams(Recording(path))
        matrices = distance_matrices(extractor.frames(Recording(path)))
        theirs = [bars for matrix in matrices for bars in simplex_tree_diagrams(matrix)]
        assert sum(map(len, theirs)) > 100
        for channel, (first, second) in enumerate(zip(ours, theirs, strict=True)):
            assert_same_bars(first, second, 1e-4)
            assert (channel % 2 == 1) or not first[:, 0].any()  # H0 bars are born at 0


def test_every_reduction_makes_the_same_image(clip: Recording) -> None:
    expected = Persistence(reduction="ripser").extract(clip)
    for name in REDUCTIONS:
        result = Persistence(reduction=name).extract(clip)
        np.testing.assert_allclose(result, expected, atol=1e-5 * expected.max())


def test_euclidean_distances_equal_scipys_and_equal_frames_have_distance_zero() -> None:
    frames = np.random.default_rng(0).uniform(0, 80, (50, 128))
    frames[10:20] = frames[0]
    expected = squareform(pdist(frames))
    ours = distance_matrices(frames)[0]
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert (ours[expected == 0] == 0).all() and (ours == ours.T).all()


@pytest.mark.slow
def test_diagrams_of_whole_clips_equal_those_of_a_simplex_tree(ravdess: Path) -> None:
    extractor = Persistence()
    path = min(ravdess.glob("Actor_*/*"), key=lambda file: file.stat().st_size)
    ours = extractor.diagrams(Recording(path))
    for index, matrix in enumerate(distance_matrices(extractor.frames(Recording(path)))):
        for first, second in zip(ours[2 * index :], simplex_tree_diagrams(matrix), strict=False):
            assert_same_bars(first, second)


# ---------------------------------------------------------------- images


@pytest.mark.parametrize("sigma", [0.7, 1.0, 3.0])
def test_images_equal_persims(clip: Recording, sigma: float) -> None:
    extractor = Persistence(sigma=sigma)
    diagrams = extractor.diagrams(clip)
    images = extractor.images(diagrams)
    assert images.shape == (6, 32, 32)
    for image, bars, ranges in zip(images, diagrams, RANGES["mel"], strict=True):
        assert len(bars) > 5
        expected = persim_image(bars, *ranges, 32, sigma)
        np.testing.assert_allclose(image, expected, atol=1e-6 * expected.max())


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 30),
    together=st.booleans(),
    resolution=st.integers(1, 20),
    sigma=st.floats(0.2, 5),
)
def test_images_of_random_diagrams_equal_persims(
    seed: int, count: int, together: bool, resolution: int, sigma: float
) -> None:
    """The two imagers agree to 1e-12 of the bars' total persistence."""
    rng = np.random.default_rng(seed)
    birth, length = rng.normal(0, 5, count), rng.exponential(3, count)
    birth = np.zeros(count) if together else birth  # as in H0
    bars = np.stack([birth, birth + length], axis=1)
    low, high = rng.uniform(-5, 0, 2), rng.uniform(1, 10, 2)
    options = ((low[0], high[0]), (low[1], high[1]), resolution, sigma)
    ours, theirs = persistence_image(bars, *options), persim_image(bars, *options)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * length.sum())


def test_a_demo_recording_by_ripser_and_persim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synthetic speech by the fast path equals the result of ripser and persim."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spoken = next(iter(Demo(None, speakers=3, clips=1).clips())).recording
    fast, reference = Persistence(), Persistence(reduction="ripser", imager="persim")
    ours, theirs = fast.diagrams(spoken), reference.diagrams(spoken)
    assert all(len(bars) > 5 for bars in theirs)
    for first, second in zip(ours, theirs, strict=True):
        assert_same_bars(first, second)
    expected = reference.images(theirs)
    np.testing.assert_allclose(fast.images(theirs), expected, rtol=1e-6, atol=1e-6)  # float32
    result, expected = fast.extract(spoken), reference.extract(spoken)
    np.testing.assert_allclose(result, expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("draw", IMAGERS.values(), ids=IMAGERS)
def test_image_with_square_pixels_equals_persims_default(draw: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    birth, length = rng.uniform(0, 5, 40), rng.exponential(1.0, 40)
    bars = np.stack([birth, birth + length], axis=1)
    imager = PersistenceImager(
        birth_range=(0.0, 4.0), pers_range=(0.0, 4.0), pixel_size=0.125, weight="persistence",
        weight_params={"n": 1}, kernel_params={"sigma": [[0.0625, 0.0], [0.0, 0.0625]]},
    )  # fmt: skip
    ours = draw(bars, (0.0, 4.0), (0.0, 4.0), 32, sigma=2.0)  # 0.25 = 2 pixels
    np.testing.assert_allclose(ours, imager.transform(bars), atol=1e-12)


def test_one_bar_by_hand() -> None:
    # Birth 2.5 and length 5.5 in ranges (0, 10) of ten pixels are the middle of pixel (2, 5).
    image = persistence_image(np.array([[2.5, 8.0]]), (0, 10), (0, 10), 10, sigma=0.5)
    inside = 0.6826894921  # share of a Gaussian within one standard deviation
    assert image[2, 5] == pytest.approx(5.5 * inside**2)
    assert image[2, 4] == pytest.approx(5.5 * inside * (0.9973002039 - inside) / 2)
    assert image.sum() == pytest.approx(5.5, rel=1e-6)
    np.testing.assert_allclose(image[1], image[3])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 20))
def test_images_are_additive_and_sum_to_the_total_persistence(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    birth, length = rng.uniform(3, 7, count), rng.uniform(3, 7, count)
    bars = np.stack([birth, birth + length], axis=1)
    options: tuple[Any, ...] = ((0, 10), (0, 10), 20, 1.0)
    whole = persistence_image(bars, *options)
    halves = persistence_image(bars[::2], *options) + persistence_image(bars[1::2], *options)
    np.testing.assert_allclose(whole, halves, atol=1e-12)
    np.testing.assert_allclose(whole.sum(), length.sum(), rtol=1e-6)  # no bar is near the border
    assert (whole >= 0).all()


# ---------------------------------------------------------------- recordings


def test_extracts_images_of_the_diagrams(clip: Recording) -> None:
    extractor = Persistence()
    image = extractor.check(extractor.extract(clip))
    np.testing.assert_array_equal(image, extractor.images(extractor.diagrams(clip)))
    assert image.dtype == np.float32
    assert (image.reshape(6, -1).max(axis=1) > 0).all()


def test_ranges_contain_nearly_all_bars_of_speech(ravdess: Path) -> None:
    paths = sorted(ravdess.glob("Actor_*/*"))[::40]
    result = [Persistence().diagrams(Recording(path)) for path in paths]
    for channel, (births, persistences) in enumerate(RANGES["mel"]):
        bars = np.concatenate([diagrams[channel] for diagrams in result])
        length = bars[:, 1] - bars[:, 0]
        inside = (bars[:, 0] <= births[1]) & (length <= persistences[1])
        assert length[inside].sum() / length.sum() > 0.95


def test_loudness_does_not_change_the_image(tmp_path: Path) -> None:
    image = Persistence().extract(recording(tmp_path / "a.wav", speechlike()))
    louder = Persistence().extract(recording(tmp_path / "b.wav", 3 * speechlike()))
    np.testing.assert_allclose(louder, image, atol=1e-3 * image.max())


def test_reversed_time_does_not_change_the_diagrams(clip: Recording) -> None:
    frames = Persistence().frames(clip)
    both = zip(distance_matrices(frames), distance_matrices(frames[::-1]), strict=True)
    for forwards, backwards in both:
        for ours, turned in zip(gudhi_diagrams(forwards), gudhi_diagrams(backwards), strict=True):
            assert_same_bars(ours, turned)


def test_images_contain_no_values_too_small_for_float32(clip: Recording) -> None:
    image = Persistence().extract(clip)
    # Far from every bar, the value of a Gaussian is so small that its variance over clips
    # underflows.
    assert image[image > 0].min() > 1e-9


def test_silence_and_a_single_frame_are_all_zero(tmp_path: Path) -> None:
    for name, samples in (
        ("silence", np.zeros(RATE)),
        ("nearly", np.full(RATE, 1e-9)),
        ("frame", speechlike()[:200]),
        ("sample", np.ones(1)),
    ):
        image = Persistence().extract(recording(tmp_path / f"{name}.wav", samples))
        np.testing.assert_array_equal(image, ZERO)


def test_two_frames_have_one_bar_per_metric(tmp_path: Path) -> None:
    diagrams = Persistence().diagrams(recording(tmp_path / "a.wav", speechlike()[9000:9300]))
    assert [len(bars) for bars in diagrams] == [1, 0] * 3
    assert diagrams[2][0, 1] == pytest.approx(0.5 + 0.5 * 2 * 128**0.5, rel=1e-6)


def test_stereo_and_other_rates(tmp_path: Path) -> None:
    mono = Persistence().extract(recording(tmp_path / "mono.wav", speechlike()))
    both = np.stack([speechlike()] * 2, axis=1)
    stereo = Persistence().extract(recording(tmp_path / "stereo.wav", both))
    np.testing.assert_array_equal(stereo, mono)
    high = Persistence().extract(recording(tmp_path / "high.wav", speechlike(rate=44100), 44100))
    # The noise at 44.1 kHz is different, so the images are similar but not equal.
    assert np.corrcoef(high.ravel(), mono.ravel())[0, 1] > 0.8


def test_five_minutes_take_little_longer_than_seconds(tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(300 * RATE)
    long = recording(tmp_path / "long.wav", noise)
    assert Persistence().frames(long).shape == (400, 128)
    started = time.process_time()
    Persistence().extract(long)
    assert time.process_time() - started < 20  # about 0.5 s; 18,751 frames would take hours


def test_points_of_long_clips_are_spread_evenly(clip: Recording) -> None:
    every = Persistence().frames(clip)
    few = Persistence(max_points=3).frames(clip)
    np.testing.assert_array_equal(few, every[[0, 46, 93]])  # 94 frames; 46.5 rounds to even


def test_cepstral_points(clip: Recording) -> None:
    extractor = Persistence(points="mfcc", n_mfcc=13)
    assert extractor.frames(clip).shape == (94, 13)
    assert extractor.frames(clip).min() == 0
    # The full set of coefficients is a rotation of the bands: Euclidean distances don't change.
    turned = distance_matrices(Persistence(points="mfcc", n_mfcc=128).frames(clip))[0]
    np.testing.assert_allclose(turned, distance_matrices(Persistence().frames(clip))[0], atol=1e-4)
    image = extractor.check(extractor.extract(clip))
    assert (image.reshape(6, -1).max(axis=1) > 0).all()


def test_unreadable_recordings_are_refused(tmp_path: Path) -> None:
    samples = speechlike()
    samples[7] = np.nan
    with pytest.raises(RecordingError, match="sample 7 is"):
        Persistence().extract(recording(tmp_path / "nan.wav", samples))
    cut = recording(tmp_path / "cut.wav", speechlike())
    cut.path.write_bytes(cut.path.read_bytes()[:9000])
    with pytest.raises(RecordingError, match="truncated"):
        Persistence().extract(cut)


def test_same_recording_same_bits(clip: Recording) -> None:
    assert Persistence().extract(clip).tobytes() == Persistence().extract(clip).tobytes()


@pytest.mark.parametrize(
    "changed",
    [{"sample_rate": 8000}, {"n_fft": 512}, {"hop": 160}, {"n_mels": 64}, {"top_db": 60.0},
     {"trim_db": 20.0}, {"points": "mfcc"}, {"max_points": 50}, {"resolution": 16},
     {"sigma": 2.0}],
)  # fmt: skip
def test_every_parameter_changes_the_image(clip: Recording, changed: dict[str, Any]) -> None:
    extractor = Persistence(**changed)
    image = extractor.check(extractor.extract(clip))
    assert not np.array_equal(image, Persistence().extract(clip))


def test_the_default_imager_is_not_part_of_the_fingerprint() -> None:
    """Features that were stored before the parameter existed are still cache hits."""
    default, named, persim = (
        fingerprint_of(make_extractor(Persistence, given))
        for given in ({}, {"imager": "product"}, {"imager": "persim"})
    )
    assert default.canonical() == named.canonical()
    text = (
        '"name":"persistence","parameters":{"hop":256,"max_points":400,"n_fft":1024,"n_mels":128,'
        '"n_mfcc":20,"points":"mel","reduction":"lunes","resolution":32,"sample_rate":16000,'
        '"sigma":1.0,"top_db":80.0,"trim_db":0.0},"shape":[6,32,32],"version":"1"}'
    )  # from the commit before the parameter
    assert default.canonical().partition('},"name"')[2] == text.removeprefix('"name"')
    assert list(default.libraries) == ["librosa", "numpy", "scipy", "soundfile", "soxr"]
    assert persim.parameters == {**default.parameters, "imager": "persim"}
    assert "persim" in persim.libraries


@pytest.mark.parametrize(
    "wrong",
    [{"top_db": 0.0}, {"trim_db": -1.0}, {"max_points": 1}, {"resolution": 0}, {"sigma": 0.0},
     {"n_fft": 0}, {"points": "mfcc", "n_mfcc": 129}],
)  # fmt: skip
def test_parameters_out_of_range(wrong: dict[str, Any]) -> None:
    name, value = list(wrong.items())[-1]
    with pytest.raises(ParameterError, match=rf"{name}\b.*{value:g}"):
        Persistence(**wrong)


class TestPersistence(ExtractorSuite):
    plugin = Persistence
    parameters: ClassVar = {"max_points": 60}


@pytest.mark.slow
class TestPersistenceOfMFCC(ExtractorSuite):
    plugin = Persistence
    parameters: ClassVar = {"max_points": 60, "points": "mfcc"}
