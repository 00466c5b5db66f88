"""``fusion plugins list``: its output for people and for programs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from fusion.core.cli import run_cli


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_cli(["plugins", *arguments]) == 0
    return capsys.readouterr().out


def test_a_row_has_status_version_origin_and_hooks(
    plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = said(capsys, "list", "-p", str(plugin)).splitlines()
    row = next(i for i, line in enumerate(lines) if re.match(r"  ok  added\b", line))
    assert re.fullmatch(rf"  ok  added +7 +{re.escape(str(plugin))} 0.3", lines[row])
    assert [line.strip() for line in lines[row + 1 : row + 3]] == ["Adds scores.", "hooks: forward"]
    kinds = [line.split()[0] for line in lines if "(registered by" in line]
    assert kinds == ["corpus", "extractor", "branch", "strategy", "balancer", "tracker", "remedy"]
    assert [line.split()[1] for line in lines if re.match(r"  ok  \w+ \*", line)] == [
        "demo", "levelset", "mel", "gated", "jsonl",
    ]  # fmt: skip


def test_broken_and_blocked_plugins_have_a_row(
    plugin: Path, installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["-p", str(plugin), "plugins", "list", "-p", "no:added", "-p", "no:lmf"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert f"  blocked  strategy added, from {plugin} 0.3" in lines
    assert any(line.startswith("  blocked  lmf, from modal-fusion") for line in lines)
    broken = lines.index("  broken  broken_one, from fusion-broken_one 2.5")
    assert "no_such_package_at_all" in lines[broken + 1]
    assert "-p no:broken_one" in lines[broken + 2]
    assert "  broken  the strategy 'gated', from fusion-clashing_one 2.5" in lines
    assert not any(re.match("  ok  (added|lmf) ", line) for line in lines)


def test_json_output(plugin: Path, installed: None, capsys: pytest.CaptureFixture[str]) -> None:
    listing = json.loads(said(capsys, "list", "--json", "-p", str(plugin), "-p", "no:nested"))
    (added,) = (row for row in listing["plugins"] if row["name"] == "added")
    assert added == {
        "status": "ok", "kind": "strategy", "name": "added", "version": "7", "default": False,
        "plugin": "mine", "distribution": str(plugin), "distribution_version": "0.3",
        "module": added["module"], "api_version": 1, "registered_by": "fusion_strategies",
        "hooks": ["forward"], "summary": "Adds scores.",
    }  # fmt: skip
    assert Path(sys.modules[added["module"]].__file__ or "") == plugin
    problems = {row["plugin"]: row for row in listing["problems"]}
    assert problems["clashing_one"]["part"] == "the strategy 'gated'"
    assert problems["clashing_one"]["hook"] == "fusion_strategies"
    assert "no_such_package_at_all" in problems["broken_one"]["reason"]
    assert [(row["kind"], row["name"]) for row in listing["blocked"]] == [("balancer", "nested")]
    assert listing["deprecations"] == []
