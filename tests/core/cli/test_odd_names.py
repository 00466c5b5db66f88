"""A run on files and speakers whose names are no UTF-8, Chinese or emoji."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fusion.core.cli import run_cli

SPEAKERS = ["感01", os.fsdecode(b"caf\xe9"), "\U0001f600bob"]
FILE = os.fsdecode(b"caf\xe9 \xe6\x84\x9f.wav")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_names_of_any_bytes_pass_through_a_run_and_its_report(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "recordings"
    random = np.random.default_rng(0)
    for label in ("angry", "happy"):
        for speaker in SPEAKERS:
            folder = root / label / speaker
            folder.mkdir(parents=True)
            soundfile.write(tmp_path / "a.wav", 0.1 * random.standard_normal(4000), 16000)
            (tmp_path / "a.wav").rename(folder / FILE)
    out = tmp_path / "run"
    arguments = ["run", "--data", str(root), "--features", "mel", "--epochs", "1", "--jobs", "1"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # glyphs that matplotlib's font lacks
        assert run_cli([*arguments, "--cache", str(tmp_path / "cache"), "--out", str(out)]) == 0
        assert run_cli(["report", str(out)]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "感01" in page and "caf%E9" in page
    capfd.readouterr()
    files = [str(root / "angry" / speaker / FILE) for speaker in SPEAKERS]
    assert run_cli(["predict", str(out), *files, "--json"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == files
    assert all(line["label"] in ("angry", "happy") for line in lines)
