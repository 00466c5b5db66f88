"""Reading of intact and damaged recordings, and log-mel spectrograms compared with librosa."""

from __future__ import annotations

import contextlib
import random
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
from attacks import attack
from hypothesis import given, settings
from hypothesis import strategies as st
from loaded_recordings import load_at, why_not_at

from fusion import Recording
from fusion.core.contracts.errors import ParameterError, RecordingError
from fusion.core.toolkit.audio import (
    check_spectrum,
    duration_of,
    fit_frames,
    is_silent,
    load_waveform,
    log_mel,
    trim_silence,
)

RATE = 16000
load = partial(load_at, RATE)
why_not = partial(why_not_at, RATE)
SPECTRUM: dict[str, Any] = {"sample_rate": RATE, "n_fft": 1024, "hop": 256, "n_mels": 128}


def noise(n: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_every_format_is_read_like_by_soundfile(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"a.{kind}", noise(RATE))
    loaded = load(path)
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, soundfile.read(path, dtype="float32")[0])


def test_channels_are_mixed_by_their_mean(tmp_path: Path) -> None:
    stereo = np.array([[0.5, 0.25], [-0.5, 0.5], [1.0, -1.0]], np.float32)
    path = write(tmp_path / "a.wav", stereo, subtype="FLOAT")
    np.testing.assert_array_equal(load(path), np.float32([0.375, 0.0, 0.0]))


def test_only_the_part_is_read(tmp_path: Path) -> None:
    samples = noise(RATE)
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    np.testing.assert_array_equal(load(path, 0.25, 0.5), samples[4000:8000])
    np.testing.assert_array_equal(load(path, 0.25), samples[4000:])
    np.testing.assert_array_equal(load(path, 0.5, 99.0), samples[8000:])


def test_resampling_equals_librosas(tmp_path: Path) -> None:
    samples = noise(44100)
    path = write(tmp_path / "a.wav", samples, 44100, subtype="FLOAT")
    expected = librosa.resample(samples, orig_sr=44100, target_sr=RATE, res_type="soxr_hq")
    loaded = load(path)
    assert loaded.shape == (RATE,)
    np.testing.assert_allclose(loaded, expected, atol=1e-6)


def test_a_tone_keeps_its_pitch_and_level_at_another_rate(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(48000) / 48000)
    loaded = load(write(tmp_path / "a.wav", tone, 48000, subtype="FLOAT"))
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(loaded[500:-500], expected[500:-500], atol=1e-4)


def test_a_single_sample_at_a_high_rate_is_read(tmp_path: Path) -> None:
    assert len(load(write(tmp_path / "a.wav", noise(1), 96000))) == 1


# ---------------------------------------------------------------- unreadable files


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e20])
def test_the_first_invalid_sample_is_named(tmp_path: Path, bad: float) -> None:
    samples = np.zeros((3 * RATE, 2), np.float32)
    samples[RATE + 100, 1] = samples[RATE + 200] = bad
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    assert f"sample {RATE + 100} is" in why_not(path)
    assert f"sample {RATE + 100} is" in why_not(path, 1.0)
    assert len(load(path, 2.0)) == RATE  # the later samples are valid


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.02, 0.001, 0.0])
def test_a_truncated_file_is_an_error(tmp_path: Path, kind: str, share: float) -> None:
    whole = write(tmp_path / f"whole.{kind}", noise(2 * RATE)).read_bytes()
    cut = tmp_path / f"cut.{kind}"
    cut.write_bytes(whole[: int(share * len(whole))])
    why_not(cut)


