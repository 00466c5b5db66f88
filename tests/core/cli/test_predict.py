"""``fusion predict``: labels from a finished run, and its output with a stub model."""

import contextlib
import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from stepped_recordings import stepped_run as stepped_run
from stepped_recordings import windowed_run as windowed_run
from stepped_recordings import write_steps

from fusion.core.cli import predict, run_cli
from fusion.core.runs import predictor
from fusion.core.runs.prediction import Prediction


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict_labels_new_recordings(finished, corpus, capsys):
    wav = str(corpus.parent / "s0-happy-0.wav")
    assert run_cli(["predict", str(finished), wav, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["file"] == wav
    assert set(result["probabilities"]) == {"happy", "sad"}
    assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert result["label"] == max(result["probabilities"], key=result["probabilities"].get)


def test_predict_agrees_with_the_run_on_its_own_test_clips(finished, corpus, capsys):
    own = [r for r in rows_of(finished / "predictions.csv") if r["model"] == "chosen"]
    files = [str(corpus.parent / r["clip"].removeprefix("table/")) for r in own]
    assert run_cli(["predict", str(finished), *files, "--json"]) == 0
    result = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # The run may have computed in bfloat16; predict always computes in float32.
    for row, one in zip(own, result, strict=True):
        assert one["probabilities"]["sad"] == pytest.approx(float(row["p_sad"]), abs=0.02)


def test_predict_reports_a_bad_file_and_labels_the_rest(finished, corpus, tmp_path, capsys):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    good = str(corpus.parent / "s0-happy-0.wav")
    assert run_cli(["predict", str(finished), str(bad), good]) == 2
    recorded = capsys.readouterr()
    assert "bad.wav" in recorded.err
    assert good in recorded.out and "bad.wav" not in recorded.out


def test_predict_without_a_run(capsys, tmp_path):
    assert run_cli(["predict", str(tmp_path), "x.wav"]) == 2
    assert "run.json" in capsys.readouterr().err


# -- output with a stub model ----------------------------------------------------------

NASTY = "[/bold]\x1b[31m"


@pytest.fixture
def said(monkeypatch, capsys):
    """Function that returns the exit code and output of `fusion predict` for given predictions."""

    def say(answers, *options, task=(), notes=(), note=None, divides=True):
        created = SimpleNamespace(
            warnings=["mel is older"], task=list(task), classes=("low", NASTY),
            adapt_to=lambda files, folder: list(notes), predict=lambda names: answers,
            window=1.0, divides=divides, length_note=lambda: note,
        )  # fmt: skip
        monkeypatch.setattr(predictor, "Predictor", lambda run, settings: created)
        monkeypatch.setattr(predict, "open_run", lambda ctx, run: None)
        files = [str(answer.path) for answer in answers]
        return run_cli(["predict", "run", *files, *options]), *capsys.readouterr()

    return say


def answer(name="a.wav", label="low", p=0.75, lacking=(), error=None):
    shares = {} if error else {"low": p, NASTY: 1 - p}
    return Prediction(Path(name), label, shares, error, lacking)


def test_a_line_has_the_file_the_label_and_every_probability(said):
    code, out, err = said([answer(), answer("longer.wav", NASTY, 0.25)])
    assert code == 0
    assert out.splitlines() == [
        "file        label            low  [/bold]?[31m",
        "a.wav       low            0.750     0.250",
        "longer.wav  [/bold]?[31m     0.250     0.750",
    ]
    assert err == "warning: mel is older\n"


def test_unprintable_file_names_are_shown_without_control_characters(said):
    _, out, err = said([answer(NASTY), answer("b\udcff"), answer("c", error=f"{NASTY} is none")])
    assert "\x1b" not in out + err
    assert out.splitlines()[1].startswith("[/bold]?[31m  low")
    assert out.splitlines()[2].startswith("b?            low")
    assert "error: [/bold]?[31m is none" in err


def test_absent_modalities_are_counted_at_the_end(said):
    code, _, err = said([answer(lacking=("text",)), answer(), answer(error="no sound")])
    assert code == 2
    assert err.endswith("warning: 1 of 2 recordings have no text: labelled without it\n")


def test_a_table_without_lines_has_no_header(said):
    code, out, err = said([answer(error="a is none"), answer("b.wav", error="b is none")])
    assert code == 2 and out == "" and "a is none" in err and "b is none" in err
    _, out, _ = said([answer(error="a is none"), answer("b.wav")])
    assert [line.split()[0] for line in out.splitlines()] == ["file", "b.wav"]


def test_json_has_a_line_for_every_file_even_for_a_failed_one(said):
    answers = [answer(lacking=("text",)), answer("b.wav", None, error="no sound")]
    code, out, _ = said(answers, "--json", task=["Speaker-adapted."])
    first, second = map(json.loads, out.splitlines())
    assert code == 2
    assert first == {"file": "a.wav", "label": "low", "probabilities": {"low": 0.75, NASTY: 0.25},
                     "lacking": ["text"], "error": None, "task": "Speaker-adapted.",
                     "start": 0.0, "end": None, "windows": []}  # fmt: skip
    assert (second["error"], second["label"], second["probabilities"]) == ("no sound", None, {})


def test_the_task_is_printed_first_and_notes_on_a_given_speaker_folder_are_no_warnings(said):
    _, out, err = said([answer()], task=["Speaker-adapted."], notes=["of a.wav"])
    assert out.startswith("Speaker-adapted.\nfile ") and "warning: of a.wav" in err
    _, _, err = said([answer()], "--speaker-from", "d", notes=["of d", "2 are unreadable"])
    assert "\nof d\nwarning: 2 are unreadable\n" in err


def test_notes_on_long_recordings(said):
    _, _, err = said([answer()], note="1 of 1 recordings are labelled by the mean")
    assert err.endswith("\n1 of 1 recordings are labelled by the mean\n")
    _, _, err = said([answer()], note="1 of 1 recordings are longer", divides=False)
    assert err.endswith("\nwarning: 1 of 1 recordings are longer\n")


def test_csv_replaces_the_table(said, tmp_path):
    file = tmp_path / "labels.csv"
    answers = [answer("b\udcff.wav"), answer("=c.wav", None, error="=c.wav: no sound")]
    code, out, err = said(answers, "--csv", str(file), task=["Speaker-adapted."])
    assert code == 2 and out == "" and "error: =c.wav: no sound" in err
    assert "Speaker-adapted.\n" in err and err.endswith(f"predictions written to {file}\n")
    assert file.read_bytes().splitlines() == [
        b"file,start,end,label,confidence,p_low,p_[/bold]\x1b[31m,error",
        b"b\xff.wav,0,,low,0.750000,0.750000,0.250000,",
        b"'=c.wav,0,,,,,,'=c.wav: no sound",
    ]


def test_csv_on_standard_output(said):
    code, out, err = said([answer()], "--csv", "-")
    assert code == 0 and out.splitlines()[1] == "a.wav,0,,low,0.750000,0.750000,0.250000,"
    assert "written" not in err


def test_json_and_csv_exclude_each_other(said, tmp_path):
    code, out, err = said([answer()], "--json", "--csv", str(tmp_path / "x.csv"))
    assert code == 2 and out == "" and "can't be given together" in err
    assert list(tmp_path.iterdir()) == []


def test_a_csv_file_that_can_not_be_written_is_an_error(said, tmp_path):
    code, _, err = said([answer()], "--csv", str(tmp_path / "no" / "x.csv"))
    assert code == 2 and "can't be written: No such file" in err


@pytest.mark.parametrize("output", ["t.csv", "./deep/../t.csv", "link", "a.wav"])
def test_a_file_that_is_read_is_not_overwritten(said, tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    Path("deep").mkdir()
    Path("t.csv").write_text("path\na.wav\n")
    Path("a.wav").write_bytes(b"sound")
    Path("link").symlink_to("t.csv")
    code, out, err = said([], "t.csv", "--csv", output)
    assert code == 2 and out == "" and f"--csv {output} would overwrite " in err
    assert Path("t.csv").read_text() == "path\na.wav\n" and Path("a.wav").read_bytes() == b"sound"
    code, _, err = said([], "a.wav", "--set", "precomputed.table=t.csv", "--csv", "t.csv")
    assert code == 2 and "would overwrite t.csv" in err
    Path("a.wav").rename("a.svg")
    code, out, err = said([], "a.svg", "--timeline", "a.svg")
    assert code == 2 and "--timeline a.svg would overwrite a.svg" in err
    assert Path("a.svg").read_bytes() == b"sound"


def test_arguments_without_recordings_fail(said, tmp_path):
    (tmp_path / "notes.txt").write_text("")
    code, out, err = said([answer()], str(tmp_path))
    assert code == 2 and "a.wav" in out
    assert f"error: {tmp_path}: no recordings were found" in err
    assert "warning: 1 file is passed over as no recording: 1 .txt" in err
    code, out, err = said([], str(tmp_path))
    assert code == 2 and out == "" and f"No recordings were found in {tmp_path}" in err


# -- long recordings -------------------------------------------------------------------


@pytest.fixture
def long_predict(windowed_run, tmp_path, monkeypatch, capsys):
    """Function that calls `fusion predict` on the recordings `long.wav` and `short.wav`."""
    monkeypatch.chdir(tmp_path)
    write_steps(Path("long.wav"), 0, 0, 0.4, 0.4, 0.2, 0.2)
    write_steps(Path("short.wav"), 0, 0.2)

    def call(*arguments):
        plugin = windowed_run.config.plugins[0]
        code = run_cli(["predict", str(windowed_run.path), *arguments, "-p", plugin])
        return code, *capsys.readouterr()

    return call


def test_windows_are_printed_with_times(long_predict):
    code, out, err = long_predict("*.wav", "--windows")
    lines = out.splitlines()
    assert code == 0 and len(lines) == 6
    assert [line[:20].rstrip() for line in lines] == [
        "file", "long.wav", "  0:00.0 to 0:01.0", "  0:01.0 to 0:02.0", "  0:02.0 to 0:03.0",
        "short.wav"]  # fmt: skip
    shares = [float(line.split()[-1]) for line in lines[1:5]]
    assert shares[0] == pytest.approx(sum(shares[1:]) / 3, abs=0.001)
    assert err == "1 of 2 recordings are labelled by the mean over windows of 1 s\n"
    _, brief, _ = long_predict("*.wav")
    assert [line.split() for line in brief.splitlines()] == [
        lines[i].split() for i in (0, 1, 5)]  # fmt: skip


def test_windows_in_json_and_in_csv(long_predict):
    _, out, _ = long_predict(".", "--json")
    long, short = map(json.loads, out.splitlines())
    assert [(w["start"], w["end"]) for w in long["windows"]] == [(0, 1), (1, 2), (2, 3)]
    assert short["windows"] == [] and (long["end"], short["end"]) == (3, 1)
    _, out, _ = long_predict(".", "--csv", "-", "--windows")
    rows = list(csv.DictReader(out.splitlines()))
    assert [(r["file"], r["start"], r["end"]) for r in rows] == [
        ("long.wav", "0", "1"), ("long.wav", "1", "2"), ("long.wav", "2", "3"),
        ("short.wav", "0", "1")]  # fmt: skip
    assert float(rows[1]["p_sad"]) == long["windows"][1]["probabilities"]["sad"]


def test_a_timeline_of_the_long_recordings(long_predict):
    code, _, err = long_predict("long.wav", "short.wav", "--timeline", "t.svg")
    assert code == 0 and "timeline of 1 recording written to t.svg" in err
    assert "long.wav: " in Path("t.svg").read_text()
    code, out, err = long_predict("short.wav", "--timeline", "no.png")
    assert code == 2 and "short.wav" in out and "nothing was drawn" in err
    assert not Path("no.png").exists()


def test_a_timeline_that_can_not_be_drawn_is_refused_before_the_work(long_predict, monkeypatch):
    code, out, err = long_predict("long.wav", "--timeline", "t.jpg")
    assert code == 2 and out == "" and "Accepted: .svg, .png" in err
    monkeypatch.setattr("fusion.core.runs.predictor.trained_on_windows", lambda config: False)
    code, out, err = long_predict("long.wav", "--timeline", "t.svg")
    assert code == 2 and out == "" and "was trained on the middles of recordings" in err
    code, out, err = long_predict("long.wav", "--windows")
    assert code == 0 and len(out.splitlines()) == 2
    assert "warning: 1 of 1 recordings are longer than the 1 s that the model sees" in err
    monkeypatch.setattr("fusion.core.runs.predictor.window_of", lambda extractors, run: None)
    _, _, err = long_predict("long.wav", "--timeline", "t.svg")
    assert "sees recordings of any length as a whole" in err


def test_progress_is_shown_beside_redirected_results(long_predict, monkeypatch):
    steps = []

    @contextlib.contextmanager
    def bar(name, **options):
        assert options == {"keep_stdout": True}
        yield lambda completed, total: steps.append((completed, total))

    monkeypatch.setattr("fusion.core.display.progress.bar", bar)
    _, out, _ = long_predict(".", "--json")
    assert len(out.splitlines()) == 2 and steps == [(1, 2), (2, 2)]
    long_predict("short.wav", "--json")
    assert len(steps) == 2  # no bar for a single recording
