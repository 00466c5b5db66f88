"""Whole runs under ``--split published``, and on speakers with several names."""

import csv
import json
import shutil

import pytest

from fusion.core.cli import run_cli

MEL = ["--features", "mel", "--strategy", "concat", "--epochs", "1", "--jobs", "1",
       "--set", "mel.n_mels=16", "--set", "mel.frames=32", "--set", "train.dim=8",
       "--set", "branch.mel.blocks=2", "--set", "branch.mel.channels=4"]  # fmt: skip
PARTS = ("train", "val", "test")


@pytest.fixture(scope="module")
def tables(corpus, tmp_path_factory):
    """Function that writes a table of the tones with other columns, and returns its path."""
    folder = tmp_path_factory.mktemp("published")
    shutil.copytree(corpus.parent, folder, dirs_exist_ok=True)
    with corpus.open(newline="") as file:
        rows = list(csv.DictReader(file))

    def write(name, **columns):
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*rows[0], *(c for c in columns if c not in rows[0])])
            for row in rows:
                values = {**row, **{c: of(row) for c, of in columns.items()}}
                writer.writerow(values.values())
        return folder / name

    return write


def take(row):
    """Return the number of the take; every speaker says every take."""
    return int(row["path"][-5])


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    """Function that runs on a table, and returns the exit code and the run directory."""

    def ran(table, *options):
        out = tmp_path_factory.mktemp("runs") / "run"
        command = ["run", "--data", str(table), "--cache", cache, "--out", str(out), *MEL]
        return run_cli([*command, *options]), out

    return ran


def test_a_published_split_that_shares_speakers_is_speaker_dependent_everywhere(
    tables, run, cache, capsys
):
    table = tables("shared.csv", split=lambda row: PARTS[take(row)])
    code, out = run(table)
    assert code == 2 and not out.exists()
    assert "9 of 9 speakers are in more than one part" in (output := capsys.readouterr().err)
    assert "--split published" in output

    code, out = run(table, "--split", "published")
    output = capsys.readouterr()
    assert code == 0
    assert "9 of 9 test speakers are also in training or validation" in output.err
    assert "Test, published split, SPEAKER-DEPENDENT (" in output.out
    assert "Speaker-dependent: in the published split, test speakers also occur" in output.out
    split = json.loads((out / "run.json").read_text())["split"]
    assert (split["mode"], split["speaker_independent"]) == ("published", False)
    with (out / "clips.csv").open(newline="") as file:
        assert {(take({"path": c["name"]}), c["fold0"]) for c in csv.DictReader(file)} == set(
            enumerate(PARTS)
        )
    assert run_cli(["report", str(out)]) == 0
    html = (out / "report.html").read_text()
    assert "published split, SPEAKER-DEPENDENT" in html and "Speaker-dependent: in the" in html
    capsys.readouterr()
    assert run_cli(["run", "--resume", str(out)]) == 0
    assert "Test, published split, SPEAKER-DEPENDENT (" in capsys.readouterr().out


def test_a_published_split_of_new_speakers_is_speaker_independent(tables, run, capsys):
    table = tables("apart.csv", split=lambda row: PARTS[int(row["speaker"][1]) // 3])
    code, out = run(table, "--split", "published", "--json")
    output = capsys.readouterr()
    assert code == 0
    answer = json.loads(output.out)
    assert answer["split"] == "published" and answer["speaker_independent"] is True
    assert run_cli(["run", "--resume", str(out)]) == 0
    output = capsys.readouterr().out
    assert "Test, published split, on held-out speakers (" in output
    assert "dependent" not in output.lower().replace("independent", "")


def test_published_folds_are_followed(tables, run, capsys):
    code, out = run(tables("folds.csv", fold=lambda row: take(row) + 1), "--split", "published")
    output = capsys.readouterr()
    assert code == 0
    assert "split     3 folds; the first" in output.err
    assert "9 of 9 test speakers are also in training or validation" in output.err
    assert "Test, published split, SPEAKER-DEPENDENT (" in output.out
    with (out / "clips.csv").open(newline="") as file:
        for clip in csv.DictReader(file):
            assert clip[f"fold{take({'path': clip['name']})}"] == "test"


def test_a_published_split_needs_a_prescription(corpus, run, capsys):
    code, out = run(corpus, "--split", "published")
    assert code == 2 and not out.exists()
    assert "table prescribes neither" in capsys.readouterr().err


def test_spellings_of_a_speaker_are_printed_and_kept_in_one_part(tables, run, capsys):
    """Speaker s3 is written in two ways, and s5 has a copy of a recording of s4."""
    table = tables("names.csv", speaker=lambda row: f" S{row['speaker'][1:].zfill(2)}"
                   if row["path"].startswith("s3-sad") else row["speaker"])  # fmt: skip
    shutil.copy(table.parent / "s4-sad-0.wav", table.parent / "s5-sad-0.wav")
    code, out = run(table)
    output = capsys.readouterr()
    assert code == 0
    assert "speakers that are one person: S03 = s3; s4 = s5" in output.err
    with (out / "clips.csv").open(newline="") as file:
        clips = list(csv.DictReader(file))
    assert {c["speaker"] for c in clips} == {*(f"s{i}" for i in (0, 1, 2, 4, 6, 7, 8)), "S03"}
    parts = {name: {c["fold0"] for c in clips if c["name"][:2] in name} for name in ("s3", "s4 s5")}
    assert all(len(part) == 1 for part in parts.values())
