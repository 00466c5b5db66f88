"""``fusion.run`` and its result: the Python equivalent of the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from untrained_runs import write_corpus

import fusion
from fusion.core import api
from fusion.core.cli import run_cli
from fusion.core.runs import arguments
from fusion.core.runs.config import RunConfig
from fusion.core.runs.plan import make_plan
from fusion.core.workflows import experiment

SMALL = {
    "demo.speakers": 6, "demo.clips": 2, "mel.n_mels": 16, "mel.frames": 32, "train.dim": 8,
    "persistence.n_mels": 16, "branch.mel.blocks": 2, "branch.mel.channels": 4,
    "branch.persistence.hidden": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def result(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return fusion.run(features=["mel", "persistence"], balance="gradscale", epochs=2, set=SMALL,
                      cache=cache, out=out, jobs=2, quiet=True, report=False)  # fmt: skip


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Functions that return the configuration of a run, from Python and from the command line."""
    monkeypatch.chdir(tmp_path)

    class Asked(fusion.FusionError):
        pass

    def ask(config, out, registry, **_):
        error = Asked("asked")
        error.config = config.to_json()
        raise error

    monkeypatch.setattr(experiment, "run_experiment", ask)

    def of_python(**arguments):
        with pytest.raises(Asked) as caught:
            fusion.run(**arguments)
        return caught.value.config

    def of_command_line(*arguments):
        with pytest.raises(Asked) as caught:
            run_cli(["--debug", "run", *arguments])
        return caught.value.config

    return of_python, of_command_line


def test_arguments_equal_command_line_options(asked):
    of_python, of_command_line = asked
    assert of_python() == of_command_line()
    assert of_python(
        data=["demo", Path("ravdess=a/b")], strategy="gated", balance=["gradscale", "ogm_ge"],
        features=["mel", "mfcc"], branch={"mel": "crnn"}, labels=["happy", "sad"], split="random",
        folds=3, epochs=5, batch_size=8, lr=1e-4, tune=4, seed=7, device="cpu", tracker="jsonl",
        cache=Path("/features"), dtype={"mel": "float16"}, verify="always", strict=True,
        adapt="speaker",
        set={"train.weight_decay": 1e-3, "branch.mel.blocks": 4, "train.compile": False,
             "gradscale.mode": "adaptive"},
    ) == of_command_line(
        "--data", "demo", "--data", "ravdess=a/b", "--strategy", "gated", "--balance", "gradscale",
        "--balance", "ogm_ge", "--features", "mel,mfcc", "--branch", "mel=crnn", "--labels",
        "happy,sad", "--split", "random", "--folds", "3", "--epochs", "5", "--batch-size", "8",
        "--lr", "0.0001", "--tune", "4", "--seed", "7", "--device", "cpu", "--tracker", "jsonl",
        "--cache", "/features", "--dtype", "mel=float16", "--verify", "always", "--strict",
        "--adapt", "speaker",
        "--set", "train.weight_decay=0.001", "--set", "branch.mel.blocks=4",
        "--set", "train.compile=False", "--set", "gradscale.mode=adaptive",
    )  # fmt: skip


def test_every_command_line_option_has_an_argument():
    from fusion.core.cli.run import command

    names = {o.lstrip("-").replace("-", "_") for p in command.params for o in p.opts}
    for_terminals = {"json", "debug", "p", "require_gain", "resume", "no_report",
                     "trace_hooks"}  # fmt: skip
    plural = {"columns", "ignore_columns", "label_map"}  # repeatable options with other names
    ours = set(api.run.__annotations__) - {"unknown", "return", "plugins", "report"} - plural
    assert names - for_terminals - {"column", "ignore_column", "map_label"} == ours
    assert for_terminals - {"debug"} <= set(arguments.INSTEAD)