def test_the_error_of_a_truncated_wav_has_its_length(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.wav", noise(1000)).read_bytes()
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole[:-1000])
    assert "truncated: it has 500 of the 1000 announced samples" in why_not(cut)
    assert "truncated" in why_not(cut, 600 / RATE)  # the part is in the missing samples


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_with_an_unknown_length_is_read_completely(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "a.wav", noise(1000), subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = content.find(b"data") + 4
    content[4:8] = content[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert len(load(path)) == 1000


def test_an_mp3_without_its_length_is_read_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    # The length of an mp3 without a header is an estimate, which is right for constant bit rates.
    options = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}
    soundfile.write(path, noise(2 * RATE), RATE, **options)
    content = path.read_bytes()
    tag = b"ID3\4\0\0" + bytes([0, 0, 2, 0]) + bytes(256)  # a leading tag, as players write it
    path.write_bytes(tag + content)
    assert len(load(path)) == 2 * RATE
    path.write_bytes(tag + content[: len(content) // 2])
    assert "truncated" in why_not(path)
    second_frame = content.index(content[:2], 4)  # skip the frame with the length
    path.write_bytes(content[second_frame:])
    assert 2 * RATE <= len(load(path)) < 2.2 * RATE  # includes the codec's padding


def test_the_error_of_a_flac_without_its_length_has_a_hint(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", noise(1000))
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # clear the 36 bits of the sample count
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="the header does not contain the length") as caught:
        load(path)
    assert "ffmpeg" in (caught.value.hint or "")


def test_missing_files_folders_and_other_files_are_refused(tmp_path: Path) -> None:
    assert "the file does not exist" in why_not(tmp_path / "gone.wav")
    assert "can't be read as audio" in why_not(tmp_path)
    for name in ("text.wav", "headerless.raw", "nothing.mp3"):
        path = tmp_path / name
        path.write_bytes(b"" if name == "nothing.mp3" else b"hello")
        assert "can't be read as audio" in why_not(path)
    assert "holds no samples" in why_not(write(tmp_path / "empty.wav", noise(0)))


def test_parts_outside_the_recording_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(RATE))
    assert "is 1 s long, so no part can start at 1.5 s" in why_not(path, 1.5, 2.0)
    assert "no part from 0.5 s to 0.25 s" in why_not(path, 0.5, 0.25)
    assert "no part from -1 s" in why_not(path, -1.0, 0.25)
    assert "no part from nan s" in why_not(path, float("nan"))
    assert "has no sample between" in why_not(path, 0.5, 0.500001)


# ---------------------------------------------------------------- log-mel


def librosa_decibels(
    waveform: np.ndarray, fmin: float = 0.0, fmax: float = 0.0, **spectrum: int
) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=waveform, sr=spectrum["sample_rate"], n_fft=spectrum["n_fft"],
        hop_length=spectrum["hop"], n_mels=spectrum["n_mels"], fmin=fmin, fmax=fmax or None,
        pad_mode="constant",
    )  # fmt: skip
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)


