from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusion.cache.remote.tokens import read_token, token_from_environment
from fusion.core.contracts.errors import CacheError

SECRET = "0123456789abcdef-XYZ"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(0o600)
    return path


@pytest.mark.parametrize("text", [SECRET, f"  {SECRET}\t\n", f"{SECRET}\r\na comment\n"])
def test_the_token_is_the_first_line(file: Path, text: str) -> None:
    file.write_text(text)
    assert read_token(file) == SECRET


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds 0 characters"),
        (b"\n0123456789abcdef\n", "holds 0 characters"),
        (b"0123456789abcde", "holds 15 characters"),
        (b"0123456789 abcdef", "without spaces"),
        ("0123456789abcdefä".encode(), "ASCII"),
        (b"0123456789abcdef\xff", "ASCII"),
        (b"0123456789abcdef\x00", "ASCII"),
    ],
)
def test_an_invalid_token_is_refused(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(CacheError, match=message) as caught:
        read_token(file)
    assert "secrets.token_urlsafe" in str(caught.value)
    assert "0123456789" not in str(caught.value).replace(str(file), "")


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o777])
def test_a_file_readable_by_others_is_refused(file: Path, mode: int) -> None:
    file.write_text(SECRET)
    file.chmod(mode)
    with pytest.raises(CacheError, match=f"mode {mode:o}") as caught:
        read_token(file)
    assert caught.value.hint == f"chmod 600 {file}"


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="No such file"):
        read_token(tmp_path / "token")
    with pytest.raises(CacheError, match="directory"):
        read_token(tmp_path)


def test_the_token_in_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUSION_CACHE_TOKEN", raising=False)
    monkeypatch.delenv("FUSION_CACHE_TOKEN_FILE", raising=False)
    assert token_from_environment() is None
    file.write_text(SECRET)
    monkeypatch.setenv("FUSION_CACHE_TOKEN_FILE", str(file))
    assert token_from_environment() == SECRET
    monkeypatch.setenv("FUSION_CACHE_TOKEN", "another-token-of-20")
    assert token_from_environment() == "another-token-of-20"
    monkeypatch.setenv("FUSION_CACHE_TOKEN", "short")
    with pytest.raises(CacheError, match="FUSION_CACHE_TOKEN holds 5 characters") as caught:
        token_from_environment()
    assert_hint_asks_for_the_servers_token(caught.value)


@pytest.mark.parametrize("content", [None, ""])
def test_a_client_needs_the_servers_token(
    tmp_path: Path, content: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint does not suggest to create a new token, which would be useless."""
    path = tmp_path / "token"
    if content is not None:
        path.touch(0o600)
    monkeypatch.delenv("FUSION_CACHE_TOKEN", raising=False)
    monkeypatch.setenv("FUSION_CACHE_TOKEN_FILE", str(path))
    with pytest.raises(CacheError, match="No such file|holds 0 characters") as caught:
        token_from_environment()
    assert_hint_asks_for_the_servers_token(caught.value)


def assert_hint_asks_for_the_servers_token(error: CacheError) -> None:
    assert "The token must be that of the server" in str(error.hint)
    assert "Make one" not in str(error.hint)