def test_every_argument_is_documented():
    for function in (api.run, api.resume, api.load):
        for name in set(function.__annotations__) - {"unknown", "return"}:
            assert f"\n    {name} : " in function.__doc__, name


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ({"stratgy": "gated"}, "Did you mean 'strategy'"),
        ({"resume": "runs/x"}, "fusion.resume(RUN)"),
        ({"balancers": ["gradscale"]}, "The argument is called balance"),
        ({"strategy": "gatd"}, "Did you mean 'gated'"),
        ({"set": {"train": {"lr": 1}}}, 'set={"train.lr": ...}'),
        ({"set": {"lr": 1}}, 'set={"OWNER.lr": ...}'),
        ({"set": {"train.lrr": 1}}, "Did you mean 'lr'"),
        ({"epochs": 0}, "epochs must be a whole number of 1 or more, and is 0"),
        ({"folds": True}, "folds must be a whole number of 2 or more"),
        ({"seed": None}, "seed must be a whole number of 0 or more"),
        ({"epochs": 2, "set": {"train.epochs": 3}}, "can't be given together: they are the same"),
        ({"data": 3}, "texts, paths, DataFrames or datasets, and 3 is none of these"),
        ({"columns": ["label=x"]}, "columns must map texts to texts, and is ['label=x']"),
        ({"label_map": {"joy": 1}}, "label_map must map texts to texts, and is {'joy': 1}"),
        ({"ignore_columns": 3}, "ignore_columns must be one or several texts or paths"),
        ({"split": "speakers"}, "Did you mean 'speaker'"),
        ({"verify": "never"}, "There is no choice for verify 'never'"),
    ],
)
def test_wrong_arguments_are_refused_with_a_suggestion(arguments, output, tmp_path):
    with pytest.raises(fusion.UserError) as caught:
        fusion.run(**arguments, out=tmp_path / "run", quiet=True)
    assert output in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_broken_plugin_is_a_warning(tmp_path, monkeypatch):
    from fusion.core.registry.registry import Problem, Registry, Source

    class WithProblem(Registry):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            self.problems.append(Problem(Source("bad", "bad-plugin", "1"), "its import failed"))

    monkeypatch.setattr("fusion.core.registry.registry.Registry", WithProblem)
    with (
        pytest.warns(UserWarning, match="was skipped: its import failed"),
        pytest.raises(fusion.UserError),
    ):
        fusion.run(strategy="gatd", quiet=True)


# -- tables in memory ----------------------------------------------------------------


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """DataFrame of a small corpus below the working folder, with relative paths."""
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    write_corpus(tmp_path)
    return pandas.read_csv("clips.csv").rename(columns={"path": "file"})


def test_a_frame_gives_the_clips_of_the_same_table(clips, tmp_path, monkeypatch):
    plans = []

    def plan(config, out, registry, **_):
        plans.append(make_plan(RunConfig(**config.to_json()), registry))  # as stored in run.json
        raise fusion.FusionError("planned")

    monkeypatch.setattr(experiment, "run_experiment", plan)
    for data in (clips, "clips.csv"):
        with pytest.raises(fusion.FusionError, match="planned"):
            fusion.run(data, features=["first", "second"], strategy="concat", labels="native",
                       plugins="numbers_plugin.py", quiet=True)  # fmt: skip
    ours, table = plans
    (source,) = ours.config.data
    assert Path(source).is_relative_to(tmp_path / "xdg" / "fusion" / "data" / "tables")
    assert len(ours.dataset.clips) == len(table.dataset.clips) == 24
    for own, read in zip(ours.dataset.clips, table.dataset.clips, strict=True):
        assert own.recording.path == tmp_path / read.recording.path
        assert (own.label, own.speaker) == (read.label, read.speaker)
    for part in ("train", "val", "test"):
        assert getattr(ours.splits[0], part).tolist() == getattr(table.splits[0], part).tolist()


def test_the_choice_of_columns_and_labels_reaches_the_request(clips, monkeypatch):
    from fusion.core.runs import request

    class RequestedError(Exception):
        pass

    def stop(options, registry):
        raise RequestedError(options)

    monkeypatch.setattr(request, "config_from", stop)
    with pytest.raises(RequestedError) as caught:
        fusion.run(
            [clips.rename(columns={"label": "Emo"}), "demo", Path("x")],
            columns={"path": "file", "label": "Emo"},
            ignore_columns="t0", label_map={"joy": "happy", "a b": "sad"},
        )  # fmt: skip
    (options,) = caught.value.args
    assert options["data"][1:] == ("demo", "x") and options["data"][0].endswith(".jsonl")
    assert options["columns"] == ("path=file", "label=Emo")
    assert options["ignored_columns"] == ("t0",)
    assert options["label_map"] == ("joy=happy", "a b=sad")


