"""Whole runs on a corpus of which some clips lack a modality."""

import csv
import json

import numpy as np
import pytest
from small_runs import SMALL

from fusion.core.cli import run_cli


@pytest.fixture(scope="module")
def words(corpus, tmp_path_factory):
    """Three numbers for two of three clips."""
    rng = np.random.default_rng(0)
    table = tmp_path_factory.mktemp("words") / "words.csv"
    with corpus.open() as file:
        clips = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "a", "b", "c"])
        for i, clip in enumerate(clips):
            if i % 3:
                told = float(clip["label"] == "happy") + 0.5 * rng.normal()
                rows.writerow([corpus.parent / clip["path"], told, *rng.normal(size=2)])
    return table


def settings(*given):
    return [part for setting in given for part in ("--set", setting)]


def arguments(corpus, cache, words, out, strategy):
    small = [x for x in SMALL if x not in ("--set", "--jobs", "2") and "persistence" not in x]
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


def test_a_modality_alone_says_of_them_how_frequent_classes_are(gated):
    with (gated / "clips.csv").open() as file:
        clips = list(csv.DictReader(file))
    lacking = {clip["name"] for clip in clips if clip["absent"]}
    train = [clip["label"] for clip in clips if clip["fold0"] == "train"]
    share = train.count("happy") / len(train)
    with (gated / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "precomputed"]
    told = {row["clip"]: float(row["p_happy"]) for row in rows}
    assert {name for name in told if name in lacking}
    assert all(told[name] == pytest.approx(share, abs=1e-6) for name in told if name in lacking)
    assert not any(told[name] == pytest.approx(share, abs=1e-6) for name in set(told) - lacking)


def test_what_comes_after_a_run_copes(gated, corpus, capsys):
    for command in (["diagnose", gated], ["explain", gated], ["report", gated]):
        assert run_cli([str(part) for part in command]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "Some clips lack a modality: these are the" in said
    page = (gated / "report.html").read_text()
    assert "18 have no precomputed" in page
    first = corpus.parent / "s0-happy-0.wav"  # which has no words
    chosen = json.loads((gated / "run.json").read_text())["handed_out"]
    code = run_cli(["predict", str(gated), str(first)])
    alone = {branch["modality"]["name"] for m in chosen for branch in m["spec"]["branches"]}
    assert code == (2 if alone == {"precomputed"} else 0)


def test_a_strategy_that_cannot_be_told_says_so_before_training(
    corpus, cache, words, tmp_path, capsys
):
    out = tmp_path / "run"
    assert run_cli(["run", *arguments(corpus, cache, words, out, "concat")]) == 0
    said = capsys.readouterr()
    text = said.out + said.err
    warning = text.index("18 of 54 clips have no precomputed, and concat can't be told so")
    assert warning < text.index("training ")
    assert "gated" in text[warning : warning + 300]


def test_a_run_goes_on_as_if_it_had_never_stopped(corpus, cache, words, gated, tmp_path):
    """Which clips lack what is kept in the run directory, not asked again."""
    import shutil

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


def test_a_table_of_nobody_is_refused(corpus, cache, tmp_path, capsys):
    table = tmp_path / "words.csv"
    table.write_text("path,a\nelsewhere.wav,1\n")
    assert run_cli(["run", *arguments(corpus, cache, table, tmp_path / "run", "gated")]) == 2
    said = capsys.readouterr().err
    assert "No clip has the feature 'precomputed'" in said and "has no row for" in said
