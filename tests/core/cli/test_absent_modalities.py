"""Whole runs on a corpus in which some clips lack a modality."""

import csv
import json
import shutil

import numpy as np
import pytest
from small_runs import SMALL

import fusion
from fusion.core.cli import run_cli
from fusion.core.runs.bundle import write_bundle
from fusion.core.runs.outcome.selection import Selection
from fusion.core.runs.run import Run


@pytest.fixture(scope="module")
def words(corpus, tmp_path_factory):
    """Table with three numbers for two of three clips."""
    rng = np.random.default_rng(0)
    table = tmp_path_factory.mktemp("words") / "words.csv"
    with corpus.open() as file:
        clips = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "a", "b", "c"])
        for i, clip in enumerate(clips):
            if i % 3:
                message = float(clip["label"] == "happy") + 0.5 * rng.normal()
                rows.writerow([corpus.parent / clip["path"], message, *rng.normal(size=2)])
    return table


def settings(*passed):
    return [part for setting in passed for part in ("--set", setting)]


def arguments(corpus, cache, words, out, strategy):
    small = [
        x
        for x in SMALL
        if x not in ("--set", "--features", "--jobs", "2") and "persistence" not in x
    ]
    return ["--data", str(corpus), "--cache", cache, "--out", str(out), "--epochs", "2",
            "--features", "mel,precomputed", "--strategy", strategy, "--jobs", "2",
            *settings(f"precomputed.table={words}", *small)]  # fmt: skip


