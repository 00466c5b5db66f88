"""``--trace-hooks`` on commands, and the environment variable that enables the trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_runs import SMALL

from fusion.core.cli import run_cli
from fusion.core.registry import profiler


def test_a_run_is_traced_across_its_processes(
    plugin: Path, corpus: Path, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    code = run_cli(
        ["run", "--data", str(corpus), "--cache", str(tmp_path / "features"), "--out", str(out),
         "-p", str(plugin), "--strategy", "added", "--balance", "nested", "--epochs", "2",
         "--trace-hooks", "--json", *SMALL, "--no-report"]
    )  # fmt: skip
    output = capsys.readouterr()
    assert code == 0
    assert json.loads(output.out)["run"] == str(out)  # only the results
    assert f"strategy added, version 7, from {plugin} 0.3" in output.err
    assert output.err.rstrip().endswith(f"trace file: {out / 'trace.jsonl'}")
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
    # A step calls the strategy once and the balancer calls it again; each validation calls it once.
    assert calls["train fold0/fused", "added", "forward"] == 2 * steps + validations
    assert calls["val fold0/fused", "added", "forward"] == 1
    assert calls["test fold0/fused", "added", "forward"] == 1
    # Two baselines of two epochs, a fused model of one, and a control of three.
    assert calls["train", "jsonl", "epoch"] == 2 * 2 + 1 + 3
    assert profiler.active is None
    by = {(r["phase"], r["method"]): r for r in rows if r["plugin"] in ("added", "nested")}
    losses, forward = by["train fold0/fused", "losses"], by["train fold0/fused", "forward"]
    assert losses["own"] < losses["total"] < losses["own"] + forward["total"]
    assert (losses["distribution"], losses["distribution_version"]) == (str(plugin), "0.3")


def test_the_environment_variable_names_the_trace_file(
    finished: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "mine.jsonl"
    monkeypatch.setenv("FUSION_TRACE_HOOKS", str(file))
    clip = str(next(corpus.parent.glob("*.wav")))
    assert run_cli(["predict", str(finished), clip, "--json", "--trace-hooks"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["file"] == clip
    assert output.err.count("trace: ") == 1
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows[0]["command"] == "fusion predict"
    assert {"extract", "__init__"} <= {
        row["method"] for row in rows if row.get("kind") == "extractor"
    }
    monkeypatch.setenv("FUSION_TRACE_HOOKS", str(tmp_path / "nowhere" / "mine.jsonl"))
    assert run_cli(["plugins", "list"]) == 2
    assert f"the folder {tmp_path / 'nowhere'} does not exist." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "traced"), [("1", True), ("on", True), ("0", False), ("off", False), ("", False)]
)
def test_the_environment_variable_turns_the_trace_on_or_off(
    value: str, traced: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FUSION_TRACE_HOOKS", value)
    assert run_cli(["plugins", "show", "gated"]) == 0
    assert ("trace: " in capsys.readouterr().err) is traced


def test_a_command_that_fails_prints_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["--trace-hooks", "plugins", "show", "nothing_of_the_kind"]) == 2
    error = capsys.readouterr().err
    assert "trace: " in error and "There is no plugin 'nothing_of_the_kind'" in error
    assert profiler.active is None
