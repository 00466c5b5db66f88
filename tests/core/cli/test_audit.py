"""`fusion audit` and the splits that it compares, on small corpora of tones."""

import csv
import json
import shutil

import numpy as np
import pytest
import soundfile
from small_runs import SMALL

from fusion.core.cli import run_cli
from fusion.core.display.run import Display
from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.plan import make_plan
from fusion.core.workflows import audit

MEL = ["--features", "mel", *SMALL[:4], "--set", "train.dim=8", "--set", "branch.mel.blocks=2",
       "--set", "branch.mel.channels=4", "--jobs", "1"]  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Separate cache: these corpora have the recordings of the shared corpus under other names."""
    return str(tmp_path_factory.mktemp("audited-features"))


@pytest.fixture(scope="module")
def spoken(corpus, tmp_path_factory):
    """Corpus of tones in which the number of the take is the sentence."""
    folder = tmp_path_factory.mktemp("spoken")
    shutil.copytree(corpus.parent, folder, dirs_exist_ok=True)
    with (folder / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "speaker", "sentence"))
        for row in rows:
            writer.writerow((*row.values(), row["path"][-5]))
    return folder / "clips.csv"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Second corpus, a folder per class and speaker."""
    root = tmp_path_factory.mktemp("other")
    rng = np.random.default_rng(1)
    for label, pitch in (("happy", 420), ("sad", 190)):
        for speaker in range(4):
            folder = root / label / f"o{speaker}"
            folder.mkdir(parents=True)
            for take in range(2):
                tone = np.sin(2 * np.pi * (pitch + 9 * speaker) * np.arange(8000) / 16000)
                noise = 0.05 * rng.normal(size=8000)
                soundfile.write(folder / f"{take}.wav", 0.5 * tone + noise, 16000)
    return root


@pytest.fixture(scope="module")
def audited(spoken, cache, tmp_path_factory):
    """Finished audit with three folds, and its command."""
    out = tmp_path_factory.mktemp("audits") / "audit"
    command = ["audit", "--data", str(spoken), "--cache", cache, "--out", str(out), "--folds", "3",
               "--epochs", "2", "--strategy", "concat", *MEL]  # fmt: skip
    assert run_cli(command) == 0
    return out, command


def weights(out):
    return {p: p.stat().st_mtime_ns for p in out.rglob("model.safetensors")}


def test_an_audit_has_a_run_for_each_split(audited):
    out, _ = audited
    result = json.loads((out / "audit.json").read_text())
    assert [s["split"] for s in result["splits"]] == ["random", "speaker", "sentence"]
    assert "2 corpora" in result["not_allowed"]["corpus"]
    for split in result["splits"]:
        run = out / split["split"]
        info = json.loads((run / "run.json").read_text())
        assert info["split"]["mode"] == split["split"]
        assert info["split"]["speaker_independent"] is split["speaker_independent"]
        assert split["models"] == json.loads((run / "results.json").read_text())["models"]
        assert [m["name"] for m in split["models"]] == [
            "mel",
            "control",
            "fused",
            "ensemble",
            "chosen",
        ]
        assert split["folds"] == 3 and split["test_speakers"] == 9
    assert [s["speaker_independent"] for s in result["splits"]] == [False, True, False]


def test_leakage_counts_agree_with_clips_csv(audited):
    """Leakage is counted again from the run directories, with sentences from the file names."""
    out, _ = audited
    for split in json.loads((out / "audit.json").read_text())["splits"]:
        with (out / split["split"] / "clips.csv").open(newline="") as file:
            clips = list(csv.DictReader(file))
        counts = dict.fromkeys(("speaker", "sentence", "recording"), 0)
        for fold in ("fold0", "fold1", "fold2"):
            train = [c for c in clips if c[fold] == "train"]
            for c in clips:
                if c[fold] == "test":
                    counts["speaker"] += c["speaker"] in {t["speaker"] for t in train}
                    counts["sentence"] += c["name"][-5] in {t["name"][-5] for t in train}
                    counts["recording"] += c["key"] in {t["key"] for t in train}
        assert split["test_clips_in_training"] == {**counts, "clips": 54, "known": 54, "corpus": 54}
        kept_apart = {"random": [], "speaker": ["speaker"], "sentence": ["sentence"]}
        for subject in ("speaker", "sentence"):
            apart = subject in kept_apart[split["split"]]
            assert (counts[subject] == 0) is apart, (split["split"], subject)


