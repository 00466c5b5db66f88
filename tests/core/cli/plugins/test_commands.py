"""``fusion plugins show`` and ``fusion plugins list`` on the available plugins."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fusion.core.cli import run_cli
from fusion.core.toolkit import audio_formats


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_cli(["plugins", *arguments]) == 0
    return capsys.readouterr().out


def test_show_names_the_file_and_the_hooks_in_use(
    plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, "show", "added", "-p", str(plugin))
    message = dict(
        re.findall(r"^(module|file|contract|registered by|hooks used) +(.*)$", out, re.M)
    )
    assert out.startswith(f"added · strategy, version 7, from {plugin} 0.3\n")
    assert message["file"] == str(plugin)
    assert message["contract"] == "version 1"
    assert message["registered by"] == "fusion_strategies, in the plugin 'mine'"
    assert message["hooks used"] == "forward"
    assert "added.factor: float = 1.0" in out
    out = said(capsys, "show", "gated")
    assert "fusion.plugins.strategies.gated" in out
    assert re.search(
        r"^hooks used +forward, adopt, held_out_parameters, modality_weights$", out, re.M
    )


def test_show_of_a_broken_plugin_reports_the_error(
    installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["plugins", "show", "broken_one"]) == 2
    error = capsys.readouterr().err
    assert "There is no plugin 'broken_one'" in error
    assert "hint:  plugin 'broken_one' (fusion-broken_one 2.5) was skipped" in error


def test_plugins_list_and_show(capsys):
    assert run_cli(["plugins", "list", "--json"]) == 0
    listing = json.loads(capsys.readouterr().out)
    assert {"kind": "strategy", "name": "gated"}.items() <= next(
        p for p in listing["plugins"] if p["name"] == "gated"
    ).items()
    assert listing["problems"] == []
    assert run_cli(["plugins", "list"]) == 0
    assert "gradscale" in capsys.readouterr().out
    assert run_cli(["plugins", "show", "gradscale"]) == 0
    assert "gradscale.mode: 'progress' | 'norms' | 'fixed' = 'progress'" in capsys.readouterr().out
    assert run_cli(["plugins", "show", "gradscal"]) == 2


def test_show_audio_lists_the_formats_and_says_whether_pyav_is_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_formats, "pyav_version", lambda: "12.3.0")
    out = said(capsys, "show", "audio")
    for audio_format in audio_formats.FORMATS:
        assert re.search(
            rf"^  .*\{audio_format.suffix} .*{re.escape(audio_format.name)}$", out, re.M
        )
    assert "PyAV (FFmpeg, the extra av; installed, version 12.3.0)" in out
    assert "pip install" not in out
    monkeypatch.setattr(audio_formats, "pyav_version", lambda: None)
    out = said(capsys, "show", "audio")
    assert "not installed)" in out and "pip install 'modal-fusion[av]'" in out
