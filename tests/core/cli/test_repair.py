"""`fusion diagnose` and `fusion repair` through the command line, on a small corpus of tones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_runs import SMALL

from fusion.core.cli import run_cli
from fusion.core.runs.outcome.selection import Selection
from fusion.core.runs.run import Run

SWAMPED = """
from fusion import hookimpl
from fusion.plugins.strategies.concat import Concat
from fusion.testing import faults

Faulty = faults.biased(Concat, size=100.0, modality="mel")


@hookimpl
def fusion_strategies():
    return [Faulty]
"""


@pytest.fixture(scope="module")
def options(corpus, cache):
    return ["--data", str(corpus), "--cache", cache, "--epochs", "4", *SMALL]


@pytest.fixture(scope="module")
def mended(options, tmp_path_factory):
    """Repair of a fusion that is swamped by a bias, and its command."""
    folder = tmp_path_factory.mktemp("repairs")
    plugin = folder / "swamped.py"
    plugin.write_text(SWAMPED)
    out = folder / "repair"
    command = ["-p", str(plugin), "repair", *options, "--strategy", "concat_biased", "--out",
               str(out), "--target", "stretch", "--steps", "levelled,corrected", "--set",
               "diagnosis.fewest_steps=1"]  # fmt: skip
    assert run_cli(command) == 0
    return out, command


def test_a_finished_run_is_diagnosed(finished, capsys) -> None:
    before = (finished / "results.json").read_bytes()
    assert run_cli(["diagnose", str(finished), "--set", "diagnosis.fewest_steps=1"]) == 0
    output = capsys.readouterr().out
    assert "alone, val" in output and f"try remedies: fusion repair {finished}" in output
    assert "test it" not in output
    assert (finished / "results.json").read_bytes() == before
    data = json.loads((finished / "diagnosis.json").read_text())
    assert data["thresholds"]["fewest_steps"] == 1
    assert set(data["signs"]) == {"mel", "persistence", ""}


def test_short_trainings_are_a_caveat(finished, capsys) -> None:
    assert run_cli(["diagnose", str(finished), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert "too few to judge" in data["caveats"][0] and data["run"] == str(finished)


def test_a_new_run_is_diagnosed_without_test_data(options, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    assert run_cli(["diagnose", *options, "--strategy", "sum", "--out", str(out), "--quiet"]) == 0
    assert f"test the models: fusion run --resume {out}" in capsys.readouterr().out
    assert (out / "diagnosis.json").is_file()
    assert not list(out.rglob("test.npz")) and not (out / "results.json").exists()
    assert run_cli(["run", "--resume", str(out), "--quiet", "--no-report"]) == 0
    assert (out / "results.json").is_file()


def test_every_run_is_diagnosed(finished) -> None:
    assert (finished / "diagnosis.json").is_file()


def test_repair_steps_share_equal_trainings(mended) -> None:
    out, _ = mended
    base, level = out / "0-base", out / "1-levelled"
    for m in ("mel", "persistence"):
        weights = f"fold0/{m}/model.safetensors"
        assert (base / weights).samefile(level / weights)
    assert not (base / "fold0/fused/model.safetensors").samefile(
        level / "fold0/fused/model.safetensors"
    )


def test_the_findings_and_steps_of_a_repair_are_written(mended) -> None:
    out, _ = mended
    data = json.loads((out / "repair.json").read_text())
    assert "swamping_bias" in [finding["fault"] for finding in data["findings"]]
    names = [step["name"] for step in data["steps"]]
    assert names[:2] == ["base", "levelled"] and data["chosen"] in names
    base, level = data["steps"][:2]
    assert level["gain"] == pytest.approx(level["val_uar"]["fused"] - base["val_uar"]["fused"])
    assert "--strategy normalised" in level["words"]


def test_the_chosen_model_is_never_below_the_best_single_modality(mended) -> None:
    out, _ = mended
    data = json.loads((out / "repair.json").read_text())
    run = Run.open(Path(data["handed_out"]))
    assert run.is_complete()
    selection = Selection.from_json(run.read_json("selection.json"))
    for fold in selection.folds:
        singles = [fold.val_uar[m] for m in ("mel", "persistence")]
        assert fold.val_uar[fold.chosen] >= max(singles)
    base = data["steps"][0]["val_uar"]
    chosen = next(s for s in data["steps"] if s["name"] == data["chosen"])
    assert chosen["best"] >= max(base["mel"], base["persistence"])


def test_only_the_chosen_step_and_the_base_are_tested(mended) -> None:
    out, _ = mended
    data = json.loads((out / "repair.json").read_text())
    tested = {path.parents[2].name for path in out.rglob("fused/test.npz")}
    assert tested == {Path(data["handed_out"]).name, "0-base"}


def test_the_chosen_model_is_compared_with_the_best_single_modality_of_the_base(mended) -> None:
    out, _ = mended
    data = json.loads((out / "repair.json").read_text())
    results = [json.loads((Path(p) / "results.json").read_text())
               for p in (data["handed_out"], data["steps"][0]["path"])]  # fmt: skip
    uar = [{m["name"]: m["uar"]["value"] for m in r["models"]} for r in results]
    expected = uar[0]["chosen"] - uar[1][data["best_single"]]
    assert data["against_base"]["difference"] == pytest.approx(expected, abs=1e-5)


def test_the_same_command_trains_nothing_again(mended) -> None:
    out, command = mended
    before = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    assert run_cli(command) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")} == before


def test_another_repair_in_the_same_folder_is_refused(mended, capsys) -> None:
    _, command = mended
    assert run_cli([*command, "--budget", "1h"]) == 2
    assert "holds the repair of another request" in capsys.readouterr().err


def test_a_target_that_is_met_needs_no_step(finished, tmp_path, capsys) -> None:
    out = tmp_path / "repair"
    command = ["repair", str(finished), "--out", str(out), "--target", "10", "--json", "--quiet"]
    assert run_cli(command) == 0
    data = json.loads(capsys.readouterr().out)
    assert [step["name"] for step in data["steps"]] == ["base"]
    assert data["reached"] and data["handed_out"] == str(finished)


def test_an_impossible_step_is_left_out_and_the_others_continue(options, tmp_path, capsys) -> None:
    plugin = tmp_path / "refuses.py"
    plugin.write_text(
        "from fusion import Remedy, hookimpl\n\n\n"
        "class Impossible(Remedy):\n"
        '    """Asks for a head of no width."""\n\n'
        '    name = "impossible"\n'
        '    strategy = "normalised"\n'
        '    settings = {"normalised": {"hidden": 0}}\n\n\n'
        "@hookimpl\ndef fusion_remedies():\n    return [Impossible]\n"
    )
    out = tmp_path / "repair"
    command = ["-p", str(plugin), "repair", *options, "--strategy", "sum", "--out", str(out),
               "--target", "100", "--steps", "impossible,averaged"]  # fmt: skip
    assert run_cli(command) == 0
    output = capsys.readouterr()
    assert "left out" in output.out and "hidden=0" in output.out
    steps = json.loads((out / "repair.json").read_text())["steps"]
    assert [bool(step["refused"]) for step in steps] == [False, True, False]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["diagnose", "nowhere"], "is not a run directory"),
        (["diagnose", "RUN", "--epochs", "3"], "--epochs can't be given with RUN"),
        (["diagnose", "RUN", "--set", "train.lr=1"], "--set can't be given with RUN"),
        (["diagnose", "RUN", "--set", "diagnosis.scale=3"], "scale_ratio"),
        (["diagnose", "RUN", "--set", "diagnosis.scale_ratio=0"], "must be above 0"),
        (["repair", "RUN", "--target", "best"], "--target can't be 'best'"),
        (["repair", "RUN", "--steps", "levelld"], "levelled"),
        (["repair", "RUN", "--budget", "600"], "must be a time, and is '600'"),
        (["repair", "RUN", "--strategy", "sum"], "--strategy can't be given with RUN"),
    ],
)
def test_mistakes_in_repair(finished, tmp_path, capsys, monkeypatch, command, message) -> None:
    monkeypatch.chdir(tmp_path)
    passed = [str(finished) if word == "RUN" else word for word in command]
    assert run_cli(passed) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_missing_cache_is_reported(finished, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    info = json.loads((run / "run.json").read_text())
    info["config"]["cache"] = str(tmp_path / "gone")
    (run / "run.json").write_text(json.dumps(info))
    assert run_cli(["diagnose", str(run)]) == 0
    assert "The features can't be read" in capsys.readouterr().out


def test_a_diagnosis_is_reproducible(finished) -> None:
    def once() -> bytes:
        assert run_cli(["diagnose", str(finished), "--quiet"]) == 0
        return (finished / "diagnosis.json").read_bytes()

    assert once() == once()
    assert np.isfinite(json.loads(once())["signs"]["mel"]["rank"])
