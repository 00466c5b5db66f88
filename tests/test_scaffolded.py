"""Packages of ``fusion plugins new``: installation, tests, checks and a run.

Each test makes a package by the command, installs it with pip into an empty virtual environment,
and runs the printed commands in order. Two things differ from a user's setup. The environment
uses this one's packages (fresh_environment.py) to avoid large downloads, so the tests don't show
that an index has `modal-fusion`. The installation is not editable, so the tests use the content
of the wheel.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fresh_environment import FreshEnvironment

from fusion.core.cli import run_cli
from fusion.core.cli.scaffold.kinds import KINDS

pytestmark = pytest.mark.slow

SMALL = ["--set", "demo.speakers=6", "--set", "demo.clips=1"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    """One environment for all kinds, which are installed side by side."""
    return FreshEnvironment(tmp_path_factory.mktemp("fresh"))


def printed(output: str) -> list[str]:
    """Return the commands that were printed for the user."""
    return [line.strip() for line in output.partition("Next:")[2].splitlines() if line.strip()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_works_unchanged(
    kind: str,
    environment: FreshEnvironment,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"new_{kind}"
    monkeypatch.chdir(tmp_path)
    assert run_cli(["plugins", "new", kind, name]) == 0
    enter, install, *commands = printed(capsys.readouterr().out)
    package = tmp_path / f"fusion-new-{kind}"
    assert enter == f"cd {package.name}"
    assert install == 'python -m pip install -e ".[test]"'
    environment.install(package)
    # The source is moved, so that only the installed module can be imported.
    (package / f"fusion_{name}.py").rename(tmp_path / "moved.py")

    *checks, run = commands
    output = [environment.command(line, package) for line in checks]
    assert " passed" in output[0] and "failed" not in output[0]
    assert f"{kind} {name!r}" in output[-1] and " 0 failed" in output[-1]

    out = tmp_path / "out"
    more = ["--jobs", "1", "--quiet", "--out", str(out)]
    environment.command(run, package, *more, *([] if kind == "corpus" else SMALL))
    assert took_part(kind, name, out), run


def took_part(kind: str, name: str, out: Path) -> bool:
    """Return whether the files of the run name the plugin under its kind."""
    if kind == "remedy":
        return name in (out / "repair.json").read_text()
    assert (out / "results.json").is_file()
    if kind == "tracker":
        table = (out / f"{name}.csv").read_text()
        return table.startswith("training,epoch,metric,value\n") and all(
            f"fold0/{training}," in table for training in ("mel,5", "fused,1", "control,6")
        )
    config = json.loads((out / "run.json").read_text())["config"]
    return name in json.dumps(config)
