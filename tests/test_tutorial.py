"""Every command of the tutorial, run in order in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
INSTALLS = re.compile(r"^(python3 -m venv|\. \.venv|pip install)")


def commands() -> list[list[str]]:
    """Return the arguments of each command, in the order of the page."""
    result = []
    for language, text in BLOCKS:
        if language == "python":
            result.append([sys.executable, "-c", text])
            continue
        for line in text.splitlines():
            if not INSTALLS.match(line):
                program, *arguments = line.split()
                result.append([*{"python": [sys.executable]}.get(program, [program]), *arguments])
    return result


def test_only_the_installation_is_excluded() -> None:
    lines = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
    assert [line for line in lines if INSTALLS.match(line)] == [
        "python3 -m venv .venv",
        ". .venv/bin/activate",
        "pip install -c constraints.txt .",
        "pip install -c constraints.txt '.[audformat]'",
    ]
    assert sum(command[0] == "fusion" for command in commands()) >= 6


@pytest.mark.slow
def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    """The commands run one after the other, as a user types them in a clone."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    outputs = []
    for command in commands():
        program = [sys.executable, "-m", "fusion"] if command[0] == "fusion" else command[:1]
        finished = subprocess.run(
            [*program, *command[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, (command, finished.stderr)
        outputs.append(finished.stdout + finished.stderr)
    assert "480 recordings" in outputs[0]
    for run in ("first", "folds", "broken", "python", "huggingface", "audformat"):
        assert (tmp_path / "runs" / run / "report.html").is_file()
    assert any("Scale mismatch" in output for output in outputs)
    assert all("960 found in the cache" in output for output in (outputs[-3], outputs[-1]))
