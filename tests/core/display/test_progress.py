"""Progress bars on terminals only."""

from __future__ import annotations

import pytest

from fusion.core.display.progress import bar


def test_a_pipe_shows_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("copying") as advance:
        advance(1, 2)
        advance(2, 2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("of_bytes", "shown"), [(False, "3/12"), (True, "3/12 bytes")])
def test_a_terminal_shows_the_progress(
    of_bytes: bool, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then treats stderr as a terminal
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    with bar("copying", of_bytes=of_bytes) as advance:
        advance(3, 12)
    out, err = capsys.readouterr()
    assert out == ""
    plain = err.replace("\x1b", "")
    assert "copying" in plain and shown.split("/")[1][:2] in plain
    assert err.endswith("\x1b[2K") or "\x1b[?25h" in err  # erased at the end


def test_the_bar_ends_when_the_work_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="no space"), bar("copying") as advance:
        advance(1, 2)
        raise RuntimeError("no space")
    assert capsys.readouterr().err == ""


def test_redirected_output_stays_apart_from_the_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with bar("predict", keep_stdout=True):
        print("result")
    out, err = capsys.readouterr()
    assert out == "result\n" and "predict" in err and "result" not in err
