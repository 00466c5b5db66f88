"""Whole comparisons through the command line, on the small corpus of tones."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import SMALL

from fusion.core.cli import run_cli
from fusion.core.cli.compare import _request
from fusion.core.registry.registry import Registry
from fusion.core.workflows.compare import _Work

FAILS = """
import torch
from fusion import Balancer, hookimpl

class Explodes(Balancer):
    '''Makes the loss infinite.'''
    name = "explodes"
    def losses(self, losses, step):
        return {**losses, "explodes": losses["fused"] * float("inf")}

class Picky(Balancer):
    '''Works with nothing.'''
    name = "picky"
    def setup(self, context):
        from fusion.core.contracts.errors import ParameterError
        raise ParameterError("picky wants three modalities.")

@hookimpl
def fusion_balancers():
    return [Explodes, Picky]
"""


def options(corpus, cache, *more):
    return ["compare", "--data", str(corpus), "--cache", cache, *SMALL, *more]


@pytest.fixture(scope="module")
def compared(corpus, cache, tmp_path_factory):
    """Comparison of two strategies, one of which starts from the baselines, with two balancers and
    the controls.
    """
    out = tmp_path_factory.mktemp("compared") / "grid"
    code = run_cli(options(corpus, cache, "--strategies", "concat,residual", "--balancers",
                           "none,dropout+gradscale", "--folds", "3", "--budget", "10",
                           "--out", str(out), "--quiet"))  # fmt: skip
    assert code == 0
    return out


def test_a_cell_is_an_ordinary_run(compared, corpus, capsys):
    cells = sorted(path.name for path in (compared / "seed0").iterdir())
    balances = ["3x_lr", "dropout+gradscale", "none", "unimodal_loss"]
    assert cells == ["baselines", *(f"concat+{b}" for b in balances),
                     *(f"residual+{b}" for b in balances)]  # fmt: skip
    cell = compared / "seed0" / "concat+dropout+gradscale"
    info = json.loads((cell / "run.json").read_text())
    assert info["config"]["balancers"] == ["dropout", "gradscale"]
    # 10 steps of 16 clips, and 18 training clips in each of three folds: 2 steps an epoch.
    assert info["config"]["settings"]["train"]["epochs"] == info["training"]["epochs"] == 5
    assert run_cli(["predict", str(cell), str(corpus.parent / "s0-sad-0.wav")]) == 0
    assert "s0-sad-0.wav" in capsys.readouterr().out


def test_baselines_are_trained_once_and_shared(compared):
    one = compared / "seed0/baselines/fold1/mel/model.safetensors"
    for cell in ("concat+none", "residual+3x_lr"):
        assert (compared / "seed0" / cell / "fold1/mel/model.safetensors").samefile(one)
    assert not (compared / "seed0/baselines/fold0/fused").exists()
    control = compared / "seed0/baselines/fold2/control"
    for name in ("model.safetensors", "test.npz"):
        assert (compared / "seed0/concat+3x_lr/fold2/control" / name).samefile(control / name)
    # Five epochs of unimodal training, and one of fine-tuning.
    assert json.loads((control / "training.json").read_text())["epoch"] == 6
    fused = compared / "seed0/concat+none/fold2/fused/training.json"
    assert json.loads(fused.read_text())["epoch"] == 1
    output = compared / "seed0/baselines/fold1/mel/test.npz"
    assert (compared / "seed0/residual+none/fold1/mel/test.npz").samefile(output)


def test_the_tables_agree(compared):
    results = json.loads((compared / "results.json").read_text())
    with (compared / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(results["rows"]) == 8
    assert list(results["others"]) == ["mel", "persistence", "control", "ensemble", "oracle"]
    for row, cell in zip(table, results["rows"], strict=True):
        own = json.loads((compared / "seed0" / _folder(cell["cell"]) / "results.json").read_text())
        fused = next(m for m in own["models"] if m["name"] == "fused")
        assert float(row["uar"]) == pytest.approx(fused["uar"]["value"], abs=1e-6)
        assert cell["val_uar"] == pytest.approx(fused["val_uar"], abs=1e-5)
        assert cell["gate"] is True
        shares = sum(cell["contributions"].values())
        assert shares == pytest.approx(fused["uar"]["value"] - 0.5, abs=1e-4)  # two classes
        assert cell["parameters"] > 0
    assert [row["control"] for row in table] == ["0", "0", "1", "1"] * 2
    assert "| concat + dropout+gradscale |" in (compared / "table.md").read_text()


def _folder(cell):
    rate = [] if cell["rate"] == 1 else [f"{cell['rate']:g}x_lr"]
    return f"{cell['strategy']}+" + ("+".join([*cell["balancers"], *rate]) or "none")


def test_a_stored_request_can_be_resumed_from_any_folder(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(corpus.parent.parent)
    options = {"data": (f"{corpus.parent.name}/{corpus.name}",), "labels": "shared", "features": "",
               "settings": (), "cache": None, "dtypes": (), "strict": False, "branches": (),
               "folds": None, "seed": 0, "device": "cpu", "split": "speaker", "tune": None,
               "strategies": "concat", "balancers": "none,gradscale", "no_controls": True,
               "seeds": 1, "budget": None, "devices": ""}  # fmt: skip
    request = _request(options, Registry())
    assert request.config.data == (str(corpus),)
    assert request.config.balancers == ()
    assert [cell.name for cell in request.cells] == ["concat", "concat + gradscale"]


def test_a_resumed_comparison_trains_nothing_twice(compared, capsys):
    before = {p: p.stat().st_mtime_ns for p in compared.rglob("model.safetensors")}
    assert run_cli(["compare", "--resume", str(compared), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["comparison"] == str(compared)
    assert {p: p.stat().st_mtime_ns for p in compared.rglob("model.safetensors")} == before


def test_the_output_of_a_comparison(compared, capsys):
    assert run_cli(["compare", "--resume", str(compared), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "Test UAR (%) by balancer and strategy" in out
    assert "In 8 of 8 cells the chosen model" in out
    assert "…" not in out
    assert str(compared) in out


@pytest.mark.slow
@pytest.mark.attack("kill of a training")
def test_a_killed_comparison_is_resumed_to_the_same_result(compared, corpus, cache, tmp_path):
    out = tmp_path / "grid"
    command = [sys.executable, "-m", "fusion",
               *options(corpus, cache, "--strategies", "concat,residual", "--balancers",
                        "none,dropout+gradscale", "--folds", "3", "--budget", "10",
                        "--out", str(out), "--quiet")]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("seed0/concat*/fold*/fused/training.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = {p: p.stat().st_mtime_ns for p in out.rglob("fused/training.json")}
    assert finished
    assert run_cli(["compare", "--resume", str(out), "--quiet"]) == 0
    assert all(p.stat().st_mtime_ns == at for p, at in finished.items())
    for cell in (compared / "seed0").glob("*/predictions.csv"):
        again = out / cell.relative_to(compared)
        assert again.read_bytes() == cell.read_bytes()


def test_a_cell_that_fails_or_is_refused_does_not_stop_the_others(corpus, cache, tmp_path, capsys):
    plugin = tmp_path / "fails.py"
    plugin.write_text(FAILS)
    out = tmp_path / "grid"
    code = run_cli(["-p", str(plugin),
                    *options(corpus, cache, "--strategies", "concat", "--balancers",
                             "none,explodes,picky", "--no-controls", "--budget", "4",
                             "--out", str(out))])  # fmt: skip
    assert code == 1
    recorded = capsys.readouterr()
    assert "left out concat + picky: picky wants three modalities." in recorded.err
    assert (
        "failed concat + explodes, seed 0" in recorded.err and "not finite" not in recorded.out[:50]
    )
    assert "not trained: concat + explodes" in recorded.out
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [row["cell"]["name"] for row in rows] == ["concat"]


def test_a_budget_in_minutes_sets_the_epochs(corpus, cache, tmp_path, monkeypatch):
    """The probe runs, but its measurement is replaced, so that the number of epochs is known."""
    measure = _Work._seconds_per_epoch
    monkeypatch.setattr(_Work, "_seconds_per_epoch", lambda *a: dict.fromkeys(measure(*a), 4.0))
    out = tmp_path / "grid"
    assert run_cli(options(corpus, cache, "--budget", "0.3min", "--no-controls", "--out", str(out),
                           "--quiet")) == 0  # fmt: skip
    epochs = json.loads((out / "compare.json").read_text())["epochs"]
    # 85 % of 18 seconds on two cores are 30.6 seconds. One epoch costs 14: 4 seconds for each of
    # two baselines, 1/4 of 4 for the fused model and 1 1/4 of 4 for the control.
    assert epochs == 2
    info = json.loads((out / "seed0/gated+none/run.json").read_text())
    assert info["training"]["epochs"] == epochs
    assert not (out / "probe").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--strategies", "nope"], "There is no strategy 'nope'"),
        (["--balancers", "ogm"], "There is no balancer 'ogm'"),
        (["--budget", "soon"], "--budget must be steps per training or a total time"),
        (["--budget", "0.00001min"], "one epoch of all trainings takes"),
        (["--set", "gradscale.alpha=1"], "takes no part"),
        (["--set", "train.lr=fast"], "train.lr must be float"),
        (
            ["--balancers", "none,gradscale", "--set", "gradscale.alpha=much"],
            "gradscale.alpha must be float",
        ),
        (["--balancers", "none,gradscale", "--set", "gradscale.limit=0.5"], "limit"),
        (["--strategies", "concat,gated", "--set", "gated.hidden=x"], "gated.hidden must be int"),
        (["--budget", "10", "--set", "train.epochs=3"], "both set the length of training"),
        (["--devices", "cpu,gpu9"], "--device gpu9 can't be used here"),
        (["--device", "gpu9"], "--device gpu9 can't be used here"),
    ],
)
def test_mistakes_are_found_before_training(corpus, cache, tmp_path, capsys, more, message):
    out = tmp_path / "grid"
    assert run_cli(options(corpus, cache, "--out", str(out), *more)) == 2
    assert message in capsys.readouterr().err
    assert not list(out.rglob("fused/model.safetensors"))


def test_a_folder_with_other_contents_is_refused(compared, corpus, cache, tmp_path, capsys):
    assert run_cli(options(corpus, cache, "--out", str(compared))) == 2
    assert f"{compared} holds the comparison of another request" in capsys.readouterr().err
    assert run_cli(["compare", "--resume", str(tmp_path)]) == 2
    assert "is not the folder of a comparison" in capsys.readouterr().err
    assert run_cli(["compare", "--resume", str(compared), "--folds", "4"]) == 2
    assert "--folds can't be given with --resume" in capsys.readouterr().err
    assert run_cli(["-p", "no:gated", "compare", "--resume", str(compared)]) == 2
    assert "-p no:gated: the plugin is not part of the run" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run_cli(options(corpus, cache, "--out", str(tmp_path))) == 2
    assert "already exists and is not empty" in capsys.readouterr().err
    assert Path(tmp_path / "file").exists()


def test_a_resumed_comparison_contacts_no_cache_that_its_folder_names(compared, tmp_path, capsys):
    out = shutil.copytree(compared, tmp_path / "copy")
    content = json.loads((out / "compare.json").read_text())
    content["request"]["config"]["cache"] = "http://127.0.0.1:9"  # no server
    (out / "compare.json").write_text(json.dumps(content))
    code = run_cli(["compare", "--resume", str(out)])
    err = capsys.readouterr().err
    assert "which is not contacted unless you name it: --cache http://127.0.0.1:9" in err
    assert code in (0, 1) or "127.0.0.1:9 does not answer" not in err
    run_cli(["compare", "--resume", str(out), "--cache", "http://127.0.0.1:9"])
    assert "not contacted" not in capsys.readouterr().err
    assert run_cli(["compare", "--resume", str(out), "--cache", "http://127.0.0.1:8"]) == 2
    assert "keeps its options" in capsys.readouterr().err
