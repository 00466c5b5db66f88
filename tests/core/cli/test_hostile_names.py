"""Names from strangers: no markup is interpreted, and no control character reaches the terminal."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from attacks import attack
from small_runs import SMALL

from fusion.core.cli import run_cli

ODD = ["[/bold]", "\x1b[8mx", "\x1b]0;title\x07", "[red]y[/red]", "\u202eback", "=1+1", "a\x9b2Jb"]
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such names")


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run on clips whose labels, speakers and file names are odd."""
    folder = tmp_path_factory.mktemp("[odd]")
    rng = np.random.default_rng(0)
    rows = [("path", "label", "speaker", "sentence")]
    for number in range(54):
        label, speaker = ODD[number % 3], f"{ODD[number // 3 % 7]}{number // 6}"
        name = f"{number}-{ODD[number % 7].replace('/', '')}.wav"
        pitch = 200 * (1 + number % 3) + number
        tone = np.sin(2 * np.pi * pitch * np.arange(6000) / 16000)
        soundfile.write(folder / "a.wav", 0.3 * tone + 0.05 * rng.normal(size=6000), 16000)
        (folder / "a.wav").rename(folder / name)
        rows.append((name, label, speaker, "[bold]"))
    with (folder / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_no_name_reaches_the_terminal_as_control_or_markup(
    odd_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, cache = str(tmp_path / "[run]"), str(tmp_path / "cache")
    odd_file = str(next(odd_run.glob("*[[]8mx*.wav")))
    (odd_run / "no\x1b[8m.wav").write_bytes(b"no audio")
    commands = [
        ["run", "--data", str(odd_run / "clips.csv"), "--labels", "native", "--cache", cache,
         "--out", out, "--epochs", "1", *SMALL],
        ["report", out],
        ["diagnose", out],
        ["explain", out, "--jobs", "1", "--permutations", "2"],
        ["predict", out, odd_file],
        ["predict", out, str(odd_run)],
        ["predict", out, str(odd_run / "no\x1b[8m.wav")],
        ["predict", out, str(odd_run / "missing\x1b[8m.wav")],
        ["cache", "info", "--cache", cache],
        ["cache", "why", out],
        ["cache", "why", odd_file, "--cache", cache],
        ["cache", "verify", "--cache", cache],
        ["run", "--data", str(odd_run / "\x1b[8m")],
        ["run", "--resume", str(odd_run / "\x1b[8m[/bold]")],
    ]  # fmt: skip
    capfd.readouterr()
    for command in commands:
        with attack("hostile name"):
            code = run_cli(command)
            captured = capfd.readouterr()
            shown = captured.out + captured.err
            assert code in (0, 1, 2), shown
            assert CONTROL.search(shown) is None, (command, shown)
    page = (Path(out) / "report.html").read_text(encoding="utf-8")
    assert "\x1b" not in page and "[/bold]" in page
    assert run_cli(["predict", out, odd_file]) == 0
    assert "?[8mx" in capfd.readouterr().out
