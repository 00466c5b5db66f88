"""A bar on terminals, and nothing elsewhere."""

from __future__ import annotations

import pytest

from fusion.core.display.progress import bar


def test_a_pipe_gets_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("copying") as advance:
        advance(1, 2)
        advance(2, 2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("of_bytes", "shown"), [(False, "3/12"), (True, "3/12 bytes")])
def test_a_terminal_sees_how_much_is_done(
    of_bytes: bool, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    with bar("copying", of_bytes=of_bytes) as advance:
        advance(3, 12)
    out, err = capsys.readouterr()
    assert out == ""
    plain = err.replace("\x1b", "")
    assert "copying" in plain and shown.split("/")[1][:2] in plain
    assert err.endswith("\x1b[2K") or "\x1b[?25h" in err  # gone when it is over


def test_the_bar_ends_where_the_work_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="no space"), bar("copying") as advance:
        advance(1, 2)
        raise RuntimeError("no space")
    assert capsys.readouterr().err == ""
