"""Measurements of a recording's signal: numbers by hand, blocks, and files that are no audio."""

from __future__ import annotations

import math
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from made_recordings import encode, voice

from fusion.core.contracts import Recording
from fusion.core.contracts.errors import RecordingError
from fusion.core.toolkit import recordings, signal
from fusion.core.toolkit.signal import Signal, measure

RATE = 1000  # 50 ms are 50 samples


def written(path: Path, samples: object, rate: int = RATE, subtype: str = "FLOAT") -> Recording:
    soundfile.write(path, np.asarray(samples, np.float32), rate, subtype=subtype)
    return Recording(path)


def noise(count: int, size: float = 0.1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-size, size, count)


def test_a_tone_is_measured_from_its_mean(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 10.25 * np.arange(4000) / RATE) + 0.2
    measured = measure(written(tmp_path / "a.wav", tone))
    assert measured.seconds == 4.0
    assert measured.peak == pytest.approx(0.5, abs=1e-3)
    assert measured.rms == pytest.approx(math.sqrt(0.125), abs=1e-3)
    assert (measured.clipped, measured.constant) == (0.0, 0.0)


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_zeros_and_any_constant_are_silent(tmp_path: Path, value: float) -> None:
    measured = measure(written(tmp_path / "a.wav", np.full(200, value)))
    assert measured == Signal(0.2, 0.0, 0.0, 0.0, 1.0)


def test_samples_at_full_scale_are_clipped(tmp_path: Path) -> None:
    samples = noise(1000)
    samples[[3, 500]], samples[900:903] = 1.0, -1.0
    assert measure(written(tmp_path / "a.wav", samples, subtype="PCM_16")).clipped == 0.005


def test_a_float_file_in_another_scale_is_not_clipped(tmp_path: Path) -> None:
    measured = measure(written(tmp_path / "a.wav", noise(1000, 3000.0)))
    assert measured.clipped == 0.0 and measured.peak > 2900


@pytest.mark.parametrize(("length", "share"), [(50, 0.05), (49, 0.0)])
def test_only_stretches_of_fifty_milliseconds_count(
    tmp_path: Path, length: int, share: float
) -> None:
    samples = noise(1000)
    samples[100 : 100 + length] = 0.5
    assert measure(written(tmp_path / "a.wav", samples)).constant == share


def test_channels_are_constant_only_together(tmp_path: Path) -> None:
    left, right = noise(1000), noise(1000)[::-1].copy()
    left[:300], right[200:400] = 0.0, 0.1
    measured = measure(written(tmp_path / "a.wav", np.stack([left, right], axis=1)))
    assert measured.constant == 0.1
    one_silent = np.stack([noise(1000), np.zeros(1000)], axis=1)
    measured = measure(written(tmp_path / "b.wav", one_silent))
    assert measured.peak > 0.09 and measured.constant == 0.0


def test_a_part_is_measured_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", np.concatenate([noise(1000), np.zeros(1000)])).path
    assert measure(Recording(path, 0.0, 1.0)).constant == 0.0
    assert measure(Recording(path, 1.5)) == Signal(0.5, 0.0, 0.0, 0.0, 1.0)
    assert measure(Recording(path, 1.9, 9.0)).seconds == 0.1


@settings(deadline=None, max_examples=15)
@given(
    st.lists(
        st.sampled_from([(0.5, 60), (0.25, 10), (1.0, 49), (0.5, 1), (-1.0, 130)]),
        min_size=1,
        max_size=5,
    )
)
def test_blocks_of_any_size_give_the_same_numbers(runs: list[tuple[float, int]]) -> None:
    samples = np.concatenate([np.full(n, value, np.float32) for value, n in runs])[:, None]

    def in_blocks(size: int) -> Signal:
        meter = signal._Meter(RATE, 1)
        for start in range(0, len(samples), size):
            meter.add(samples[start : start + size])
        measured = meter.signal()
        assert measured is not None
        return measured

    whole = in_blocks(len(samples))
    lengths, value, length = [], None, 0
    for x in samples[:, 0].tolist():
        if x != value:
            lengths.append(length)
            value, length = x, 0
        length += 1
    by_hand = sum(n for n in [*lengths, length] if n >= 50) / len(samples)
    assert whole.constant == pytest.approx(by_hand)
    for size in (7, 64):
        assert astuple(in_blocks(size)) == pytest.approx(astuple(whole), abs=1e-7)


def test_a_long_recording_is_read_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = written(tmp_path / "a.wav", noise(1000))
    whole = measure(recording)
    monkeypatch.setattr(signal, "_BLOCK", 64)
    again = measure(recording)
    assert again.seconds == 1.0 and again.peak == pytest.approx(whole.peak)
    many = np.tile(noise(30)[:, None], (1, 100))  # more channels than samples in a block
    assert measure(written(tmp_path / "many.wav", many)).seconds == 0.03


def test_other_formats_are_read_in_blocks_at_their_own_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    samples = voice(2.0, 22050)
    path = encode(tmp_path / "a.mka", samples, 22050, "flac")
    monkeypatch.setattr(recordings, "load_waveform", None)  # reads a recording as a whole
    again = measure(written(tmp_path / "a.wav", samples, 22050, "PCM_16"))
    assert astuple(measure(Recording(path))) == pytest.approx(astuple(again), abs=1e-4)
    part = measure(Recording(path, 0.5, 1.0))
    assert part.seconds == 0.5


def test_a_file_called_raw_is_read_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(written(tmp_path / "a.wav", noise(1000)).path.read_bytes())
    assert measure(Recording(path)) == measure(Recording(tmp_path / "a.wav"))


def test_files_that_are_no_audio_are_errors(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("1 2 | 3")
    written(tmp_path / "empty.wav", [])
    written(tmp_path / "nan.wav", [0.0, np.nan, 0.1])
    for name in ("text.wav", "empty.wav", "nan.wav", "missing.wav"):
        with pytest.raises(RecordingError, match=name):
            measure(Recording(tmp_path / name))
    with pytest.raises(RecordingError, match="missing.wav: can't be read"):
        measure(Recording(tmp_path / "missing.wav"))
    beyond = written(tmp_path / "short.wav", noise(100)).path
    with pytest.raises(RecordingError, match="no part can start at 5 s"):
        measure(Recording(beyond, 5.0))
