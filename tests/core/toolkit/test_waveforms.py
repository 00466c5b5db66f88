"""Wav files made from arrays, tensors and the audio objects of other libraries."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from fusion.core.contracts.data import Recording
from fusion.core.contracts.errors import ParameterError
from fusion.core.toolkit.audio import load_waveform
from fusion.core.toolkit.waveforms import audio_suffix, has_sample_rate, is_waveform, wav_bytes


def read(data):
    return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)


NOISE = np.random.default_rng(0).normal(size=500).astype(np.float32)


def test_samples_survive_bit_for_bit(tmp_path):
    samples, rate = read(wav_bytes(NOISE, 22050))
    assert rate == 22050 and samples[:, 0].tobytes() == NOISE.tobytes()
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(NOISE, 16000))
    assert load_waveform(Recording(path), 16000).tobytes() == NOISE.tobytes()


def test_the_same_samples_give_the_same_bytes_at_any_time():
    assert wav_bytes(NOISE.copy(), 16000) == wav_bytes(NOISE, 16000)
    assert b"PEAK" not in wav_bytes(NOISE, 16000)  # libsndfile's chunk with the time of day


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8"])
def test_integers_are_read_like_the_same_integers_in_a_file(dtype):
    info = np.iinfo(dtype)
    array = np.array([info.min, 3, info.max], dtype)
    samples, _ = read(wav_bytes(array, 8000))
    middle = 128 if dtype == "uint8" else 0
    scale = 2.0 ** (info.bits - 1)
    np.testing.assert_array_equal(
        samples[:, 0], ((array.astype(np.float64) - middle) / scale).astype(np.float32)
    )


def test_the_longer_axis_is_time():
    stereo = np.stack([NOISE, -NOISE])  # (2, 500)
    for array in (stereo, stereo.T, stereo.astype(np.float64)):
        samples, _ = read(wav_bytes(array, 16000))
        np.testing.assert_array_equal(samples, stereo.T)
    square = np.array([[0.1, 0.2], [0.3, 0.4]], np.float32)
    np.testing.assert_array_equal(read(wav_bytes(square, 16000))[0], square)


def test_tensors_mappings_and_decoders():
    expected = wav_bytes(NOISE, 16000)
    tensor = torch.from_numpy(NOISE).requires_grad_()
    assert wav_bytes(tensor, 16000) == expected
    assert wav_bytes({"array": NOISE, "sampling_rate": 16000, "path": None}, 8000) == expected
    assert wav_bytes({"array": NOISE.tolist(), "sampling_rate": 16000.0}, 8000) == expected
    decoder = SimpleNamespace(
        get_all_samples=lambda: SimpleNamespace(data=tensor[None], sample_rate=16000)
    )
    samples, rate = read(wav_bytes(decoder, 8000))
    assert rate == 16000 and samples[:, 0].tobytes() == NOISE.tobytes()
    half = torch.tensor([0.5, -0.25], dtype=torch.bfloat16)
    assert read(wav_bytes(half, 16000))[0].ravel().tolist() == [0.5, -0.25]
    assert all(map(is_waveform, [NOISE, tensor, decoder, {"array": [], "sampling_rate": 1}]))
    assert not any(map(is_waveform, ["a.wav", [NOISE], {"path": "a.wav"}, 3]))


@pytest.mark.parametrize("shape", [(), (9, 9), (80, 300), (1, 2, 300)])
def test_shapes_that_are_no_recording_are_refused(shape):
    with pytest.raises(ParameterError, match="is not a recording") as caught:
        wav_bytes(np.zeros(shape, np.float32), 16000)
    assert "a list of arrays" in caught.value.hint


@pytest.mark.parametrize("dtype", ["bool", "int64", "complex64", "object", "U3"])
def test_dtypes_that_are_no_samples_are_refused(dtype):
    with pytest.raises(ParameterError, match="holds no audio samples"):
        wav_bytes(np.zeros(3).astype(dtype), 16000)


def test_arrays_need_a_sample_rate_and_mappings_have_their_own():
    with pytest.raises(ParameterError, match="does not state its sample rate") as caught:
        wav_bytes(np.zeros(3), None)
    assert "sample_rate=16000" in caught.value.hint
    own = {"array": np.zeros(3), "sampling_rate": 8000}
    assert has_sample_rate(own) and not has_sample_rate(np.zeros(3))
    assert wav_bytes(own, None) == wav_bytes(np.zeros(3), 8000)
    with pytest.raises(ParameterError, match="whole number of hertz"):
        wav_bytes({**own, "sampling_rate": None}, 8000)


@pytest.mark.parametrize("rate", [0, -1, 16000.5, 10**7, "fast", float("nan"), float("inf")])
def test_sample_rates_are_whole_numbers_in_range(rate):
    with pytest.raises(ParameterError, match="whole number of hertz from 1 to 768000"):
        wav_bytes(NOISE, rate)


# -- the format of bytes ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "kind", "suffix"),
    [("WAV", "PCM_16", ".wav"), ("FLAC", "PCM_16", ".flac"), ("OGG", "VORBIS", ".ogg"),
     ("OGG", "OPUS", ".ogg"), ("MP3", "MPEG_LAYER_III", ".mp3"), ("AIFF", "PCM_16", ".aiff"),
     ("AU", "PCM_16", ".au")],
)  # fmt: skip
def test_the_content_decides_the_suffix(tmp_path, container, kind, suffix):
    soundfile.write(tmp_path / "x", np.zeros(4800), 48000, format=container, subtype=kind)
    data = (tmp_path / "x").read_bytes()
    assert audio_suffix(data) == audio_suffix(data[:12]) == audio_suffix(data, "x.png") == suffix


def test_the_name_decides_for_unknown_content():
    assert audio_suffix(b"????", "dir/A.FLAC") == ".flac"
    assert audio_suffix(b"", "a.wav") == ".wav"
    assert audio_suffix(b"\x89PNG\r\n", "a.png") is audio_suffix(b"RIFF????WEBP") is None
    assert audio_suffix(b"ID3\x04") == ".mp3"
    assert audio_suffix(b"\x00\x00\x00 ftypM4A ") == ".m4a"
