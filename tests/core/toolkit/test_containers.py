"""Decoding by PyAV: containers and codecs, parts, damaged files, and hostile playlists."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from loaded_recordings import load_at, why_not_at
from made_recordings import encode, voice

from fusion import Recording
from fusion.core.contracts.errors import RecordingError
from fusion.core.toolkit import containers
from fusion.core.toolkit.audio import duration_of, load_waveform
from fusion.core.toolkit.containers import ContainerDecoder

pytest.importorskip("av")

RATE = 48000
load = partial(load_at, RATE)
why_not = partial(why_not_at, RATE)
VOICE = voice(4.0, RATE)

LOSSLESS = {"alac": "a.m4a", "pcm_s16le": "a.mov", "flac": "a.mka", "wavpack": "a.wv"}
LOSSY = {
    "a.m4a": "aac",
    "a.mp4": "libopus",
    "a.webm": "libopus",
    "a.aac": "aac",
    "a.3gp": "aac",
    "a.avi": "libmp3lame",
    "a.ac3": "ac3",
}


@pytest.mark.parametrize("codec", LOSSLESS)
def test_lossless_codecs_give_the_samples(tmp_path: Path, codec: str) -> None:
    path = encode(tmp_path / LOSSLESS[codec], VOICE, RATE, codec)
    loaded = load(path)
    assert loaded.dtype == np.float32
    # FFmpeg's encoder for WavPack takes 8 bits first.
    np.testing.assert_allclose(loaded, VOICE, atol=2**-7 if codec == "wavpack" else 2**-15)
    np.testing.assert_array_equal(load(path, 2.0, 2.5), loaded[96000:120000])


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_codecs_give_the_recording_and_its_parts(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, VOICE, RATE, LOSSY[name])
    loaded = load(path)
    assert 0 <= len(loaded) - len(VOICE) < 4000  # the padding of the codec
    part = load(path, 2.0, 3.0)
    assert len(part) == RATE
    # Matroska rounds times to a millisecond, 48 samples.
    scores = [
        np.corrcoef(part[500:-500], loaded[96500 + shift : 143500 + shift])[0, 1]
        for shift in range(-48, 49)
    ]
    assert max(scores) > 0.999
    assert max(scores) == scores[48] or name == "a.webm"


def test_the_first_audio_stream_of_a_video_is_read(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", VOICE, RATE, "libopus", video="mpeg4")
    assert np.corrcoef(load(path)[: len(VOICE)], VOICE)[0, 1] > 0.9
    silent = encode(tmp_path / "silent.mp4", None, RATE, video="mpeg4")
    assert "holds no sound: it has no audio stream, only: video" in why_not(silent)


def test_a_codec_that_libsndfile_lacks_is_read_from_wav(tmp_path: Path) -> None:
    samples = voice(1.0, 16000)
    path = encode(tmp_path / "a.wav", samples, 16000, "g722")
    loaded = load_waveform(Recording(path), 16000)
    assert np.corrcoef(loaded[22:], samples[:-22])[0, 1] > 0.9  # the codec's delay
    path.write_bytes(path.read_bytes()[:-2000])
    assert "truncated" in why_not(path)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.02])
@pytest.mark.parametrize("name", ["a.m4a", "fast.m4a", "a.webm", "a.mka", "a.aac", "a.ogg", "a.wv"])
def test_a_truncated_file_is_an_error(tmp_path: Path, name: str, share: float) -> None:
    codec = {"webm": "libopus", "mka": "flac", "ogg": "flac", "wv": "wavpack"}
    options = {"movflags": "faststart"} if name == "fast.m4a" else {}
    whole = encode(tmp_path / name, VOICE, RATE, codec.get(name.split(".")[1], "aac"), **options)
    assert len(load(whole)) >= len(VOICE)
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    why_not(cut)


def test_parts_outside_the_recording_are_refused(tmp_path: Path) -> None:
    for name in ("a.m4a", "a.aac"):  # with and without a length in the header
        path = encode(tmp_path / name, VOICE, RATE)
        assert len(load(path, 3.0, 99.0)) >= RATE
        assert "no part can start at 5" in why_not(path, 5) or "ends before 5 s" in why_not(path, 5)
        assert "no part from 1 s" in why_not(path, 1.0, 0.5)


def test_the_length_comes_from_the_header(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.m4a", VOICE, RATE)
    assert duration_of(Recording(path)) == pytest.approx(4.0, abs=0.05)
    assert duration_of(Recording(path, 1.0, 2.5)) == 1.5
    assert duration_of(Recording(path, 5.0)) is None
    assert duration_of(Recording(encode(tmp_path / "a.aac", VOICE, RATE))) is None


def test_a_length_beyond_what_the_bytes_can_hold_is_none(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.m4a", VOICE, RATE)
    with path.open("rb") as file:
        decoder = ContainerDecoder(file, path)
        assert decoder.length() == decoder.frames
        decoder.frames = 4096 * path.stat().st_size + 1
        assert decoder.length() is None
        decoder.close()


def test_a_part_of_a_long_recording_is_decoded_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / "a.m4a", VOICE, RATE, "alac")
    decoded = []
    original = ContainerDecoder._samples
    monkeypatch.setattr(
        ContainerDecoder, "_samples", lambda self, frame: decoded.append(1) or original(self, frame)
    )
    load(path)
    whole = len(decoded)
    load(path, 3.0, 3.1)
    assert len(decoded) - whole < whole / 2


def test_without_a_way_to_seek_a_part_is_decoded_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / "a.m4a", VOICE, RATE, "alac")
    expected = load(path, 2.0, 2.5)
    monkeypatch.setattr(ContainerDecoder, "_position", lambda self, frame: None)
    np.testing.assert_array_equal(load(path, 2.0, 2.5), expected)


def test_a_missing_pyav_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / "a.m4a", VOICE, RATE)
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install" in why_not(path) and "modal-fusion[av]" in why_not(path)
    path = path.rename(tmp_path / "a.wav")
    assert "Format not recognised. PyAV may know the format" in why_not(path)


def test_playlists_open_no_other_file(tmp_path: Path) -> None:
    """A playlist could send other files of this machine, or open an address."""
    secret = encode(tmp_path / "secret.aac", VOICE, RATE)
    playlists = {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:4,\n{secret}\n#EXT-X-ENDLIST\n",
        "concat.mp4": f"ffconcat version 1.0\nfile {secret}\n",
        "net.m4a": "#EXTM3U\n#EXTINF:4,\nhttp://127.0.0.1:9/a.aac\n#EXT-X-ENDLIST\n",
    }
    for name, content in playlists.items():
        (tmp_path / name).write_text(content)
        assert "no audio file" in why_not(tmp_path / name)


def test_every_sample_format_has_full_scale_one() -> None:
    """The lowest integer of each sample format is -1, as in libsndfile."""
    import av

    lowest = {"u8": np.uint8(0), "s16": np.int16(-(2**15)), "s32": np.int32(-(2**31))}
    decoder = object.__new__(ContainerDecoder)
    decoder.rate, decoder._path = RATE, Path("a")
    for kind, value in lowest.items():
        for packed in (True, False):
            shape = (1, 20) if packed else (2, 10)
            frame = av.AudioFrame.from_ndarray(
                np.full(shape, value), format=kind if packed else kind + "p", layout="stereo"
            )
            frame.sample_rate = RATE
            np.testing.assert_array_equal(decoder._samples(frame), np.full((10, 2), -1, np.float32))
    frame.sample_rate = 8000
    with pytest.raises(RecordingError, match="changes its sampling rate from 48000 to 8000"):
        decoder._samples(frame)
    assert set(containers._SCALES) >= set(lowest)
