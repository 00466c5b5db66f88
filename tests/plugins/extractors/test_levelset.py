"""The levelset extractor: diagrams by gudhi, statistics by numpy, recordings without topology."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import gudhi
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion import Modality, Recording
from fusion.core.analysis.explain.groups import groups_of
from fusion.core.contracts.errors import ParameterError, RecordingError
from fusion.plugins.extractors._bar_statistics import STATISTICS, bar_statistics
from fusion.plugins.extractors.levelset import CONTOURS, LevelSet, contours
from fusion.plugins.extractors.mel import Mel
from fusion.testing import ExtractorSuite

RATE = 16000


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


# ---------------------------------------------------------------- statistics


def by_name(bars: np.ndarray) -> dict[str, float]:
    return dict(zip(STATISTICS, bar_statistics(bars.astype(np.float32)).tolist(), strict=True))


def test_statistics_by_hand() -> None:
    result = by_name(np.array([[6, 2], [5, 3], [9, 1], [4, 2]]))  # lengths 4, 2, 8, 2
    shares = np.array([4, 2, 8, 2]) / 16
    expected = {
        "number of bars": 4,
        "total persistence": 16,
        "L2 norm of persistence": 88**0.5,
        "persistent entropy": 1.75 * np.log(2),  # 1/4 x 2 bits + 2 x 1/8 x 3 bits + 1/2 x 1 bit
        "mean persistence": 4,
        "deviation of persistence": 6**0.5,
        "mean midlife": 4,  # 4, 4, 5, 3
        "deviation of midlife": 0.5**0.5,
        "weighted mean birth": shares @ [6, 5, 9, 4],
        "weighted mean death": shares @ [2, 3, 1, 2],
        "weighted mean midlife": shares @ [4, 4, 5, 3],
        "25th percentile of persistence": 2,  # values 2, 2, 4, 8
        "50th percentile of persistence": 3,
        "75th percentile of persistence": 5,
        "90th percentile of persistence": 4 + 0.7 * 4,
        "10th percentile of midlife": 3.3,  # values 3, 4, 4, 5
        "50th percentile of midlife": 4,
        "90th percentile of midlife": 4.7,
    }
    longest = [8, 4, 2, 2, 0, 0, 0, 0]
    expected |= {f"persistence of bar {i + 1}": length for i, length in enumerate(longest)}
    assert list(result) == list(expected)
    np.testing.assert_allclose(list(result.values()), list(expected.values()), rtol=1e-6)


def by_numpy(bars: np.ndarray) -> np.ndarray:
    birth, death = bars.astype(np.float64).T
    length, midlife = np.abs(birth - death), (birth + death) / 2
    share = length / length.sum()
    longest = np.pad(np.sort(length)[::-1][:8], (0, max(0, 8 - len(length))))
    return np.array(
        [
            len(bars), length.sum(), np.linalg.norm(length), -(share * np.log(share)).sum(),
            length.mean(), length.std(), midlife.mean(), midlife.std(),
            share @ birth, share @ death, share @ midlife,
            *np.percentile(length, [25, 50, 75, 90]), *np.percentile(midlife, [10, 50, 90]),
            *longest,
        ]
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([-1.0, 1.0]))
def test_statistics_equal_numpys(seed: int, count: int, side: float) -> None:
    rng = np.random.default_rng(seed)
    birth, length = rng.normal(size=count), rng.exponential(size=count) + 1e-6
    bars = np.stack([birth, birth + side * length], axis=1).astype(np.float32)
    np.testing.assert_allclose(bar_statistics(bars), by_numpy(bars), rtol=1e-5, atol=1e-6)


def test_statistics_of_no_bars_are_zero_and_one_bar_has_no_entropy() -> None:
    assert not bar_statistics(np.empty((0, 2), np.float32)).any()
    result = by_name(np.array([[3.0, 1.0]]))
    assert (result["number of bars"], result["persistent entropy"]) == (1, 0)
    assert result["90th percentile of persistence"] == result["mean persistence"] == 2


def test_bars_of_any_length_make_finite_statistics() -> None:
    tiny = np.nextafter(np.float32(0), np.float32(1))
    bars = np.array([[tiny, 0], [3e38, 0], [0, tiny]], np.float32)
    assert np.isfinite(bar_statistics(bars[[0, 2]])).all()
    assert np.isfinite(bar_statistics(np.array([[80, 0], [tiny, 0]], np.float32))).all()


def test_the_entropy_of_n_equal_bars_is_log_n() -> None:
    assert by_name(np.tile([[1.0, 0.0]], (20, 1)))["persistent entropy"] == pytest.approx(
        np.log(20)
    )


# ---------------------------------------------------------------- diagrams


def finite_superlevel_bars(image: np.ndarray, dimension: int) -> list[tuple[float, float]]:
    complex_ = gudhi.CubicalComplex(top_dimensional_cells=-image.astype(np.float64))
    complex_.compute_persistence(homology_coeff_field=2, min_persistence=0)
    bars = -complex_.persistence_intervals_in_dimension(dimension).reshape(-1, 2)
    return sorted(map(tuple, bars[np.isfinite(bars[:, 1]) & (bars[:, 0] > bars[:, 1])]))


def listed(bars: np.ndarray) -> list[tuple[float, float]]:
    return sorted(map(tuple, bars.astype(np.float64)))


def check_diagrams(extractor: LevelSet, source: Recording) -> None:
    """Compare all diagrams of a recording with those that gudhi computes from the same heights."""
    heights, result = extractor.heights(source), iter(extractor.diagrams(source).items())
    for part in np.array_split(heights, extractor.surface_bands):
        for dimension in (0, 1):
            name, bars = next(result)
            assert name.endswith(f"H{dimension}")
            assert listed(bars) == finite_superlevel_bars(part, dimension)
    for part in np.array_split(heights, extractor.level_bands):
        name, bars = next(result)
        assert name.startswith("levels")
        assert listed(bars) == finite_superlevel_bars(part.mean(axis=0)[None], 0)
    for contour, curve in zip(CONTOURS, contours(heights), strict=True):
        for side, sign in (("sublevel", -1), ("superlevel", 1)):
            name, bars = next(result)
            assert name == f"contours {contour} {side}"
            assert (sign * bars[:, 0] > sign * bars[:, 1]).all()
            assert listed(sign * bars) == finite_superlevel_bars(sign * curve[None], 0)
    assert next(result, None) is None


def test_diagrams_equal_gudhis(clip: Recording) -> None:
    check_diagrams(LevelSet(), clip)
    check_diagrams(LevelSet(n_mels=50, surface_bands=7, level_bands=9, top_db=40.0), clip)


def test_diagrams_of_speech_equal_gudhis(ravdess: Path) -> None:
    for path in sorted(ravdess.glob("Actor_*/*"))[::400]:
        check_diagrams(LevelSet(), Recording(path))


def test_heights_equal_the_mel_image(clip: Recording) -> None:
    heights = LevelSet(trim_db=0.0).heights(clip)
    image = Mel(hop=256, n_mels=128, frames=heights.shape[1]).extract(clip)[0]
    np.testing.assert_allclose(heights / 80, image, atol=1e-6)
    assert heights.max() == 80


def test_contours_by_hand() -> None:
    ten = 10.0  # dB: a factor of ten in power
    heights = np.array([[0, ten], [0, 0], [ten, 0], [0, 0]], np.float32)  # (4 bands, 2 frames)
    result = dict(zip(CONTOURS, contours(heights), strict=True))
    assert result["level"] == pytest.approx([10 * np.log10(13 / 4)] * 2)
    assert result["centroid"] == pytest.approx([(1 + 20 + 3) / 13, (1 + 2 + 3) / 13])
    assert result["tilt"] == pytest.approx([-5, 5])
    assert result["flux"] == pytest.approx([0, 50**0.5])
    shares = np.array([10, 1, 1, 1]) / 13
    assert result["entropy"] == pytest.approx([-(shares * np.log(shares)).sum()] * 2)


def test_the_middle_of_an_odd_number_of_bands_is_in_both_halves() -> None:
    heights = np.array([[1], [5], [2]], np.float32)
    assert contours(heights)[2] == pytest.approx([3 - 3.5])
    assert contours(heights[:1])[2] == [0]


# ---------------------------------------------------------------- recordings


def test_the_array_is_the_statistics_of_the_diagrams(clip: Recording) -> None:
    extractor = LevelSet()
    array = extractor.check(extractor.extract(clip))
    assert array.shape == (8 * 2 + 16 + 5 * 2, 26) and array.dtype == np.float32
    for row, bars in zip(array, extractor.diagrams(clip).values(), strict=True):
        np.testing.assert_allclose(row, by_numpy(bars), rtol=1e-5, atol=1e-5)
    assert (array[:, 0] > 0).all()


def test_loudness_does_not_change_the_persistence(tmp_path: Path) -> None:
    array = LevelSet().extract(recording(tmp_path / "a.wav", speechlike()))
    louder = LevelSet().extract(recording(tmp_path / "b.wav", 3 * speechlike()))
    total = STATISTICS.index("total persistence")
    np.testing.assert_allclose(louder[:, total], array[:, total], rtol=1e-3)


def test_reversed_time_changes_only_the_flux(clip: Recording) -> None:
    extractor, turned = LevelSet(), LevelSet()
    heights = extractor.heights(clip)
    turned.heights = lambda _: np.ascontiguousarray(heights[:, ::-1])  # type: ignore[method-assign]
    differing = {
        name.split()[1]
        for (name, bars), rest in zip(
            extractor.diagrams(clip).items(), turned.diagrams(clip).values(), strict=True
        )
        if listed(bars) != listed(rest)
    }
    assert differing <= {"flux"}


def test_silence_around_a_clip_is_cut(tmp_path: Path, clip: Recording) -> None:
    quiet = 1e-6 * np.random.default_rng(1).standard_normal(RATE)
    padded = recording(tmp_path / "padded.wav", np.concatenate([quiet, speechlike(), quiet]))
    cut, uncut = LevelSet().heights(padded), LevelSet(trim_db=0.0).heights(padded)
    assert cut.shape[1] < 100 < uncut.shape[1]


def test_silence_has_no_bars(tmp_path: Path) -> None:
    for name, samples in (("silence", np.zeros(RATE)), ("nearly", np.full(RATE, 1e-9))):
        source = recording(tmp_path / f"{name}.wav", samples)
        extractor = LevelSet()
        np.testing.assert_array_equal(extractor.extract(source), np.zeros((42, 26), np.float32))
        assert set(map(len, extractor.diagrams(source).values())) == {0}


def test_one_frame_has_peaks_over_frequency_and_none_over_time(tmp_path: Path) -> None:
    extractor = LevelSet()
    for name, samples in (("frame", speechlike()[9000:9200]), ("sample", np.ones(1))):
        source = recording(tmp_path / f"{name}.wav", samples)
        array = extractor.check(extractor.extract(source))
        assert extractor.heights(source).shape == (128, 1)
        assert not array[1:16:2].any()  # one frame encloses nothing
        assert not array[16:].any()


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: rng.standard_normal(RATE),
        lambda rng: np.clip(20 * rng.standard_normal(RATE), -1, 1),
        lambda rng: np.sign(speechlike()),
        lambda rng: np.eye(1, RATE, RATE // 2)[0],
        lambda rng: np.ones(RATE),
        lambda rng: np.tile(rng.standard_normal(256), 60),
        lambda rng: 1e9 * speechlike(),
    ],
    ids=["noise", "clipped noise", "clipped speech", "click", "constant", "periodic", "huge"],
)
def test_any_sound_makes_finite_statistics(
    tmp_path: Path, make: Callable[[np.random.Generator], np.ndarray]
) -> None:
    source = recording(tmp_path / "a.wav", make(np.random.default_rng(0)))
    for extractor in (LevelSet(), LevelSet(top_db=300.0, trim_db=0.0)):
        array = extractor.check(extractor.extract(source))
        assert np.isfinite(array).all()
        assert (array[:, :6] >= 0).all() and (array[:, 18:] >= 0).all()
        assert (np.diff(array[:, 18:], axis=1) <= 0).all()


def test_a_spectrum_that_never_changes_has_no_bars_over_time(tmp_path: Path) -> None:
    extractor = LevelSet()
    extractor.heights = lambda _: np.tile(  # type: ignore[method-assign]
        np.linspace(0, 80, 128, dtype=np.float32)[:, None], 50
    )
    assert not extractor.extract(Recording(tmp_path / "unread.wav")).any()


def test_stereo_and_other_rates(tmp_path: Path) -> None:
    mono = LevelSet().extract(recording(tmp_path / "mono.wav", speechlike()))
    both = np.stack([speechlike()] * 2, axis=1)
    np.testing.assert_array_equal(
        LevelSet().extract(recording(tmp_path / "stereo.wav", both)), mono
    )
    high = LevelSet().extract(recording(tmp_path / "high.wav", speechlike(rate=44100), 44100))
    assert np.corrcoef(high[:, 0], mono[:, 0])[0, 1] > 0.9


def test_unreadable_recordings_are_refused(tmp_path: Path) -> None:
    samples = speechlike()
    samples[7] = np.nan
    with pytest.raises(RecordingError, match="sample 7 is"):
        LevelSet().extract(recording(tmp_path / "nan.wav", samples))
    cut = recording(tmp_path / "cut.wav", speechlike())
    cut.path.write_bytes(cut.path.read_bytes()[:9000])
    with pytest.raises(RecordingError, match="truncated"):
        LevelSet().extract(cut)


def test_same_recording_same_bits(clip: Recording) -> None:
    assert LevelSet().extract(clip).tobytes() == LevelSet().extract(clip).tobytes()


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    "changed",
    [{"sample_rate": 8000}, {"n_fft": 512}, {"hop": 160}, {"n_mels": 64}, {"top_db": 60.0},
     {"trim_db": 20.0}, {"surface_bands": 4}, {"level_bands": 8}, {"families": ("levels",)}],
)  # fmt: skip
def test_every_parameter_changes_the_array(clip: Recording, changed: dict[str, Any]) -> None:
    extractor = LevelSet(**changed)
    array = extractor.check(extractor.extract(clip))
    assert not np.array_equal(array, LevelSet().extract(clip))
    assert len(extractor.channels) == len(array)


def test_families_are_in_the_given_order(clip: Recording) -> None:
    every = LevelSet().extract(clip)
    some = LevelSet(families=("contours", "surface")).extract(clip)
    np.testing.assert_array_equal(some, np.concatenate([every[32:], every[:16]]))


@pytest.mark.parametrize(
    "wrong",
    [{"top_db": 0.0}, {"trim_db": -1.0}, {"n_fft": 0}, {"n_mels": 0}, {"surface_bands": 0},
     {"surface_bands": 129}, {"level_bands": 0}, {"n_mels": 12, "level_bands": 13,
     "surface_bands": 2}],
)  # fmt: skip
def test_parameters_out_of_range(wrong: dict[str, Any]) -> None:
    name = "level_bands" if "level_bands" in wrong else next(iter(wrong))
    with pytest.raises(ParameterError, match=rf"{name}\b.*{wrong[name]:g}"):
        LevelSet(**wrong)


@pytest.mark.parametrize(
    "families, given", [((), "none"), (("surface", "pitch"), "surface, pitch"),
                        (("levels", "levels"), "levels, levels")],
)  # fmt: skip
def test_unknown_families(families: tuple[str, ...], given: str) -> None:
    with pytest.raises(ParameterError, match=f"surface, levels, contours.*given: {given}"):
        LevelSet(families=families)


def test_ranges_of_frequency_are_those_of_the_mel_filters() -> None:
    import librosa

    extractor = LevelSet(sample_rate=22050, n_mels=40, surface_bands=4)
    names = [name.split()[1] for name in extractor.channels[:8:2]]
    centres = librosa.mel_frequencies(42, fmin=0, fmax=11025)[1:-1]
    edges = [int(name.removesuffix("Hz").split("-")[1]) for name in names]
    assert [name.split("-")[0] for name in names] == ["0", *map(str, edges[:-1])]
    for edge, band in zip(edges[:-1], (10, 20, 30), strict=True):
        assert centres[band - 1] < edge < centres[band]
    assert edges[-1] == 11025


def test_explanations_group_the_diagrams_by_their_words() -> None:
    extractor = LevelSet()
    modality = Modality("levelset", extractor.shape, extractor.axes)
    groups = {g.name: g for g in groups_of([modality], {"levelset": extractor.channels})}
    assert [len(groups[name].entries) for name in ("surface", "levels", "contours")] == [16, 16, 10]
    assert groups["H1"].entries == tuple(range(1, 16, 2))
    assert groups["0-386Hz"].entries == (0, 1)
    assert len(groups["superlevel"].entries) == 21 and len(groups["entropy"].entries) == 2


class TestLevelSet(ExtractorSuite):
    plugin = LevelSet


@pytest.mark.slow
class TestLevelSetOfUnevenBands(ExtractorSuite):
    plugin = LevelSet
    parameters: ClassVar = {"n_mels": 20, "surface_bands": 3, "families": ("contours", "surface")}
