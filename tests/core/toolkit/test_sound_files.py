"""Decoding by libsndfile: unusual headers and codecs, blocks, truncated files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_recordings import mp3_in_wav, voice, wav_of_chunks

from fusion.core.contracts.errors import RecordingError
from fusion.core.toolkit import sound_files
from fusion.core.toolkit.sound_files import SndfileDecoder, is_truncated

RATE = 16000
VOICE = voice(1.0, RATE)


def read(path: Path, first: int = 0, last: int | None = None) -> np.ndarray:
    with path.open("rb", buffering=0) as file:
        decoder = SndfileDecoder(file, path)
        blocks = list(decoder.blocks(first, last))
        decoder.close()
    return np.concatenate(blocks)[:, 0]


def write(path: Path, samples: np.ndarray = VOICE, **options: str) -> Path:
    soundfile.write(path, samples, RATE, **options)
    return path


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "NMS_ADPCM_16", "IMA_ADPCM", "MS_ADPCM"])
def test_telephone_codecs_are_read_also_in_part(tmp_path: Path, subtype: str) -> None:
    path = write(tmp_path / "a.wav", subtype=subtype)
    whole = read(path)
    assert np.corrcoef(whole[:RATE], VOICE)[0, 1] > 0.9
    np.testing.assert_array_equal(read(path, 4000, 8000), whole[4000:8000])


def test_an_mp3_file_is_read_under_another_name_and_inside_wav(tmp_path: Path) -> None:
    mp3 = write(tmp_path / "a.mp3")
    expected = read(mp3)
    renamed = tmp_path / "renamed.wav"
    renamed.write_bytes(mp3.read_bytes())
    np.testing.assert_array_equal(read(renamed), expected)
    inside = mp3_in_wav(tmp_path / "inside.wav", mp3.read_bytes(), RATE)
    np.testing.assert_array_equal(read(inside), expected)
    assert not is_truncated(inside.open("rb"), "wav")
    inside.write_bytes(inside.read_bytes()[:-1000])
    with pytest.raises(RecordingError, match="truncated"):
        read(inside)


@pytest.mark.parametrize(
    "chunks",
    [
        {"before": b"junk" + struct.pack("<I", 3) + b"abc\0"},
        {"after": b"LIST" + struct.pack("<I", 10) + b"INFOISFTx\0"},
        {"after": b"TAG" + bytes(125)},
        {"after": bytes(1000)},
        {"size": 0xFFFF_FFFF},
        {"size": 0},
        {"size": 2 * RATE + 44},
    ],
    ids=str,
)
def test_a_wav_with_other_chunks_or_a_wrong_size_is_read_completely(
    tmp_path: Path, chunks: dict[str, int]
) -> None:
    path = wav_of_chunks(tmp_path / "a.wav", VOICE, **chunks)
    expected = (VOICE * 32767).astype(np.int16) / np.float32(32768)
    np.testing.assert_array_equal(read(path), expected)
    np.testing.assert_array_equal(read(path, 100, 300), expected[100:300])


def test_a_wav_that_holds_no_samples_stays_empty(tmp_path: Path) -> None:
    after = b"LIST" + struct.pack("<I", 10) + b"INFOISFTx\0"
    path = wav_of_chunks(tmp_path / "a.wav", VOICE[:0], after=after)
    with path.open("rb", buffering=0) as file:
        assert SndfileDecoder(file, path).frames == 0


@pytest.mark.parametrize("kind", ["aiff", "au", "caf", "w64", "rf64", "svx", "wavex", "wav"])
def test_a_truncated_file_is_an_error(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "a", format=kind.upper())
    assert len(read(path)) == RATE
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(RecordingError, match="truncated: it has"):
        read(path)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"format": "WAV"},
        {"format": "FLAC"},
        {"format": "OGG", "subtype": "VORBIS"},
        {"format": "MP3"},
        {"format": "CAF", "subtype": "ALAC_16"},
        {"format": "WAV", "subtype": "MS_ADPCM"},
    ],
    ids=lambda options: "-".join(options.values()),
)
def test_blocks_are_the_samples_of_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], channels: int
) -> None:
    if channels == 3 and ("MP3" in options.values() or "MS_ADPCM" in options.values()):
        pytest.skip("MP3 and MS ADPCM have at most two channels")
    samples = np.stack([voice(1.0, RATE, seed) for seed in range(channels)], axis=1)
    path = write(tmp_path / "a", samples, **options)
    monkeypatch.setattr(sound_files, "BLOCK", 777)
    for first, last in ((0, None), (4321, 9876)):
        with path.open("rb", buffering=0) as file:
            blocks = list(SndfileDecoder(file, path).blocks(first, last))
        assert len(blocks) > 5 and max(block.size for block in blocks) <= 777
        with soundfile.SoundFile(path) as file:
            file.seek(first)
            count = -1 if last is None else last - first
            expected = file.read(count, dtype="float32", always_2d=True)
        np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_the_length_of_an_mp3_without_a_header_is_unknown(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3")
    with path.open("rb", buffering=0) as file:
        assert SndfileDecoder(file, path).length() == RATE
    content = path.read_bytes()
    path.write_bytes(content[content.index(content[:2], 4) :])  # without the frame with the length
    with path.open("rb", buffering=0) as file:
        assert SndfileDecoder(file, path).length() is None


def test_ogg_and_wav_files_without_their_end_are_truncated(tmp_path: Path) -> None:
    for kind in ("wav", "ogg"):
        path = write(tmp_path / f"a.{kind}")
        with path.open("rb") as file:
            assert not is_truncated(file, kind)
        path.write_bytes(path.read_bytes()[:-100])
        with path.open("rb") as file:
            assert is_truncated(file, kind)
            assert not is_truncated(file, "flac") and file.tell() == 0
