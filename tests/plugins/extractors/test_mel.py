"""The mel extractor, compared with librosa and by hand, and on unusual recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import librosa
import numpy as np
import pytest
import soundfile

from fusion import Recording
from fusion.core.contracts.errors import ParameterError, RecordingError
from fusion.plugins.extractors.mel import FULL_SCALE_DB, Mel
from fusion.testing import ExtractorSuite

RATE = 16000


def speechlike(seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    """A chirp of harmonics that swells and fades, with noise."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (120 * time + 30 * time**2)
    voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * np.hanning(len(time))
    noise = np.random.default_rng(0).standard_normal(len(time))
    return (0.2 * voice + 0.002 * noise).astype(np.float32)


def recording(path: Path, samples: np.ndarray, rate: int = RATE) -> Recording:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return Recording(path)


@pytest.fixture
def clip(tmp_path: Path) -> Recording:
    return recording(tmp_path / "clip.wav", speechlike())


def librosa_image(path: Path, **options: Any) -> np.ndarray:
    waveform, rate = soundfile.read(path, dtype="float32")
    power = librosa.feature.melspectrogram(
        y=waveform, sr=rate, n_fft=1024, hop_length=256, n_mels=128, power=2.0,
        center=True, pad_mode="constant", **options,
    )  # fmt: skip
    return (librosa.power_to_db(power, ref=np.max, top_db=80) + 80) / 80


def fine(**passed: Any) -> Mel:
    """Make an extractor of 128 bands and frames of 16 ms."""
    return Mel(**{"hop": 256, "n_mels": 128, "frames": 256} | passed)


def test_the_default_has_half_the_resolution_on_both_axes(clip: Recording) -> None:
    image = Mel().extract(clip)
    assert image.shape == (1, 64, 128)
    assert (
        Mel().extract(clip).tobytes()
        == fine(hop=512, n_mels=64, frames=128).extract(clip).tobytes()
    )


def test_the_image_equals_librosas(clip: Recording) -> None:
    expected = librosa_image(clip.path)
    image = fine(frames=expected.shape[1]).extract(clip)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[0], expected, atol=1e-5)
    assert image.min() >= 0
    assert image.max() == 1


def test_the_image_of_speech_equals_librosas(ravdess: Path) -> None:
    paths = sorted(ravdess.glob("Actor_*/*"))[::60]
    for path in paths:
        expected = librosa_image(path)
        image = fine(frames=expected.shape[1]).extract(Recording(path))
        np.testing.assert_allclose(image[0], expected, atol=2e-5, err_msg=str(path))


def test_shorter_clips_are_centred_in_zeros(clip: Recording) -> None:
    image = fine().extract(clip)
    assert image.shape == fine().shape == (1, 128, 256)
    inner = fine(frames=126).extract(clip)  # 32000 samples: 126 frames
    np.testing.assert_array_equal(image[:, :, 65:191], inner)
    assert not image[:, :, :65].any()
    assert not image[:, :, 191:].any()


def test_longer_clips_are_cut_to_their_middle(clip: Recording) -> None:
    whole, part = fine(frames=126).extract(clip), fine(frames=100).extract(clip)
    np.testing.assert_array_equal(part, whole[:, :, 13:113])


def test_only_the_fixed_reference_keeps_loudness(tmp_path: Path) -> None:
    loud = recording(tmp_path / "loud.wav", speechlike())
    quiet = recording(tmp_path / "quiet.wav", 0.1 * speechlike())
    np.testing.assert_allclose(fine().extract(loud), fine().extract(quiet), atol=1e-5)
    fixed = fine(ref="fixed", top_db=200, frames=126)  # so large that nothing is clipped
    difference = fixed.extract(loud) - fixed.extract(quiet)
    np.testing.assert_allclose(difference, 20 / 200, atol=1e-3)  # 20 dB of 200 dB


