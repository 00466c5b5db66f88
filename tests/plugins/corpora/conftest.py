"""Fixtures for corpora."""

import pytest


@pytest.fixture(autouse=True)
def unpacked(tmp_path_factory, monkeypatch):
    """Folder of unpacked recordings for this test."""
    folder = tmp_path_factory.mktemp("unpacked")
    monkeypatch.setenv("FUSION_UNPACKED", str(folder))
    return folder
