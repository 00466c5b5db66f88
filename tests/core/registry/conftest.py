"""Fixtures: plugins as files and as installed distributions."""

import sys
import textwrap

import pytest


def install(folder, name, text):
    """Write a distribution as pip installs it: a module, its metadata and its entry point."""
    (folder / f"broken_{name}.py").write_text(text)
    info = folder / f"broken_{name}-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fusion-{name}\nVersion: 2.1\n")
    (info / "entry_points.txt").write_text(f"[fusion]\n{name} = broken_{name}\n")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs plugins on the import path."""

    def put(texts):
        for name, text in texts.items():
            install(tmp_path, name, text)
            monkeypatch.delitem(sys.modules, f"broken_{name}", raising=False)

    monkeypatch.syspath_prepend(str(tmp_path))
    return put


@pytest.fixture
def plugin(tmp_path):
    """Return a function that writes a plugin's file and returns its path."""

    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write