def test_full_scale_is_above_the_loudest_tone() -> None:
    tone = np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE).astype(np.float32)
    image = fine(ref="fixed", frames=62, top_db=80).image(tone)
    assert 1 - 15 / 80 < image.max() < 1, FULL_SCALE_DB


@pytest.mark.parametrize("ref", ["max", "fixed"])
def test_silence_is_all_zero(tmp_path: Path, ref: Any) -> None:
    for name, samples in (("zeros", np.zeros(RATE)), ("nearly", np.full(RATE, 1e-9))):
        image = fine(ref=ref).extract(recording(tmp_path / f"{name}.wav", samples))
        np.testing.assert_array_equal(image, np.zeros((1, 128, 256), np.float32))


def test_trimming_cuts_silence_at_the_ends(tmp_path: Path) -> None:
    silence = np.zeros(256 * 60, np.float32)
    padded = recording(tmp_path / "padded.wav", np.concatenate([silence, speechlike(), silence]))
    untrimmed = fine().extract(padded)[0]
    trimmed = fine(trim_db=80.0).extract(padded)[0]
    wide = np.flatnonzero(untrimmed.any(axis=0))
    assert np.flatnonzero(trimmed.any(axis=0)).size <= wide.size
    # The voice is unchanged and in the middle.
    whole = fine(trim_db=80.0).extract(recording(tmp_path / "bare.wav", speechlike()))[0]
    np.testing.assert_allclose(trimmed[:, 80:176], whole[:, 80:176], atol=1e-5)


def test_unusual_recordings(tmp_path: Path) -> None:
    short = fine().extract(recording(tmp_path / "short.wav", np.float32([0.5])))
    assert np.flatnonzero(short[0].any(axis=0)).tolist() == [127]  # one frame, in the middle
    mono = fine().extract(recording(tmp_path / "mono.wav", speechlike()))
    both = np.stack([speechlike()] * 2, axis=1)
    np.testing.assert_array_equal(fine().extract(recording(tmp_path / "stereo.wav", both)), mono)
    high = fine().extract(recording(tmp_path / "high.wav", speechlike(rate=44100), 44100))
    # The voice is in the same bands and frames at every sampling rate.
    assert np.corrcoef(high[mono > 0.5], mono[mono > 0.5])[0, 1] > 0.99
    long = recording(tmp_path / "long.wav", np.tile(speechlike(), 150))  # 5 minutes
    assert fine().extract(long).shape == (1, 128, 256)
    broken = speechlike()
    broken[7] = np.nan
    with pytest.raises(RecordingError, match="sample 7 is"):
        fine().extract(recording(tmp_path / "nan.wav", broken))


def test_same_recording_same_bits(clip: Recording) -> None:
    assert fine().extract(clip).tobytes() == fine().extract(clip).tobytes()


@pytest.mark.parametrize(
    "changed",
    [{"sample_rate": 8000}, {"n_fft": 512}, {"hop": 160}, {"n_mels": 32}, {"frames": 100},
     {"fmin": 100.0}, {"fmax": 4000.0}, {"top_db": 60.0}, {"ref": "fixed"}, {"trim_db": 20.0}],
)  # fmt: skip
def test_every_parameter_changes_the_image(clip: Recording, changed: dict[str, Any]) -> None:
    extractor = Mel(**changed)
    image = extractor.check(extractor.extract(clip))
    assert not np.array_equal(image, Mel().extract(clip))
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize(
    "wrong",
    [{"frames": 0}, {"top_db": 0.0}, {"trim_db": -1.0}, {"hop": 0}, {"fmax": 9000.0}],
)
def test_parameters_out_of_range(wrong: dict[str, Any]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(ParameterError, match=rf"{name}\b.*{value:g}"):
        Mel(**wrong)


class TestMel(ExtractorSuite):
    plugin = Mel


@pytest.mark.slow
class TestFixedMel(ExtractorSuite):
    plugin = Mel
    parameters: ClassVar = {"ref": "fixed", "trim_db": 40.0}
