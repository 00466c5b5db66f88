import os
from pathlib import Path

import pytest

from fusion.core.contracts.errors import RunError, StorageError
from fusion.core.toolkit.run_files import (
    check_inside,
    open_log,
    read_json,
    write_json,
    write_text,
)
from fusion.core.toolkit.tracking import Sent


def test_written_files_are_read_and_no_temporary_file_remains(tmp_path: Path) -> None:
    write_json(tmp_path, "fold0/a.json", {"x": [1, None]})
    assert read_json(tmp_path / "fold0/a.json") == {"x": [1, None]}
    write_text(tmp_path, "fold0/a.json", "{}\n")
    assert read_json(tmp_path / "fold0/a.json") == {}
    assert [path.name for path in (tmp_path / "fold0").iterdir()] == ["a.json"]


@pytest.mark.parametrize("text", [None, "{", "[[1, 2]]", "\udc80"])
def test_a_file_without_a_json_object_is_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "a.json").write_text(text, errors="surrogateescape")
    with pytest.raises(RunError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def test_nan_is_refused_before_the_file_is_replaced(tmp_path: Path) -> None:
    write_json(tmp_path, "a.json", {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path, "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == {"x": 1}


def test_the_error_of_an_unwritable_run_has_the_command_to_resume(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.write_text("")  # a file instead of the folder
    with pytest.raises(StorageError) as caught:
        Sent(run, "service.json").save()
    assert f"{run}/service.json can't be written" in str(caught.value)
    assert f"fusion run --resume {run}" in str(caught.value)


# -- inside the run directory --------------------------------------------------------


@pytest.mark.parametrize("name", ["../x.json", "fold0/../../x.json", "/tmp/x.json"])
def test_no_name_leads_out_of_the_run_directory(tmp_path, name):
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(RunError, match="leads out"):
        write_text(run, name, "text")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["run"]


def test_no_link_leads_out_of_the_run_directory(tmp_path):
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    outside.mkdir()
    (run / "fold0").symlink_to(outside)
    with pytest.raises(RunError, match="symbolic link"):
        write_text(run, "fold0/mel/val.json", "text")
    with pytest.raises(RunError, match="symbolic link"):
        check_inside(run, "fold0/mel")
    assert list(outside.iterdir()) == []
    (outside / "file").write_text("precious")
    (run / "run.json").symlink_to(outside / "file")
    write_text(run, "run.json", "new")  # replaces the link
    assert (outside / "file").read_text() == "precious"


def test_a_log_that_is_a_link_is_not_opened(tmp_path):
    (tmp_path / "precious").write_text("text")
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "precious")
    for mode in ("a", "w"):
        with pytest.raises(StorageError, match="can't be written"):
            open_log(tmp_path / "metrics.jsonl", mode)
    assert (tmp_path / "precious").read_text() == "text"
    with open_log(tmp_path / "log", "a") as log:
        log.write("line\n")
        assert (tmp_path / "log").read_text() == "line\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_log_that_is_a_named_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    for mode in ("a", "w"):
        with pytest.raises(StorageError, match="metrics.jsonl"):
            open_log(tmp_path / "metrics.jsonl", mode)
