"""``fusion plugins trace``: the time that each module takes to import and register."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from listed_plugins import PLUGIN

from fusion.core.cli import run_cli
from fusion.core.registry import profiler


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_cli(["plugins", *arguments]) == 0
    return capsys.readouterr().out


def test_trace_lists_every_module_in_order_and_marks_the_slowest(
    plugin: Path, installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin.write_text(f"import time; time.sleep(0.7)\n{PLUGIN}")
    lines = said(capsys, "trace", "-p", str(plugin)).splitlines()
    rows = [line for line in lines if re.match(r" *\d+ ", line)]
    assert [int(row.split()[0]) for row in rows[:-2]] == list(range(1, len(rows) - 1))
    last, totals = rows[-2], rows[-1]
    assert last.endswith(f"%  mine, {plugin} 0.3  <- slowest")
    assert sum("<- slowest" in row for row in rows) == 1
    assert sum(row.endswith("  broken_one, fusion-broken_one 2.5  broken") for row in rows) == 1
    assert totals.startswith(f"{len(rows) - 1} modules: ")
    assert profiler.active is None


def test_trace_of_one_plugin_by_its_name_or_its_module(
    plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mine", "nested"):
        result = json.loads(said(capsys, "trace", name, "--json", "-p", str(plugin)))
        (module,) = result["modules"]
        assert (module["plugin"], module["distribution"]) == ("mine", str(plugin))
        assert module["hooks"] == ["fusion_balancers", "fusion_strategies"]
        assert not module["broken"]
        assert module["seconds_import"] < result["seconds_all_imports"]
        assert result["all_modules"] > 60
    assert run_cli(["plugins", "trace", "nestled", "-p", str(plugin)]) == 2
    assert "Did you mean 'nested'" in capsys.readouterr().err
