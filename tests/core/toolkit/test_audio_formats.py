"""List of audio formats: each listed suffix is read, in the order of preference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fusion import Recording
from fusion.core.toolkit import audio_formats, filenames
from fusion.core.toolkit.audio import load_waveform
from fusion.core.toolkit.audio_formats import AUDIO, FORMATS, format_of, pyav_version
from fusion.core.toolkit.filenames import is_audio

# libsndfile's name of a format, where it differs from the suffix
KINDS = {
    **{"aif": "AIFF", "aifc": "AIFF", "bwf": "WAV", "snd": "AU", "sph": "NIST", "oga": "OGG"},
    **{"8svx": "SVX", "opus": "OGG", "mp1": "MP3", "mp2": "MP3"},
}


@pytest.mark.parametrize("suffix", [f.suffix for f in FORMATS if f.library == "libsndfile"])
def test_every_format_of_libsndfile_is_read(tmp_path: Path, suffix: str) -> None:
    samples = (0.1 * np.random.default_rng(0).standard_normal(4800)).astype(np.float32)
    name = suffix[1:]
    subtype = "OPUS" if name == "opus" else None
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, samples, 48000, format=KINDS.get(name, name.upper()), subtype=subtype)
    assert is_audio(path.name)
    assert len(load_waveform(Recording(path), 48000)) == 4800


def test_uncompressed_and_lossless_formats_come_before_lossy_formats() -> None:
    order = [AUDIO.index(s) for s in (".wav", ".flac", ".aiff", ".ogg", ".mp3", ".m4a", ".mp4")]
    assert order == sorted(order) and AUDIO[0] == ".wav"
    assert len(set(AUDIO)) == len(AUDIO)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in AUDIO)
    assert filenames.AUDIO is AUDIO


def test_folders_of_mixed_formats_are_searched_for_all_of_them(tmp_path: Path) -> None:
    names = ["a.wav", "b.aiff", "c.opus", "d.AU", "e.mp4", "f.m4a", "g (1).webm"]
    for name in (*names, "notes.txt", "a.wav.csv", "._a.wav"):
        (tmp_path / name).touch()
    assert [file.name for file in filenames.audio_files(tmp_path)] == names


@pytest.mark.parametrize("suffix", [".raw", ".pcm", ".mat", ".npy", ".txt", ".ts", ".zip"])
def test_suffixes_that_may_mean_something_else_are_left_out(suffix: str) -> None:
    assert format_of(Path(f"a{suffix}")) is None and not is_audio(f"a{suffix}")


def test_a_format_is_found_in_any_case() -> None:
    m4a = format_of(Path("talk.M4A"))
    assert m4a is not None
    assert (m4a.suffix, m4a.library) == (".m4a", "PyAV")


def test_the_version_of_pyav_is_none_if_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> str:
        raise audio_formats.PackageNotFoundError(name)

    monkeypatch.setattr(audio_formats, "version", missing)
    assert pyav_version() is None
    monkeypatch.setattr(audio_formats, "version", lambda name: f"{name} 12.0")
    assert pyav_version() == "av 12.0"
