"""Descriptions of files that are called like a recording and are none."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from fusion import Recording
from fusion.core.contracts.errors import RecordingError
from fusion.core.toolkit.audio import load_waveform
from fusion.core.toolkit.not_audio import describe_other_file

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty (0 bytes)"),
        (LFS, "is a Git LFS pointer"),
        (LFS, "git lfs pull"),
        (b"../../.git/annex/objects/Xk/2z/SHA256E-s1--f.wav/f.wav", "git annex get"),
        (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "is an HTML page"),
        (b"<!-- saved --> <HTML lang='en'>", "is an HTML page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is an XML document"),
        (b"PK\x03\x04" + bytes(40), "is a ZIP archive"),
        (b"\x1f\x8b\x08" + bytes(40), "is compressed by gzip"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "is an image"),
        (bytes(5000), "first 4096 bytes of the file are zero"),
    ],
)
def test_the_description_says_what_the_file_is(tmp_path: Path, content: bytes, words: str) -> None:
    description = describe_other_file(io.BytesIO(content))
    assert description is not None and words in description
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        load_waveform(Recording(path), 16000)
    assert caught.value.message == f"{path}: can't be read as audio: {description}"


def test_a_pointer_is_named_whatever_its_suffix(tmp_path: Path) -> None:
    for suffix in (".flac", ".mp3", ".m4a", ".au", ".raw"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(LFS)
        with pytest.raises(RecordingError, match="git lfs pull"):
            load_waveform(Recording(path), 16000)


def test_unknown_content_has_no_description() -> None:
    assert describe_other_file(io.BytesIO(b"hello")) is None
