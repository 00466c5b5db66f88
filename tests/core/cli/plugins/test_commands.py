"""``fusion plugins list``, ``show`` and ``trace``, and ``--trace-hooks`` on a command."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from small_runs import SMALL

from fusion.core.cli import run_cli
from fusion.core.registry import profiler

PLUGIN = '''
"""Plugins of a test."""
from fusion import Balancer, Strategy, hookimpl
from torch import nn

api_version = 1
__version__ = "0.3"

class Added(Strategy):
    """Adds scores."""
    name = "added"
    version = "7"
    def __init__(self, dims, num_classes, factor: float = 1.0):
        super().__init__()
        self.factor = factor
        self.heads = nn.ModuleDict({m: nn.Linear(d, num_classes) for m, d in dims.items()})
    def forward(self, inputs):
        return self.factor * sum(self.heads[m](inputs[m]) for m in self.heads)

class Nested(Balancer):
    """Calls the strategy in its own hook."""
    name = "nested"
    def losses(self, losses, step):
        step.fuse(step.modalities[:1])
        return losses

@hookimpl
def fusion_strategies():
    return [Added]

@hookimpl
def fusion_balancers():
    return [Nested]
'''

BROKEN = "import no_such_package_at_all\n"
CLASH = """
from fusion import Strategy, hookimpl
class Gated(Strategy):
    name = "gated"
@hookimpl
def fusion_strategies():
    return [Gated]
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    return file


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two distributions: one can't be imported, one has a name that is taken."""
    for name, text in (("broken_one", BROKEN), ("clashing_one", CLASH)):
        (tmp_path / f"{name}.py").write_text(text)
        info = tmp_path / f"{name}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: fusion-{name}\nVersion: 2.5\n"
        )
        (info / "entry_points.txt").write_text(f"[fusion]\n{name} = {name}\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_cli(["plugins", *arguments]) == 0
    return capsys.readouterr().out


# -- list ----------------------------------------------------------------------------


def test_a_row_says_status_version_origin_and_hooks(
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


def test_what_is_broken_or_blocked_has_a_row(
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


def test_the_list_for_machines(
    plugin: Path, installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
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


# -- show ----------------------------------------------------------------------------


def test_show_says_where_it_is_and_which_hooks_it_uses(
    plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, "show", "added", "-p", str(plugin))
    told = dict(re.findall(r"^(module|file|contract|registered by|hooks used) +(.*)$", out, re.M))
    assert out.startswith(f"added · strategy, version 7, from {plugin} 0.3\n")
    assert told["file"] == str(plugin)
    assert told["contract"] == "version 1"
    assert told["registered by"] == "fusion_strategies, in the plugin 'mine'"
    assert told["hooks used"] == "forward"
    assert "added.factor: float = 1.0" in out
    out = said(capsys, "show", "gated")
    assert "fusion.plugins.strategies.gated" in out
    assert re.search(
        r"^hooks used +forward, adopt, held_out_parameters, modality_weights$", out, re.M
    )


def test_show_of_a_broken_plugin_says_what_is_wrong(
    installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["plugins", "show", "broken_one"]) == 2
    error = capsys.readouterr().err
    assert "There is no plugin 'broken_one'" in error
    assert "hint:  plugin 'broken_one' (fusion-broken_one 2.5) was skipped" in error


# -- trace ---------------------------------------------------------------------------


def test_trace_has_every_module_in_order_and_marks_the_slowest(
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


def test_trace_of_one_plugin_by_its_name_or_that_of_its_module(
    plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mine", "nested"):
        found = json.loads(said(capsys, "trace", name, "--json", "-p", str(plugin)))
        (module,) = found["modules"]
        assert (module["plugin"], module["distribution"]) == ("mine", str(plugin))
        assert module["hooks"] == ["fusion_balancers", "fusion_strategies"]
        assert not module["broken"]
        assert module["seconds_import"] < found["seconds_all_imports"]
        assert found["all_modules"] > 60
    assert run_cli(["plugins", "trace", "nestled", "-p", str(plugin)]) == 2
    assert "Did you mean 'nested'" in capsys.readouterr().err


# -- --trace-hooks -------------------------------------------------------------------


def test_a_run_is_traced_over_its_processes(
    plugin: Path, corpus: Path, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    code = run_cli(
        ["run", "--data", str(corpus), "--cache", str(tmp_path / "features"), "--out", str(out),
         "-p", str(plugin), "--strategy", "added", "--balance", "nested", "--epochs", "2",
         "--trace-hooks", "--json", *SMALL, "--no-report"]
    )  # fmt: skip
    said = capsys.readouterr()
    assert code == 0
    assert json.loads(said.out)["run"] == str(out)  # the results, and nothing else
    assert f"strategy added, version 7, from {plugin} 0.3" in said.err
    assert said.err.rstrip().endswith(f"all of it: {out / 'trace.jsonl'}")
    first, *rows = map(json.loads, (out / "trace.jsonl").read_text().splitlines())
    assert first["command"] == "fusion run"
    assert first["processes"] == len({row["process"] for row in rows}) > 2
    calls: dict[tuple[str, str, str], int] = {}
    for row in rows:
        key = (row["phase"], row["plugin"], row["method"])
        calls[key] = calls.get(key, 0) + row["calls"]
    clips = 9 * 2 * 3
    assert calls["extract", "mel", "extract"] == clips
    steps = calls["train fold0/fused", "nested", "losses"]
    validations = 2
    # A step calls the strategy, the balancer does so once more, and so does every validation.
    assert calls["train fold0/fused", "added", "forward"] == 2 * steps + validations
    assert calls["val fold0/fused", "added", "forward"] == 1
    assert calls["test fold0/fused", "added", "forward"] == 1
    # Two baselines of two epochs, a fused model of one more, a control of three.
    assert calls["train", "jsonl", "epoch"] == 2 * 2 + 1 + 3
    assert profiler.active is None
    by = {(r["phase"], r["method"]): r for r in rows if r["plugin"] in ("added", "nested")}
    losses, forward = by["train fold0/fused", "losses"], by["train fold0/fused", "forward"]
    assert losses["own"] < losses["total"] < losses["own"] + forward["total"]
    assert (losses["distribution"], losses["distribution_version"]) == (str(plugin), "0.3")


def test_the_environment_asks_for_a_trace_and_names_its_file(
    finished: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "mine.jsonl"
    monkeypatch.setenv("FUSION_TRACE_HOOKS", str(file))
    clip = str(next(corpus.parent.glob("*.wav")))
    assert run_cli(["predict", str(finished), clip, "--json", "--trace-hooks"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["file"] == clip
    assert said.err.count("trace: ") == 1
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows[0]["command"] == "fusion predict"
    assert {"extract", "__init__"} <= {
        row["method"] for row in rows if row.get("kind") == "extractor"
    }
    monkeypatch.setenv("FUSION_TRACE_HOOKS", str(tmp_path / "nowhere" / "mine.jsonl"))
    assert run_cli(["plugins", "list"]) == 2
    assert "lies in a folder that does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "traced"), [("1", True), ("on", True), ("0", False), ("off", False), ("", False)]
)
def test_the_environment_turns_it_on_or_off(
    value: str, traced: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FUSION_TRACE_HOOKS", value)
    assert run_cli(["plugins", "show", "gated"]) == 0
    assert ("trace: " in capsys.readouterr().err) is traced


def test_a_command_that_fails_says_its_trace_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["--trace-hooks", "plugins", "show", "nothing_of_the_kind"]) == 2
    error = capsys.readouterr().err
    assert "trace: " in error and "There is no plugin 'nothing_of_the_kind'" in error
    assert profiler.active is None
