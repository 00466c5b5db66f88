"""JSON, warnings and errors of commands, and the hint how to resume after Ctrl-C."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fusion.core.cli.output import dated_folder, echo_failure, echo_json, resumable, warn


def test_json_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"uar": 0.5})
    output = capsys.readouterr()
    assert json.loads(output.out) == {"uar": 0.5}
    assert not output.err


def test_warnings_and_failures_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    warn("two clips are left out")
    echo_failure("b\udcff.wav can't be read")  # a name that is not valid UTF-8
    output = capsys.readouterr()
    assert not output.out
    assert output.err == "warning: two clips are left out\nerror: b?.wav can't be read\n"


@pytest.mark.parametrize("begun", [True, False])
def test_the_command_to_resume_is_printed_if_the_work_had_begun(
    begun: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if begun:
        (tmp_path / "run.json").touch()
    with (
        pytest.raises(KeyboardInterrupt),
        resumable(tmp_path / "run.json", "fusion run --resume R"),
    ):
        raise KeyboardInterrupt
    output = "\nTo resume: fusion run --resume R\n" if begun else ""
    assert capsys.readouterr().err == output


def test_a_folder_without_a_given_name_is_named_by_the_time() -> None:
    assert dated_folder("mine", "audits") == Path("mine")
    named = dated_folder(None, "audits")
    assert named.parent == Path("audits")
    assert len(named.name) == len("20260101-120000")