@pytest.mark.filterwarnings("ignore:n_fft=")  # librosa warns for clips below one window
@settings(max_examples=25, deadline=None)
@given(
    length=st.integers(1, 20000),
    hop=st.integers(1, 900),
    n_fft=st.sampled_from([512, 1000, 1024]),
    n_mels=st.sampled_from([20, 64]),
    level=st.sampled_from([1e-4, 1.0, 30000.0]),
)
def test_log_mel_equals_librosas(
    length: int, hop: int, n_fft: int, n_mels: int, level: float
) -> None:
    waveform = np.float32(level) * noise(length, seed=length)
    options = {
        "sample_rate": RATE,
        "n_fft": n_fft,
        "hop": max(hop, length // 300),
        "n_mels": n_mels,
    }
    ours = log_mel(waveform, **options)
    assert ours.shape == (n_mels, 1 + length // options["hop"])
    np.testing.assert_allclose(ours, librosa_decibels(waveform, **options), atol=2e-3)


def test_log_mel_between_two_frequencies_equals_librosas() -> None:
    options = {"fmin": 80.0, "fmax": 7600.0}
    ours = log_mel(noise(RATE), **SPECTRUM, **options)
    np.testing.assert_allclose(
        ours, librosa_decibels(noise(RATE), **SPECTRUM, **options), atol=1e-3
    )


def test_a_tone_is_loudest_in_the_band_around_it() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    centres = librosa.mel_frequencies(n_mels=130, fmin=0, fmax=RATE / 2)[1:-1]
    loudest = log_mel(tone, **SPECTRUM)[:, 10:50].argmax(axis=0)
    assert set(loudest) == {np.abs(centres - 1000).argmin()}


def test_ten_times_the_amplitude_is_twenty_decibels_more() -> None:
    quiet, loud = log_mel(noise(RATE), **SPECTRUM), log_mel(10 * noise(RATE), **SPECTRUM)
    np.testing.assert_allclose(loud - quiet, 20, atol=1e-3)


def test_silence_is_at_the_floor_and_noise_of_one_bit_is_not() -> None:
    assert is_silent(log_mel(np.zeros(RATE, np.float32), **SPECTRUM))
    assert is_silent(log_mel(1e-9 * noise(RATE), **SPECTRUM))
    bits = np.random.default_rng(0).integers(-1, 2, RATE).astype(np.float32) / 32768
    assert not is_silent(log_mel(bits, **SPECTRUM))


def test_peak_memory_depends_on_the_result_and_not_on_the_spectra() -> None:
    minutes = noise(RATE * 300)
    log_mel(minutes[:RATE], **SPECTRUM)
    tracemalloc.start()
    result = log_mel(minutes, **SPECTRUM)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < minutes.nbytes + 5 * result.nbytes  # all windows together have 77 MB


# ---------------------------------------------------------------- helpers


def test_trim_cuts_both_ends_and_keeps_pauses() -> None:
    level = np.float32([-90, -50, -10, -70, -20, -49, -50.1, -90])
    frames = np.tile(level, (4, 1))
    np.testing.assert_array_equal(trim_silence(frames, 40.05)[0], level[1:6])
    np.testing.assert_array_equal(trim_silence(frames, 0.0), frames)


def test_trim_agrees_with_librosa_to_a_few_frames() -> None:
    waveform = np.concatenate([np.zeros(8000, np.float32), noise(RATE), np.zeros(4000, np.float32)])
    _, (first, last) = librosa.effects.trim(waveform, top_db=30, frame_length=1024, hop_length=256)
    decibels = log_mel(waveform, **SPECTRUM)
    stored = trim_silence(decibels, 30.0).shape[1]
    assert abs(stored - (last - first) / 256) <= 3


@given(have=st.integers(1, 30), frames=st.integers(1, 30))
def test_fit_frames_centres(have: int, frames: int) -> None:
    spectrogram = 1 + np.arange(2 * have, dtype=np.float32).reshape(2, have)
    image = fit_frames(spectrogram, frames, fill=0.0)
    assert image.shape == (2, frames)
    assert image.dtype == np.float32
    start = abs(have - frames) // 2
    if have >= frames:
        np.testing.assert_array_equal(image, spectrogram[:, start : start + frames])
    else:
        np.testing.assert_array_equal(image[:, start : start + have], spectrogram)
        assert np.count_nonzero(image) == 2 * have


@pytest.mark.parametrize(
    ("given_", "words"),
    [({"hop": 0}, "x.hop"), ({"n_mels": -1}, "x.n_mels"), ({"fmin": 9000.0}, "8000"),
     ({"fmax": 8001.0}, "8000"), ({"fmin": 500.0, "fmax": 500.0}, "fmin=500")],
)  # fmt: skip
def test_spectrum_parameters_out_of_range(given_: dict[str, float], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        check_spectrum("x", SPECTRUM | given_)


# ---------------------------------------------------------------- length


def test_the_length_of_a_recording_is_that_of_its_part(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(4 * RATE))
    assert duration_of(Recording(path)) == 4
    assert duration_of(Recording(path, 1.5)) == 2.5
    assert duration_of(Recording(path, 1.0, 1.5)) == 0.5
    assert duration_of(Recording(path, 3.0, 99.0)) == 1
    assert duration_of(Recording(path, 4.0)) is None


@pytest.mark.parametrize("form", ["FLAC", "OGG", "MP3"])
def test_the_length_is_read_from_every_format(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / f"a.{form.lower()}", noise(4 * RATE), format=form)
    length = duration_of(Recording(path))
    assert length is not None and abs(length - 4) < 0.2


def test_files_that_are_no_recordings_have_no_length(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "samples.raw").write_bytes(bytes(100))
    for name in ("text.wav", "samples.raw", "gone.wav"):
        assert duration_of(Recording(tmp_path / name)) is None


def test_a_header_that_promises_more_samples_than_fit_is_not_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", noise(RATE), format="FLAC")
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F  # the 36 bits of the number of samples in STREAMINFO
    data[22:26] = b"\xff" * 4
    path.write_bytes(data)
    assert duration_of(Recording(path)) is None


def test_an_mp3_file_whose_length_is_an_estimate_has_no_length(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", noise(RATE), format="MP3")
    data = path.read_bytes().replace(b"Info", bytes(4)).replace(b"Xing", bytes(4))
    path.write_bytes(data)
    assert duration_of(Recording(path)) is None


# -- mutated recordings --------------------------------------------------------------

FORMATS = [("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS"),
           ("a.mp3", "MPEG_LAYER_III"), ("a.aiff", "PCM_16"), ("a.w64", "PCM_16")]  # fmt: skip
_MOST_BYTES = 4 * 2**30  # the longest result that is read, of 2**30 samples of 4 bytes


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """Flip bytes, mostly in the header; cut the file, or repeat a part."""
    data = bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 8))):
        end = chance.choice((64, 256, len(data)))
        data[chance.randrange(min(end, len(data)))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    if chance.random() < 0.1:
        data += data[: chance.randrange(len(data) + 1)]
    return bytes(data)


@pytest.mark.parametrize(("seed", "count"), [(0, 20), pytest.param(1, 700, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "subtype"), FORMATS)
def test_a_mutated_recording_is_read_or_refused(
    tmp_path: Path, name: str, subtype: str, seed: int, count: int
) -> None:
    """An error is a RecordingError; samples are finite, and as many as the length says."""
    samples = 0.3 * np.sin(np.arange(6000) / 9) + 0.01
    path = tmp_path / name
    soundfile.write(path, samples, 16000, subtype=subtype)
    raw = path.read_bytes()
    chance = random.Random(seed)
    for _ in range(count):
        path.write_bytes(mutated(raw, chance))
        with attack("mutated recording"), contextlib.suppress(RecordingError):
            duration_of(Recording(path))
            values = load_waveform(Recording(path), 16000)
            assert values.dtype == np.float32 and values.ndim == 1
            assert values.nbytes <= _MOST_BYTES
            assert np.isfinite(values).all()