@pytest.fixture(scope="module")
def gated(corpus, cache, words, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "gated"
    assert run_cli(["run", *arguments(corpus, cache, words, out, "gated")]) == 0
    return out


def test_a_run_keeps_clips_that_lack_a_modality(gated):
    info = json.loads((gated / "run.json").read_text())
    assert info["absent"] == {"precomputed": 18} and not info["failures"]
    with (gated / "clips.csv").open() as file:
        clips = list(csv.DictReader(file))
    assert len(clips) == 54
    assert sum(clip["absent"] == "precomputed" for clip in clips) == 18


def test_a_unimodal_model_predicts_class_shares_for_clips_that_lack_its_modality(gated):
    with (gated / "clips.csv").open() as file:
        clips = list(csv.DictReader(file))
    lacking = {clip["name"] for clip in clips if clip["absent"]}
    train = [clip["label"] for clip in clips if clip["fold0"] == "train"]
    share = train.count("happy") / len(train)
    with (gated / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "precomputed"]
    message = {row["clip"]: float(row["p_happy"]) for row in rows}
    assert {name for name in message if name in lacking}
    assert all(
        message[name] == pytest.approx(share, abs=1e-6) for name in message if name in lacking
    )
    assert not any(
        message[name] == pytest.approx(share, abs=1e-6) for name in set(message) - lacking
    )


def test_commands_on_a_finished_run_accept_absent_modalities(gated, corpus, capsys):
    for command in (["diagnose", gated], ["explain", gated], ["report", gated]):
        assert run_cli([str(part) for part in command]) == 0, capsys.readouterr().err
    output = capsys.readouterr().out
    assert "Some clips lack a modality; the figures are of the" in output
    page = (gated / "report.html").read_text()
    assert "18 have no precomputed" in page
    first = corpus.parent / "s0-happy-0.wav"  # this clip has no precomputed feature
    chosen = json.loads((gated / "run.json").read_text())["handed_out"]
    code = run_cli(["predict", str(gated), str(first)])
    alone = {branch["modality"]["name"] for m in chosen for branch in m["spec"]["branches"]}
    assert code == (2 if alone == {"precomputed"} else 0)


def test_a_strategy_that_can_not_handle_absence_is_a_warning_before_training(
    corpus, cache, words, tmp_path, capsys
):
    out = tmp_path / "run"
    assert run_cli(["run", *arguments(corpus, cache, words, out, "concat")]) == 0
    output = capsys.readouterr()
    text = output.out + output.err
    warning = text.index("18 of 54 clips have no precomputed. Missing modalities are replaced by")
    assert warning < text.index("training ")
    assert "gated" in text[warning : warning + 300]


def test_a_resumed_run_gives_the_same_predictions(corpus, cache, words, gated, tmp_path):
    """Absent modalities are read from the run directory, not determined again."""
    again = tmp_path / "again"
    shutil.copytree(gated, again)
    for name in ("results.json", "model.safetensors", "selection.json"):
        (again / name).unlink()
    shutil.rmtree(again / "fold0" / "precomputed")
    info = json.loads((again / "run.json").read_text())
    del info["handed_out"]
    (again / "run.json").write_text(json.dumps(info))
    assert run_cli(["run", "--resume", str(again)]) == 0
    assert (again / "predictions.csv").read_text() == (gated / "predictions.csv").read_text()


def test_a_table_without_any_clip_is_refused(corpus, cache, tmp_path, capsys):
    table = tmp_path / "words.csv"
    table.write_text("path,a\nelsewhere.wav,1\n")
    assert run_cli(["run", *arguments(corpus, cache, table, tmp_path / "run", "gated")]) == 2
    output = capsys.readouterr().err
    assert "No clip has the feature 'precomputed'" in output and "has no row for" in output


# -- new recordings -------------------------------------------------------------------


@pytest.fixture
def ensemble(gated, tmp_path):
    """Return the run as if validation had chosen the ensemble, which uses every modality."""
    out = tmp_path / "ensemble"
    shutil.copytree(gated, out)
    run = Run(out)
    chosen = run.read_json("selection.json")
    for fold in chosen["folds"]:
        fold.update(chosen="ensemble", weights={"mel": 0.5, "precomputed": 0.5})
    members = write_bundle(run, Selection.from_json(chosen))
    run.finish(members, 1.0)
    return out


@pytest.fixture
def new(corpus, tmp_path):
    """Return a folder with two new recordings, and a table with a row for the first."""
    for name in ("n0.wav", "n1.wav"):
        shutil.copy(corpus.parent / "s0-happy-1.wav", tmp_path / name)
    (tmp_path / "new.csv").write_text("path,a,b,c\nn0.wav,5,0,0\n")
    return tmp_path


def test_predict_reads_features_of_new_recordings_from_another_table(ensemble, new, capsys):
    files = [str(new / name) for name in ("n0.wav", "n1.wav")]
    assert run_cli(["predict", str(ensemble), *files]) == 0
    output = capsys.readouterr()
    assert "2 of 2 recordings have no precomputed: labelled without it" in output.err
    other = ["--set", f"precomputed.table={new / 'new.csv'}"]
    assert run_cli(["predict", str(ensemble), *files, "--json", *other]) == 0
    output = capsys.readouterr()
    first, second = map(json.loads, output.out.splitlines())
    assert (first["lacking"], second["lacking"]) == ([], ["precomputed"])
    assert first["probabilities"] != second["probabilities"]  # both recordings are the same sound
    assert "1 of 2 recordings have no precomputed" in output.err
    settings = {"precomputed": {"table": str(new / "new.csv")}}
    again = fusion.load(ensemble).predict(files, settings=settings)
    assert [p.lacking for p in again] == [(), ("precomputed",)]
    assert again[0].probabilities == pytest.approx(first["probabilities"], abs=1e-6)


def test_a_row_may_be_added_to_the_table_of_a_trained_model(ensemble, new, words, capsys):
    """The model depends neither on the path of the table nor on its other rows."""
    before = words.read_text()
    words.write_text(f"{before}{new / 'n0.wav'},5,0,0\n")
    try:
        assert run_cli(["predict", str(ensemble), str(new / "n0.wav")]) == 0
        assert not capsys.readouterr().err
    finally:
        words.write_text(before)


REFUSED = {
    "mel.hop=100": (
        "The feature mel has changed since the training: hop was 512 and is now 100",
        "--set mel.hop=512",
    ),
    "precomputed.columns=a": (
        'precomputed has changed since the training: columns was ["a", "b", "c"] and is now ["a"]',
        "--set precomputed.columns=a,b,c",
    ),
    "train.epochs=3": (
        "'train' is not a feature of this run",
        "The model takes: mel, precomputed.",
    ),
    "precomputed.tabel=x": ("no parameter of precomputed 'tabel'", "Did you mean 'table'"),
    "precomputed.table=no.csv": ("no.csv can't be read", "--set precomputed.table=FILE.csv"),
}


@pytest.mark.parametrize("setting", REFUSED)
def test_other_features_of_a_trained_model_can_not_be_set(ensemble, new, setting, capsys):
    assert run_cli(["predict", str(ensemble), str(new / "n0.wav"), "--set", setting]) == 2
    output = capsys.readouterr().err
    assert all(part in output for part in REFUSED[setting]), output


# -- how absence is reported -----------------------------------------------------------


def test_cache_why_counts_clips_that_lack_a_modality(gated, capsys):
    assert run_cli(["cache", "why", str(gated)]) == 0
    output = capsys.readouterr().out
    assert "precomputed: 18 clips have no precomputed" in output
    assert "(36 clips): found" in output and "(54 clips): found" in output
    assert run_cli(["cache", "why", str(gated), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["absent"] == {"precomputed": 18}


LACK = "18 clips have no precomputed. For these clips the baseline of the modality predicts"


@pytest.mark.slow
def test_a_comparison_reports_how_many_clips_lack_a_modality(
    corpus, cache, words, tmp_path, capsys
):
    passed = arguments(corpus, cache, words, tmp_path / "out", "gated")
    for option, instead in (
        ("--strategy", ["--strategies", "gated", "--no-controls"]),
        ("--epochs", ["--budget", "4"]),
    ):
        index = passed.index(option)
        passed[index : index + 2] = instead
    assert run_cli(["compare", *passed]) == 0
    assert LACK in " ".join(capsys.readouterr().out.split())
    assert LACK in (tmp_path / "out" / "table.md").read_text()
    assert json.loads((tmp_path / "out/results.json").read_text())["absent"] == {"precomputed": 18}


@pytest.mark.slow
def test_an_audit_reports_how_many_clips_lack_a_modality(corpus, cache, words, tmp_path, capsys):
    passed = arguments(corpus, cache, words, tmp_path / "out", "gated")
    assert run_cli(["audit", *passed, "--splits", "speaker"]) == 0
    assert LACK in " ".join(capsys.readouterr().out.split())
    assert json.loads((tmp_path / "out/audit.json").read_text())["absent"] == {"precomputed": 18}