# -- a finished run ------------------------------------------------------------------


def test_the_figures_of_a_result(result):
    assert result.gain == result.results.comparisons["fused"].difference
    assert result.verdict == result.results.verdict
    assert result.report == result.path / "report.html"


def test_history_has_the_epochs_of_every_training(result):
    history = result.history()
    epochs_of = {"mel": 2, "persistence": 2, "fused": 1, "control": 3}
    assert list(history) == [f"fold0/{model}" for model in epochs_of]
    for name, epochs in history.items():
        lines = (result.path / name / "epochs.jsonl").read_text().splitlines()
        assert epochs == [json.loads(line) for line in lines]
        last = epochs_of[name.removeprefix("fold0/")]
        assert [epoch["epoch"] for epoch in epochs] == list(range(1, last + 1))
    assert "val_uar.mel" in history["fold0/fused"][0]


def test_a_result_is_displayed_as_text_and_html(result):
    text, html = str(result), result._repr_html_()
    rows = [line.split()[0] for line in text.splitlines()[1:8]]
    assert rows == ["model", "mel", "persistence", "control", "fused", "ensemble", "chosen"]
    fused = f"{100 * result.results.model('fused').uar.value:.1f}"
    for shown in (text, html):
        assert fused in shown and "no evidence about real speech" in shown
    assert result.verdict in text and html.count("<tr") == 7
    assert "bold" in html
    assert repr(result).startswith(f"RunResult({str(result.path)!r}: UAR fused {fused}, ")


def test_predict_labels_recordings(result):
    from fusion.core.registry.parameters import make
    from fusion.plugins.corpora.demo import Demo

    corpus = make(Demo, None, settings={"speakers": 6, "clips": 2}, owner="demo")
    paths = [clip.recording.path for clip in list(corpus.clips())[:2]]
    matches = result.predict(paths)
    assert [p.path for p in matches] == paths
    for prediction in matches:
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.get)
    (alone,) = result.predict(str(paths[0]))
    assert alone.probabilities == pytest.approx(matches[0].probabilities, abs=1e-6)
    assert "no.wav" in result.predict("no.wav")[0].error


def test_load_and_resume_return_the_result_of_a_finished_run(result):
    for again in (fusion.load(result.path), fusion.resume(str(result.path), quiet=True)):
        assert isinstance(again, fusion.RunResult)
        assert again.results.to_json() == result.results.to_json()


def test_load_refuses_folders_without_a_finished_run(result, tmp_path):
    with pytest.raises(fusion.UserError, match="is not a run directory"):
        fusion.load(tmp_path)
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(result.path, copy)
    (copy / "results.json").unlink()
    with pytest.raises(fusion.UserError, match="is not finished") as caught:
        fusion.load(copy)
    assert f"fusion.resume({str(copy)!r})" in caught.value.hint
    assert (
        fusion.resume(copy, quiet=True, report=False).results.to_json() == result.results.to_json()
    )


def test_ctrl_c_prints_how_to_resume(result, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "resume_experiment", stop)
    with pytest.raises(KeyboardInterrupt) as caught:
        fusion.resume(result.path, quiet=True)
    assert caught.value.__notes__ == [f"To resume: fusion.resume({str(result.path)!r})"]


# -- scripts that call fusion.run ------------------------------------------------------


SCRIPT = """
print("once")
import fusion, sys
result = fusion.run(features=["mel", "persistence"], epochs=1, set={small!r}, cache={cache!r},
                    out="run", jobs=2, quiet=True, report=False)
print(len(result.history()), __file__, __spec__)
"""


def said_by(script):
    return subprocess.run([sys.executable, str(script)], capture_output=True, text=True,
                          check=False, cwd=script.parent)  # fmt: skip


@pytest.mark.slow
def test_a_script_needs_no_main_guard(tmp_path):
    """Extraction, trainings and evaluation each start worker processes."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(small=SMALL, cache=str(tmp_path / "cache")))
    output = said_by(script)
    assert output.stdout.splitlines() == ["once", f"4 {script} None"], output.stderr


def test_import_fusion_loads_no_heavy_package():
    code = ("import sys, fusion; dir(fusion); heavy = {'torch', 'numpy', 'click', 'pluggy'}; "
            "print(sorted(heavy & set(sys.modules)))")  # fmt: skip
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"
