"""Recordings of any format, rate and length as one channel, and their lengths."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from made_recordings import announce_samples, voice, wav_of_chunks

from fusion import Recording
from fusion.core.contracts.errors import ParameterError, RecordingError
from fusion.core.toolkit import recordings, sound_files
from fusion.core.toolkit.recordings import duration_of, has_samples_before, load_waveform

RATE = 16000


def why_not(path: Path, rate: int = RATE) -> str:
    with pytest.raises(RecordingError) as caught:
        load_waveform(Recording(path), rate)
    return caught.value.message


# ---------------------------------------------------------------- blocks


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 47999, 48000, 96000])
@pytest.mark.parametrize("block", [1000, 1 << 18])
def test_resampling_in_blocks_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int, block: int
) -> None:
    stereo = np.stack([voice(1.3, rate), voice(1.3, rate, seed=1)], axis=1)
    path = tmp_path / "a.wav"
    soundfile.write(path, stereo, rate, subtype="FLOAT")
    monkeypatch.setattr(sound_files, "BLOCK", block)
    expected = soxr.resample(stereo.mean(axis=1), rate, RATE, quality="HQ")
    np.testing.assert_array_equal(load_waveform(Recording(path), RATE), expected)
    part = stereo[round(0.4 * rate) : round(0.9 * rate)].mean(axis=1)
    np.testing.assert_array_equal(
        load_waveform(Recording(path, 0.4, 0.9), RATE), soxr.resample(part, rate, RATE)
    )


@pytest.mark.parametrize("length", [1, 2, 5, 40])
def test_a_few_samples_are_read_at_any_rate(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, voice(1.0, RATE)[:length], 384000, subtype="FLOAT")
    loaded = load_waveform(Recording(path), RATE)
    assert len(loaded) == max(1, round(length / 24))
    assert loaded.flags.writeable and loaded.flags.c_contiguous


def test_an_invalid_sample_in_a_later_block_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = voice(1.0, RATE)
    samples[12345] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    monkeypatch.setattr(sound_files, "BLOCK", 1000)
    assert "sample 12345 is [nan]" in why_not(tmp_path / "a.wav")


MEASURE = """
import resource, sys
from pathlib import Path
import numpy, soundfile, soxr
from fusion import Recording
from fusion.core.toolkit.recordings import load_waveform
load_waveform(Recording(Path(sys.argv[1]), 0, 1), 16000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
loaded = load_waveform(Recording(Path(sys.argv[1])), 16000)
print(loaded.nbytes, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit")
def test_memory_is_that_of_the_result(tmp_path: Path) -> None:
    """100 seconds in stereo at 48 kHz have 37 MiB as float32; the result has 6 MiB."""
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", 48000, 2, "PCM_16") as file:
        tone = np.stack([voice(10.0, 48000)] * 2, axis=1)
        for _ in range(10):
            file.write(tone)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    size, growth = map(int, output.split())
    assert size == 100 * RATE * 4
    assert growth < size + 8 * 2**20


# ---------------------------------------------------------------- bounds


@pytest.mark.parametrize("rate", [1, 999, 768001, 2**31 - 1])
def test_a_sampling_rate_out_of_range_is_refused(tmp_path: Path, rate: int) -> None:
    path = wav_of_chunks(tmp_path / "a.wav", voice(1.0, RATE), rate % 2**31)
    assert f"has a sampling rate of {rate} Hz. Rates from 1000 to 768000" in why_not(path)
    assert duration_of(Recording(path)) is None


@pytest.mark.parametrize("rate", [1000, 768000])
def test_the_limits_of_the_sampling_rate_are_accepted(tmp_path: Path, rate: int) -> None:
    path = wav_of_chunks(tmp_path / "a.wav", voice(0.1, rate), rate)
    assert len(load_waveform(Recording(path), RATE)) == RATE // 10
    with pytest.raises(ParameterError, match="from 1 to 768000 Hz, and is 768001"):
        load_waveform(Recording(path), 768_001)
    with pytest.raises(ParameterError, match="and is 0"):
        load_waveform(Recording(path), 0)


def test_a_result_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = wav_of_chunks(tmp_path / "a.wav", voice(1.0, 8000), 8000)
    monkeypatch.setattr(recordings, "LONGEST", 16000)
    assert len(load_waveform(Recording(path), 16000)) == 16000
    assert "would have more than 16000 samples" in why_not(path, 16002)
    assert len(load_waveform(Recording(path, 0.5), 16002)) == 8001


def test_a_result_of_unknown_length_grows_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "LONGEST", 1000)
    mono = recordings._Mono(Path("a.webm"), 0)
    for start in range(0, 1000, 100):
        mono.append(np.arange(start, start + 100, dtype=np.float32))
    with pytest.raises(RecordingError, match=r"a\.webm: is too long"):
        mono.append(np.zeros(1, np.float32))
    np.testing.assert_array_equal(mono.all(), np.arange(1000))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    assert "it is not a regular file" in why_not(tmp_path / "a.wav")


# ---------------------------------------------------------------- names


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
@pytest.mark.parametrize("name", [b"caf\xe9.wav", "感01.wav".encode(), "\U0001f600.mp3".encode()])
def test_every_file_name_is_read(tmp_path: Path, name: bytes) -> None:
    soundfile.write(tmp_path / "a.flac", voice(0.5, RATE), RATE)
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))  # noqa: PTH118
    (tmp_path / "a.flac").rename(path)
    assert len(load_waveform(Recording(path), RATE)) == 8000
    assert duration_of(Recording(path)) == 0.5
    path.write_bytes(b"no sound")
    assert "can't be read as audio" in why_not(path)


# ---------------------------------------------------------------- lengths


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_the_length_is_that_of_the_waveform(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, voice(1.5, 22050), 22050)
    assert duration_of(Recording(path)) == pytest.approx(1.5, abs=1e-4)
    for start, end, seconds in ((0.5, None, 1.0), (0.25, 0.75, 0.5), (1.0, 9.0, 0.5)):
        part = Recording(path, start, end)
        assert duration_of(part) == pytest.approx(seconds, abs=1e-4)
        assert len(load_waveform(part, RATE)) == pytest.approx(seconds * RATE, abs=2)


def test_the_length_of_something_unreadable_is_none(tmp_path: Path) -> None:
    good = wav_of_chunks(tmp_path / "good.wav", voice(1.0, RATE))
    (tmp_path / "text.wav").write_text("hello")
    unreadable = [
        Recording(tmp_path / "gone.wav"),
        Recording(tmp_path / "text.wav"),
        Recording(tmp_path),
        Recording(good, 2.0),
        Recording(good, -1.0),
        Recording(good, 0.5, 0.5),
        Recording(good, float("nan")),
    ]
    assert [duration_of(recording) for recording in unreadable] == [None] * len(unreadable)


def test_a_length_of_months_or_more_than_the_bytes_can_hold_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, voice(1.0, 8000), 8000)
    announce_samples(path, 2**36 - 1)
    assert duration_of(Recording(path)) is None  # more than the bytes can hold
    os.truncate(path, 18 << 20)
    assert duration_of(Recording(path)) is None  # 99 days
    announce_samples(path, 8000 * 3600)
    assert duration_of(Recording(path)) == 3600.0


def test_the_announced_end_of_a_file_is_decoded_to_see_whether_it_exists(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, voice(2.0, 8000), 8000)
    assert has_samples_before(path, 2.0) and has_samples_before(path, 0.05)
    announce_samples(path, 8000 * 3600)
    assert has_samples_before(path, 2.0) and not has_samples_before(path, 3600.0)
    assert not has_samples_before(tmp_path / "gone.flac", 1.0)
