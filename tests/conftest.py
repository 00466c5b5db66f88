"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Threads of one small operation wait for each other, very long on a busy machine. Set before
# torch or numpy is imported; whole runs have processes of one thread anyway.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def ravdess() -> Path:
    """Folder of RAVDESS recordings at 16 kHz, for tests on real speech."""
    beside = Path(__file__).resolve().parents[2] / "shared/data/ravdess16k"
    folder = Path(os.environ.get("FUSION_TEST_DATA", beside))
    if not any(folder.glob("Actor_*/*")):
        pytest.skip(f"no RAVDESS recordings in {folder}; FUSION_TEST_DATA names another folder")
    return folder


@pytest.fixture
def local_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read from other machines is copied to ``tmp_path/local``, without a token."""
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "local"))
    monkeypatch.delenv("FUSION_CACHE_TOKEN", raising=False)
    monkeypatch.delenv("FUSION_CACHE_TOKEN_FILE", raising=False)
