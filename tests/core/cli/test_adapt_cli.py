"""Whole runs with features standardised by the unlabelled clips of each speaker."""

import contextlib
import csv
import io
import json
import shutil

import numpy as np
import pytest
from small_runs import SMALL

import fusion
from fusion.core.cli import run_cli
from fusion.core.data.adaptation import FOLDER
from fusion.core.data.task import NAME, SENTENCE

ADAPTED = [
    "--adapt",
    "speaker",
    "--set",
    "train.epochs=3",
    "--set",
    "train.precision=float32",
    *SMALL,
]


def run(corpus, cache, out, *more):
    return run_cli(["run", "--data", str(corpus), "--cache", cache, "--out", str(out), *more])


@pytest.fixture(scope="module")
def printed(corpus, cache, tmp_path_factory):
    """Run directory of a finished run, and its standard output and standard error."""
    out = tmp_path_factory.mktemp("runs") / "adapted"
    texts = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(texts[0]), contextlib.redirect_stderr(texts[1]):
        assert run(corpus, cache, out, "--strategy", "gated", *ADAPTED) == 0
    return out, texts[0].getvalue(), texts[1].getvalue()


@pytest.fixture(scope="module")
def adapted(printed):
    return printed[0]


@pytest.fixture(scope="module")
def words(corpus, tmp_path_factory):
    """Table with three numbers for two of three clips.

    The first number is shifted and scaled by factors of each speaker.
    """
    rng = np.random.default_rng(0)
    table = tmp_path_factory.mktemp("words") / "words.csv"
    with corpus.open() as file:
        clips = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "a", "b", "c"])
        for i, clip in enumerate(clips):
            if i % 3:
                own = 10.0 * int(clip["speaker"][1:])
                heard = own + (1 + own) * float(clip["label"] == "happy") + 0.1 * rng.normal()
                rows.writerow([corpus.parent / clip["path"], heard, 7.0, rng.normal()])
    return table


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def speaker_folder(corpus, tmp_path, speaker):
    folder = tmp_path / "unlabelled" / "deeper"
    folder.mkdir(parents=True)
    for file in corpus.parent.glob(f"{speaker}-*.wav"):
        shutil.copy(file, folder / f"take {file.name}")
    return folder.parent


def a_test_clip(run_dir):
    """Return a test speaker, one of their clips, and the probabilities that the run predicted."""
    row = next(r for r in rows_of(run_dir / "predictions.csv") if r["model"] == "chosen")
    return row["speaker"], row["clip"], [float(row["p_happy"]), float(row["p_sad"])]