def test_the_difference_to_the_random_split_is_paired_over_the_same_clips(audited):
    out, _ = audited
    result = json.loads((out / "audit.json").read_text())
    assert result["flattery"]["same_clips"] is True
    uar = {
        s["split"]: {m["name"]: m["uar"]["value"] for m in s["models"]} for s in result["splits"]
    }
    for name, comparison in result["flattery"]["models"].items():
        assert comparison["difference"] == pytest.approx(
            uar["random"][name] - uar["speaker"][name], abs=2e-6
        )
        assert comparison["low"] <= comparison["difference"] <= comparison["high"]
        assert comparison["groups"] == 9
    assert "(paired over the same clips)" in result["sentences"][0]


def test_the_csv_has_a_row_per_split_and_model(audited):
    out, _ = audited
    with (out / "audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 5
    row = next(r for r in rows if r["split"] == "speaker" and r["model"] == "fused")
    assert row["heard_speaker"] == "0" and row["test_clips"] == "54"
    assert float(row["uar_low"]) <= float(row["uar"]) <= float(row["uar_high"])


def test_the_same_command_trains_nothing_again(audited, capsys):
    out, command = audited
    before = weights(out)
    assert run_cli(command) == 0
    recorded = capsys.readouterr()
    assert weights(out) == before
    assert recorded.err.count("finished before") == 3 and "training" not in recorded.err
    assert "not kept apart" in recorded.out and "Compared with the speaker-disjoint" in recorded.out
    assert "their speaker" in recorded.out and "left out: corpus" in recorded.out
    assert run_cli([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    stored = json.loads((out / "audit.json").read_text())
    assert printed == {"audit": str(out), **{k: v for k, v in stored.items() if k != "format"}}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--epochs", "3"], "train.epochs was 2, and is 3 now"),
        (["--seed", "1"], "seed was 0, and is 1 now"),
        (["--splits", "random,speaker"], "splits was"),
        (["--strategy", "gated"], 'strategy was "concat", and is "gated" now'),
    ],
)
def test_another_request_in_the_same_folder_is_refused(audited, more, words, capsys):
    out, command = audited
    before = weights(out)
    assert run_cli([*command, *more]) == 2
    error = capsys.readouterr().err
    assert words in error and "--out" in error
    assert weights(out) == before


@pytest.mark.slow
def test_an_interrupted_audit_is_resumed(spoken, other, cache, tmp_path, monkeypatch, capsys):
    """Ctrl-C comes after the first split; the second split tests a held-out corpus."""
    out = tmp_path / "audit"
    command = ["audit", "--data", str(spoken), "--data", f"folder={other}", "--cache", cache,
               "--out", str(out), "--epochs", "1", "--splits", "speaker,corpus", *MEL]  # fmt: skip
    run_plan = audit.run_plan

    def interrupted(plan, path, *args, **options):
        if path.name == "corpus":
            raise KeyboardInterrupt
        return run_plan(plan, path, *args, **options)

    monkeypatch.setattr(audit, "run_plan", interrupted)
    assert run_cli(command) == 130
    assert f"To resume: repeat the command with --out {out}" in capsys.readouterr().err
    monkeypatch.undo()
    before = weights(out)
    assert before and not (out / "audit.json").exists()
    assert run_cli(command) == 0
    recorded = capsys.readouterr()
    after = weights(out)
    assert {path: after[path] for path in before} == before
    assert "speaker: finished before" in recorded.err and "tested: " in recorded.err

    result = json.loads((out / "audit.json").read_text())
    assert [s["split"] for s in result["splits"]] == ["speaker", "corpus"]
    held_out = result["splits"][1]
    assert held_out["speaker_independent"] is True
    leaked = held_out["test_clips_in_training"]
    assert leaked["speaker"] == leaked["corpus"] == leaked["recording"] == 0
    assert "this audit has no random" in result["sentences"][0]


MISTAKES = {
    "unknown": (["--splits", "speakers"], ["no split 'speakers'", "Did you mean 'speaker'"]),
    "twice": (["--splits", "random,random"], ["'random' is named twice"]),
    "one corpus": (["--splits", "corpus"], ["2 corpora; there is 1", "repeat --data"]),
    "no sentences": (["--splits", "speaker,sentence"], ["54 of 54", "column called sentence"]),
    "folds": (["--folds", "20"], ["at least 20 speakers; there are 9", "--folds 9"]),
    "two folds": (["--folds", "2"], ["at least 3 folds"]),
    "strategy": (["--strategy", "gatd"], ["Did you mean 'gated'"]),
    "setting": (["--set", "train.epoch=3"], ["parameter of train 'epoch'"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_in_audit(case, corpus, cache, tmp_path, capsys):
    more, words = MISTAKES[case]
    out = tmp_path / "out"
    code = run_cli(["audit", "--data", str(corpus), "--cache", cache, "--out", str(out), *more])
    error = capsys.readouterr().err
    assert code == 2 and "Traceback" not in error
    for word in words:
        assert word in error
    assert not out.exists()


def test_a_folder_with_other_files_is_refused(corpus, cache, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    command = ["audit", "--data", str(corpus), "--cache", cache, "--out", str(tmp_path)]
    assert run_cli(command) == 2
    assert "already exists and is not empty" in capsys.readouterr().err


# -- fusion run under the same splits ------------------------------------------------


def test_a_run_names_its_split(audited, capsys):
    """Each run of an audit is an ordinary run, which prints its result again when resumed."""
    out, _ = audited
    titles = {
        "random": "Test, SPEAKER-DEPENDENT (",
        "speaker": "Test, on held-out speakers (",
        "sentence": "Test, on held-out sentences, SPEAKER-DEPENDENT (",
    }
    warnings = {
        "random": "test speakers also occur in training",
        "speaker": "",
        "sentence": "held out of training, but their speakers are not",
    }
    for split, title in titles.items():
        assert run_cli(["run", "--resume", str(out / split)]) == 0
        said = capsys.readouterr().out
        assert title in said and warnings[split] in said
        assert ("Speaker-dependent" in said) is bool(warnings[split])


def test_a_run_reports_validation_speakers_and_speaker_dependence(spoken, other, cache, capsys):
    def said(*data, **options):
        with Display() as display:
            config = RunConfig(tuple(map(str, data)), cache=cache, **options)
            display.planned(make_plan(config, Registry()))
        return capsys.readouterr().err

    # Two folds of three sentences leave no sentence for validation.
    text = said(spoken, split="sentence", folds=2)
    assert "validation: held-out speakers of the training sentences" in text
    # Of the 9 speakers 2 validate (0.2), the same in each fold; all are tested in both.
    assert "speaker-dependent: 7 of 9 test speakers are also in training" in text
    text = said(spoken, f"folder={other}", split="corpus", folds=2)
    assert "tested: folder; then table" in text or "tested: table; then folder" in text
    assert "validation: held-out speakers of the training corpora" in text
    assert "dependent" not in text
    text = said(spoken)
    assert "validation" not in text and "dependent" not in text


def test_a_run_by_sentence_needs_sentences(corpus, tmp_path, capsys):
    out = tmp_path / "run"
    assert run_cli(["run", "--data", str(corpus), "--split", "sentence", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "needs the sentence of every clip" in error and "column called sentence" in error
    assert not out.exists()
