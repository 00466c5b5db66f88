"""``fusion plugins show`` and ``fusion plugins list`` on the available plugins."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fusion.core.cli import run_cli


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
