"""``fusion predict``: labels from a finished run, and its output with a stub model."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from fusion.core.cli import predict, run_cli
from fusion.core.runs import predictor
from fusion.core.runs.predictor import Prediction


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

    def say(answers, *options, task=(), notes=()):
        created = SimpleNamespace(
            warnings=["mel is older"], task=list(task), classes=("low", NASTY),
            adapt_to=lambda files, folder: list(notes), predict=lambda names: answers,
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


def test_json_has_a_line_for_every_file_even_for_a_failed_one(said):
    answers = [answer(lacking=("text",)), answer("b.wav", None, error="no sound")]
    code, out, _ = said(answers, "--json", task=["Speaker-adapted."])
    first, second = map(json.loads, out.splitlines())
    assert code == 2
    assert first == {"file": "a.wav", "label": "low", "probabilities": {"low": 0.75, NASTY: 0.25},
                     "lacking": ["text"], "error": None, "task": "Speaker-adapted."}  # fmt: skip
    assert (second["error"], second["label"], second["probabilities"]) == ("no sound", None, {})


def test_the_task_is_printed_first_and_notes_on_a_given_speaker_folder_are_no_warnings(said):
    _, out, err = said([answer()], task=["Speaker-adapted."], notes=["of a.wav"])
    assert out.startswith("Speaker-adapted.\nfile ") and "warning: of a.wav" in err
    _, _, err = said([answer()], "--speaker-from", "d", notes=["of d", "2 are unreadable"])
    assert "\nof d\nwarning: 2 are unreadable\n" in err