def test_every_output_names_the_task(printed, capsys):
    out, results, progress = printed
    assert f"{NAME}: features are standardised" in progress and "6 clips per speaker" in progress
    assert f"on held-out speakers, {NAME}" in results and SENTENCE in results
    assert "FILE... --speaker-from DIR" in results
    info = json.loads((out / "run.json").read_text())
    assert info["task"] == SENTENCE and info["config"]["adapt"] == "speaker"
    assert json.loads((out / "results.json").read_text())["verdict"].startswith(SENTENCE)
    report = (out / "report.html").read_text()
    assert SENTENCE in report and "--adapt speaker" in report
    result = fusion.load(out)
    assert SENTENCE in str(result) and NAME in str(result).splitlines()[0]
    assert run_cli(["run", "--resume", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["adapt"] == "speaker"


def test_a_plain_run_does_not_mention_adaptation(finished):
    assert "task" not in json.loads((finished / "run.json").read_text())
    assert NAME not in (finished / "report.html").read_text().lower()
    assert not (finished / FOLDER).exists()


def test_commands_on_a_finished_run_name_the_task(adapted, finished, capsys, tmp_path):
    for command in (["diagnose", adapted], ["explain", adapted], ["report", adapted]):
        assert run_cli([str(part) for part in command]) == 0, capsys.readouterr().err
        said = capsys.readouterr().out
        assert SENTENCE in said or command[0] == "report"
    several = tmp_path / "two.html"
    assert run_cli(["report", str(adapted), str(finished), "--out", str(several)]) == 0
    assert SENTENCE in several.read_text()


def test_a_resumed_run_gives_the_same_figures(adapted, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(adapted, again)
    for name in ("results.json", "predictions.csv", "selection.json", "model.safetensors"):
        (again / name).unlink()
    shutil.rmtree(again / "fold0" / "fused")
    shutil.rmtree(again / FOLDER)
    info = json.loads((again / "run.json").read_text())
    del info["handed_out"]
    (again / "run.json").write_text(json.dumps(info))
    assert run_cli(["run", "--resume", str(again), "--quiet"]) == 0
    for name in ("results.json", "predictions.csv"):
        assert (again / name).read_text() == (adapted / name).read_text()
    assert (again / "model.safetensors").read_bytes() == (
        adapted / "model.safetensors"
    ).read_bytes()


def test_predict_agrees_with_the_test_predictions(adapted, corpus, tmp_path, capsys):
    speaker, clip, expected = a_test_clip(adapted)
    folder = speaker_folder(corpus, tmp_path, speaker)
    file = str(corpus.parent / clip)
    assert run_cli(["predict", str(adapted), file, "--speaker-from", str(folder)]) == 0
    said = capsys.readouterr()
    assert SENTENCE in said.out and "6 recordings" in said.err
    assert run_cli(["predict", str(adapted), file, "--speaker-from", str(folder), "--json"]) == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["task"] == SENTENCE
    assert list(line["probabilities"].values()) == pytest.approx(expected, abs=1e-4)
    (found,) = fusion.load(adapted).predict(file, speaker_from=folder)
    assert list(found.probabilities.values()) == pytest.approx(expected, abs=1e-4)


def test_unreadable_recordings_of_the_speaker_are_counted(adapted, corpus, tmp_path, capsys):
    folder = speaker_folder(corpus, tmp_path, "s1")
    (folder / "broken.wav").write_bytes(b"no sound")
    (folder / "notes.txt").write_text("no recording")
    file = str(corpus.parent / "s1-sad-0.wav")
    assert run_cli(["predict", str(adapted), file, "--speaker-from", str(folder)]) == 0
    said = capsys.readouterr().err
    assert "6 recordings" in said and "1 of 7 recordings of the speaker can't be read" in said


def test_four_files_give_the_statistics_and_fewer_are_refused(adapted, corpus, capsys):
    files = [str(file) for file in sorted(corpus.parent.glob("s2-*.wav"))]
    assert run_cli(["predict", str(adapted), *files[:4]]) == 0
    assert "come from the files themselves, 4 recordings" in capsys.readouterr().err
    assert run_cli(["predict", str(adapted), *files[:3]]) == 2
    said = capsys.readouterr().err
    assert (
        "recordings of the speaker: 3. The run is speaker-adapted and needs 4 or more" in said
        and "--speaker-from DIR" in said
    )
    result = fusion.load(adapted)
    with pytest.warns(UserWarning, match="the files themselves"):
        assert len(result.predict(files)) == 6
    with pytest.raises(fusion.FusionError, match="unlabelled recordings"):
        result.predict(files[0])


def test_mistakes_in_speaker_adaptation(adapted, finished, corpus, tmp_path, capsys):
    file = str(corpus.parent / "s1-sad-0.wav")
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.wav").write_bytes(b"no sound")
    for arguments, text in (
        (["predict", finished, file, "--speaker-from", tmp_path], "not speaker-adapted"),
        (["predict", adapted, file, "--speaker-from", empty], "holds no recordings"),
        (["predict", adapted, file, "--speaker-from", tmp_path / "none"], "is not a folder"),
        (["predict", adapted, file, "--speaker-from", broken], "can be read"),
        (["explain", adapted, "--speaker-from", empty], "--clip"),
        (["explain", adapted, "--clip", file], "needs 4 or more unlabelled recordings"),
        (
            ["run", "--resume", adapted, "--adapt", "speaker"],
            "--adapt can't be given with --resume",
        ),
        (["run", "--data", corpus, "--adapt", "sex"], "speaker"),
    ):
        assert run_cli([str(part) for part in arguments]) == 2, arguments
        assert text in capsys.readouterr().err, arguments
    with pytest.raises(fusion.FusionError, match="adapt"):
        fusion.run(str(corpus), adapt="speakers", out=tmp_path / "out", quiet=True)


def test_a_corpus_without_speakers_is_refused(corpus, tmp_path, capsys):
    table = tmp_path / "own.csv"
    with corpus.open() as file, table.open("w", newline="") as target:
        rows = csv.writer(target)
        rows.writerow(["path", "label", "speaker"])
        for i, clip in enumerate(csv.DictReader(file)):
            rows.writerow([corpus.parent / clip["path"], clip["label"], i])
    assert run_cli(["run", "--data", str(table), "--adapt", "speaker"]) == 2
    said = capsys.readouterr().err
    assert "each of the 54 clips has a different speaker" in said and "column speaker" in said


def test_an_explained_clip_has_the_probabilities_of_the_test(adapted, corpus, tmp_path, capsys):
    speaker, clip, expected = a_test_clip(adapted)
    folder = speaker_folder(corpus, tmp_path, speaker)
    file = str(corpus.parent / clip)
    arguments = ["explain", str(adapted), "--clip", file, "--speaker-from", str(folder), "--json"]
    assert run_cli(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert SENTENCE in found["notes"]
    assert list(found["clips"][0]["probabilities"].values()) == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_adaptation_with_folds_half_precision_and_absent_modalities(
    corpus, cache, words, tmp_path, capsys
):
    out = tmp_path / "folds"
    small = [x for x in SMALL if "=" in x and "persistence" not in x]
    given = [f"precomputed.table={words}", "train.epochs=8", "train.precision=float32", *small]
    assert run(corpus, cache, out, "--adapt", "speaker", "--features", "mel,precomputed",
               "--folds", "3", "--dtype", "float16", "--strategy", "gated", "--quiet",
               "--jobs", "2", *[part for x in given for part in ("--set", x)]) == 0  # fmt: skip
    info = json.loads((out / "run.json").read_text())
    assert info["absent"] == {"precomputed": 18} and len(info["handed_out"]) >= 3
    # Without the offset and scale of a speaker, one number separates the classes.
    models = {m["name"]: m for m in json.loads((out / "results.json").read_text())["models"]}
    assert models["fused"]["uar"]["value"] > 0.65
    row = next(r for r in rows_of(out / "predictions.csv") if r["model"] == "chosen")
    folder = speaker_folder(corpus, tmp_path, row["speaker"])
    capsys.readouterr()
    file = str(corpus.parent / row["clip"])
    assert run_cli(["predict", str(out), file, "--speaker-from", str(folder)]) == 0
    said = capsys.readouterr()
    assert "no recording of the speaker has precomputed" in said.err
    for command in ("diagnose", "explain"):
        assert run_cli([command, str(out)]) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_a_comparison_and_an_audit_name_the_task(corpus, cache, tmp_path, capsys):
    given = ["--data", str(corpus), "--cache", cache, *ADAPTED]
    out = tmp_path / "grid"
    assert run_cli(["compare", "--strategies", "concat", "--no-controls", "--out", str(out),
                    *given]) == 0  # fmt: skip
    said = capsys.readouterr()
    assert SENTENCE in said.out and NAME in said.err
    assert SENTENCE in (out / "table.md").read_text()
    assert json.loads((out / "results.json").read_text())["task"] == SENTENCE
    cell, baselines = (out / "seed0" / name / FOLDER for name in ("concat+none", "baselines"))
    assert {f.stat().st_ino for f in cell.iterdir()} == {
        f.stat().st_ino for f in baselines.iterdir()
    }
    out = tmp_path / "audit"
    assert run_cli(["audit", "--splits", "random,speaker", "--out", str(out), *given]) == 0
    said = capsys.readouterr()
    assert SENTENCE in said.out and f"and split, {NAME}" in said.out and NAME in said.err
    found = json.loads((out / "audit.json").read_text())
    assert found["task"] == SENTENCE and SENTENCE in found["sentences"]


def test_a_repair_of_an_adapted_run_stays_adapted(adapted, tmp_path, capsys):
    out = tmp_path / "repair"
    assert run_cli(["repair", str(adapted), "--out", str(out), "--target", "minimum",
                    "--budget", "0.001min", "--quiet"]) in (0, 1)  # fmt: skip
    assert SENTENCE in capsys.readouterr().out
    assert json.loads((out / "repair.json").read_text())["verdict"].startswith(SENTENCE)
