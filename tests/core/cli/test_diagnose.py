"""``fusion diagnose`` on a synthetic run, and on a whole run with its experiment."""

import json

import pytest
from report_runs import write_run

from fusion.core.analysis import diagnosis
from fusion.core.analysis.diagnosis import Diagnosis, Finding, Thresholds
from fusion.core.cli import run_cli
from fusion.core.cli.diagnose import thresholds_from
from fusion.core.contracts.errors import ParameterError, UnknownNameError
from fusion.core.workflows import experiment

SMALL = ["--set", "mel.n_mels=16", "--set", "mel.frames=32", "--set", "train.windows=middle",
         "--set", "persistence.n_mels=16",
         "--set", "train.dim=8", "--set", "branch.mel.blocks=2", "--set", "branch.mel.channels=4",
         "--set", "branch.persistence.hidden=8", "--features", "mel,persistence"]  # fmt: skip
# Correct in training, off by one class in every evaluation: no rule covers this fault.
SHIFTED = '''
from fusion import hookimpl
from fusion.plugins.strategies.concat import Concat


class Shifted(Concat):
    """Concatenation that names the next class in evaluation mode."""

    name = "shifted"
    default = False

    def forward(self, inputs):
        scores = super().forward(inputs)
        return scores if self.training else scores.roll(1, dims=1)


@hookimpl
def fusion_strategies():
    return [Shifted]
'''


@pytest.mark.parametrize("extra", [[], pytest.param(["--folds", "3"], marks=pytest.mark.slow)])
def test_the_experiment_of_a_whole_run_blames_the_head(extra, corpus, cache, tmp_path) -> None:
    plugin, out = tmp_path / "shifted.py", tmp_path / "run"
    plugin.write_text(SHIFTED)
    command = ["-p", str(plugin), "diagnose", "--data", str(corpus), "--cache", cache, "--epochs",
               "30", *SMALL, "--strategy", "shifted", "--out", str(out), "--quiet",
               *extra]  # fmt: skip
    assert run_cli(command) == 0
    findings = json.loads((out / "diagnosis.json").read_text())["findings"]
    (result,) = [f for f in findings if f["fault"] == "unexplained"]
    assert result["severity"] in ("moderate", "severe")
    assert {"singles", "probes", "head", "fused"} <= set(result["numbers"])
    lost = {k: v for k, v in result["numbers"].items() if k.startswith("lost by")}
    assert max(lost, key=lost.__getitem__) == "lost by the head"
    assert "Most is lost by the head" in result["says"] and result["remedy"]


# -- thresholds ------------------------------------------------------------------------


def test_thresholds_are_separated_from_other_settings():
    passed = ("train.lr=0.1", "diagnosis.dead_rank=0.2", " diagnosis.memorised=0.5", "mel.hop=1")
    rest, result = thresholds_from(passed)
    assert rest == ("train.lr=0.1", "mel.hop=1")
    assert result == Thresholds(dead_rank=0.2, memorised=0.5)
    assert thresholds_from(()) == ((), Thresholds())


def test_invalid_thresholds_are_refused():
    with pytest.raises(UnknownNameError, match="'dead_rnak'.*Did you mean 'dead_rank'"):
        thresholds_from(("diagnosis.dead_rnak=1",))
    with pytest.raises(ParameterError, match="diagnosis.dead_rank must be above 0, and is -1.0"):
        thresholds_from(("diagnosis.dead_rank=-1",))
    with pytest.raises(ParameterError, match="diagnosis.dead_rank must be"):
        thresholds_from(("diagnosis.dead_rank=low",))


# -- a synthetic run -------------------------------------------------------------------


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """Trained run, and a list of the thresholds with which it is diagnosed."""
    requested = []

    def judged(run, thresholds):
        requested.append(thresholds)
        finding = Finding("dead_branch", "severe", "Its rank is 1.", "rank < 0.05", "a")
        return Diagnosis((finding,), {"a": {"norm": 4.0}}, {"dead_rank": 0.05})

    monkeypatch.setattr(diagnosis, "diagnose", judged)
    monkeypatch.setattr(experiment, "train_run", lambda run, **options: None)
    return write_run(tmp_path / "run"), requested


def test_the_output_has_findings_and_next_steps(made_up, capsys):
    path, requested = made_up
    assert run_cli(["diagnose", str(path), "--set", "diagnosis.dead_rank=0.2"]) == 0
    out = capsys.readouterr().out
    assert "severe    Dead branch of a\n          Its rank is 1.\n" in out
    assert f"run directory: {path}\n" in out and f"try remedies: fusion repair {path}\n" in out
    assert requested == [Thresholds(dead_rank=0.2)]


def test_json_is_the_diagnosis_and_the_run(made_up, capsys):
    path, _ = made_up
    assert run_cli(["diagnose", str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["run"] == str(path)
    assert [f["fault"] for f in result["findings"]] == ["dead_branch"]


def test_settings_that_a_run_stores_are_refused(made_up, capsys):
    path, requested = made_up
    for option in (["--strategy", "sum"], ["--folds", "3"], ["--set", "train.lr=1"]):
        assert run_cli(["diagnose", str(path), *option]) == 2
        assert option[0] in capsys.readouterr().err
    assert requested == []


def test_ctrl_c_prints_how_to_resume(made_up, monkeypatch, capsys):
    path, _ = made_up

    def interrupted(run, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "train_run", interrupted)
    assert run_cli(["diagnose", str(path)]) == 130
    assert f"To resume: fusion diagnose {path}" in capsys.readouterr().err
