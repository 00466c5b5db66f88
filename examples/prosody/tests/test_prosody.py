"""Conformance suite, and checks on sounds with known pitch, level and rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fusion import ParameterError, Recording
from fusion.testing import ExtractorSuite
from hypothesis import given
from hypothesis import strategies as st

from fusion_prosody import FLOOR, RATE, Prosody, fitted, level, rate, syllables

PITCH, VOICING, ENERGY, SPEED = range(4)


class TestConformance(ExtractorSuite):
    plugin = Prosody


class TestRelativeToTheClip(ExtractorSuite):
    plugin = Prosody
    parameters = {"reference": "clip", "frames": 50, "resolution": 0.5}  # noqa: RUF012


def harmonics(frequency: Any, seconds: float, loudness: float = 0.1) -> Any:
    """Return a buzz of ten harmonics; `frequency` is one number in hertz, or one per sample."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(frequency, round(seconds * RATE))) / RATE
    return loudness * sum(np.sin(k * phase) / k for k in range(1, 11))


def extracted(folder: Path, samples: Any, **parameters: Any) -> Any:
    path = folder / "sound.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    extractor = Prosody(**parameters)
    return extractor.check(extractor.extract(Recording(path)))[:, 0]  # (4, frames)


def test_the_pitch_of_a_buzz(tmp_path: Path) -> None:
    """200 Hz is one octave, 12 semitones, above 100 Hz, up to about one step of the resolution."""
    contours = extracted(tmp_path, harmonics(200.0, 2.0), frames=80)
    np.testing.assert_allclose(contours[PITCH], 12.0, atol=0.13)
    assert contours[VOICING].mean() > 0.3


def test_relative_to_the_clip_an_octave_is_nothing(tmp_path: Path) -> None:
    low = extracted(tmp_path, harmonics(120.0, 2.0), reference="clip", frames=80)
    high = extracted(tmp_path, harmonics(240.0, 2.0), reference="clip", frames=80)
    np.testing.assert_allclose(low[PITCH], 0.0, atol=0.26)  # a step of the resolution
    np.testing.assert_allclose(high[PITCH], 0.0, atol=0.26)


def test_a_glide_rises(tmp_path: Path) -> None:
    """A glide of one octave in two seconds rises by 7.2 semitones in its middle three fifths."""
    glide = 150.0 * 2 ** (np.arange(2 * RATE) / (2 * RATE))
    pitch = extracted(tmp_path, harmonics(glide, 2.0), frames=101)[PITCH]
    assert abs(pitch[80] - pitch[20] - 7.2) < 0.5


def test_unvoiced_frames_lie_between_their_neighbours(tmp_path: Path) -> None:
    """The pitch is finite during noise between half a second at 150 Hz and one at 300 Hz."""
    noise = 0.02 * np.random.default_rng(0).standard_normal(RATE)
    sound = np.concatenate([harmonics(150.0, 0.5), noise, harmonics(300.0, 0.5)])
    contours = extracted(tmp_path, sound, frames=100)
    assert np.isfinite(contours).all()
    assert abs(contours[PITCH, 10] - 12 * np.log2(1.5)) < 0.3
    assert abs(contours[PITCH, 90] - 12 * np.log2(3.0)) < 0.3
    assert contours[VOICING, 40:60].mean() < 0.1


def test_silence_has_no_pitch_and_no_rate(tmp_path: Path) -> None:
    contours = extracted(tmp_path, np.zeros(RATE))
    assert not contours[[PITCH, VOICING, SPEED]].any()
    assert (contours[ENERGY] == FLOOR).all()


def test_level_by_hand() -> None:
    """A square wave at a tenth of full scale has -20 dB in every complete window."""
    square = np.where(np.arange(RATE) % 40 < 20, 0.1, -0.1).astype(np.float32)
    decibels = level(square, 320)
    assert len(decibels) == 1 + RATE // 320
    np.testing.assert_allclose(decibels[2:-2], -20.0, atol=1e-4)


def test_four_syllables_a_second(tmp_path: Path) -> None:
    swell = 0.02 + 0.98 * np.sin(np.pi * 4 * np.arange(3 * RATE) / RATE) ** 2
    contours = extracted(tmp_path, swell * harmonics(180.0, 3.0), frames=151)
    np.testing.assert_allclose(contours[SPEED, 30:120].mean(), 4.0, atol=0.3)


def test_rate_by_hand() -> None:
    """Nuclei at 20, 50 and 80 of 100 frames of 10 ms are within half a second of the middle."""
    per_second = rate(np.array([20, 50, 80]), 100, 160)
    assert per_second[50] == 3.0  # three in a whole second
    assert per_second[0] == 2 / 0.5  # 20 and 50, in the half second inside the clip


def test_a_peak_that_is_not_voiced_is_no_syllable() -> None:
    energy = np.full(100, -60.0)
    energy[20:30] = energy[60:70] = -20.0
    voiced = np.zeros(100, bool)
    voiced[:50] = True
    (nucleus,) = syllables(energy, voiced, 320)
    assert 20 <= nucleus < 30


@given(st.integers(1, 60), st.integers(1, 60))
def test_fitted_keeps_the_middle(length: int, frames: int) -> None:
    contour = np.arange(1.0, length + 1)
    for around in (None, 0.0):
        padded = fitted(contour, frames, around)
        assert len(padded) == frames
        remaining = padded[padded > 0] if around is not None else np.unique(padded)
        assert len(remaining) == min(length, frames)
        assert (np.diff(remaining) == 1).all()
        assert abs((remaining[0] - 1) - (length - remaining[-1])) <= 1


def test_a_curve_per_contour(tmp_path: Path) -> None:
    extractor = Prosody(frames=20)
    panels = extractor.panels(np.zeros(extractor.shape, np.float32))
    assert [panel.title for panel in panels] == list(extractor.channels)


@pytest.mark.parametrize(
    "wrong", [{"fmin": 20.0}, {"fmin": 600.0}, {"resolution": 0.0}, {"hop": 0}, {"frames": 0}]
)
def test_wrong_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="prosody needs .* given"):
        Prosody(**wrong)
