"""User errors: each ends in one clear message and exit code 2."""

import csv
import subprocess
import sys

import pytest

from fusion.core.cli import run_cli


@pytest.fixture
def table(tmp_path):
    """Function that writes a table; its recordings are never opened, as other errors come first."""

    def write(speakers=6, labels=("happy", "sad")):
        path = tmp_path / "clips.csv"
        rows = [("path", "label", "speaker")]
        for speaker in range(speakers):
            for label in labels:
                name = f"{speaker}-{label}.wav"
                (tmp_path / name).touch()
                rows.append((name, label, f"s{speaker}"))
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return str(path)

    return write


def mistake(capsys, *arguments):
    """Run `fusion run`, assert exit code 2 and no traceback, and return the message."""
    code = run_cli(["run", *arguments])
    error = capsys.readouterr().err
    assert code == 2, error
    assert "Traceback" not in error
    return error


CASES = {
    "strategy": (["--strategy", "gatd"], ["no strategy 'gatd'", "Did you mean 'gated'"]),
    "balancer": (["--balance", "gradscal"], ["no balancer 'gradscal'", "gradscale"]),
    "extractor": (["--features", "mell"], ["no extractor 'mell'", "Did you mean 'mel'"]),
    "branch": (["--branch", "mel=cn"], ["no branch 'cn'"]),
    "branch of nothing": (["--branch", "video=cnn"], ["'video'", "levelset, mel"]),
    "branch form": (["--branch", "cnn"], ["MODALITY=NAME"]),
    "parameter": (["--balance", "gradscale", "--set", "gradscale.mod=fixed"],
                  ["parameter of gradscale 'mod'", "Did you mean 'mode'"]),
    "parameter value": (["--balance", "gradscale", "--set", "gradscale.mode=fast"],
                        ["gradscale.mode must be", "'fixed'", "'fast'"]),
    "parameter of what is not used": (["--set", "gradscale.mode=fixed"],
                                      ["'gradscale' takes no part in this run"]),
    "owner": (["--set", "gradscal.mode=fixed"], ["'gradscal'", "Did you mean 'gradscale'"]),
    "set form": (["--set", "mode=fixed"], ["OWNER.PARAMETER=VALUE"]),
    "training setting": (["--set", "train.epoch=3"], ["parameter of train 'epoch'", "'epochs'"]),
    "training value": (["--lr", "-1"], ["train.lr must be above 0"]),
    "no number": (["--set", "train.clip=inf"], ["train.clip must be float", "'inf'"]),
    "channels": (["--set", "branch.mel.max_channels=0"], ["max_channels=0"]),
    "blocked default": (["-p", "no:gated"], ["No strategy was chosen", "--strategy"]),
    "device": (["--device", "gpu9"], ["--device gpu9", "auto, cpu, cuda"]),
    "twice the same feature": (["--features", "mel,mel"], ["named twice"]),
    "tracker": (["--tracker", "tensorbord"], ["no tracker 'tensorbord'"]),
    "labels": (["--labels", "happy,sadd"], ["sadd", "Did you mean"]),
    "one label": (["--labels", "happy"], ["one class"]),
    "folds": (["--folds", "9"], ["6", "9", "speaker"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_mistakes_in_options(case, capsys, table, tmp_path):
    options, words = CASES[case]
    out = tmp_path / "out"
    error = mistake(capsys, "--data", table(), "--out", str(out), *options)
    for word in words:
        assert word in error
    assert not out.exists()  # nothing was written


def test_an_existing_run_directory_is_refused(capsys, table, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    error = mistake(capsys, "--data", table(), "--out", str(out))
    assert "already exists" in error and "--out" in error
    assert (out / "notes.txt").read_text() == "mine"
    (out / "run.json").write_text('{"format": 1}')
    error = mistake(capsys, "--data", table(), "--out", str(out))
    assert f"--resume {out}" in error
    assert "damaged: it has no 'config'" in mistake(capsys, "--resume", str(out))


def test_a_run_directory_that_can_not_be_made(capsys, table, tmp_path):
    (tmp_path / "file").write_text("")
    error = mistake(capsys, "--data", table(), "--out", str(tmp_path / "file" / "run"))
    assert "can't be created" in error and "--out" in error


def test_no_space_left(capsys, table, tmp_path, monkeypatch):
    import errno

    from fusion.core.workflows import experiment

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl")

    monkeypatch.setattr(experiment, "extract", full)
    error = mistake(capsys, "--data", table(), "--out", str(tmp_path / "out"))
    assert "metrics.jsonl: No space left on device" in error and "--resume" in error


def test_missing_and_empty_paths(capsys, tmp_path):
    assert "nowhere" in mistake(capsys, "--data", str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert "empty" in mistake(capsys, "--data", str(tmp_path / "empty"))
    assert "no corpus 'ravdes'" in mistake(capsys, "--data", f"ravdes={tmp_path}")


def test_one_speaker(capsys, table):
    error = mistake(capsys, "--data", table(speakers=1))
    assert "there is 1" in error and "--split random" in error


def test_one_class(capsys, table):
    assert "class" in mistake(capsys, "--data", table(labels=("happy",)))


def test_a_class_without_test_clips_is_reported(capsys, tmp_path):
    rows = [("path", "label", "speaker")]
    rows += [(f"{s}-{c}.wav", c, str(s)) for s in range(6) for c in ("happy", "sad")]
    rows.append(("0-angry.wav", "angry", "0"))
    for name, _, _ in rows[1:]:
        (tmp_path / name).touch()
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    error = mistake(capsys, "--data", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out"),
                    "--cache", str(tmp_path / "cache"), "--jobs", "1")  # fmt: skip
    assert "no clip in val: angry" in error and "no clip in test: angry" in error


def test_no_readable_recording(capsys, table, tmp_path):
    error = mistake(capsys, "--data", table(), "--out", str(tmp_path / "out"), "--cache",
                    str(tmp_path / "cache"), "--jobs", "1")  # fmt: skip
    assert "No recording can be read" in error


def test_mistakes_with_resume(capsys, tmp_path):
    assert "run.json" in mistake(capsys, "--resume", str(tmp_path))
    error = mistake(capsys, "--resume", str(tmp_path), "--strategy", "gated")
    assert "--strategy" in error


def test_an_unknown_command(capsys):
    assert run_cli(["rnu"]) == 2
    assert "Did you mean 'run'" in capsys.readouterr().err


@pytest.mark.slow
def test_debug_shows_the_traceback():
    result = subprocess.run(
        [sys.executable, "-m", "fusion", "--debug", "run", "--strategy", "gatd"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" in result.stderr and "UnknownNameError" in result.stderr


@pytest.mark.parametrize("options", [["--help"], ["run", "--help"], ["cache", "info", "--help"]])
def test_help_imports_no_heavy_package(options):
    code = (
        "import sys; from fusion.core.cli import run_cli; run_cli(sys.argv[1:]); "
        "heavy = {'torch', 'librosa', 'scipy', 'numpy', 'pandas', 'rich'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Usage: fusion" in result.stdout


@pytest.mark.parametrize("command", [["compare"], ["repair"], ["audit"], ["diagnose"]])
def test_torchrun_is_refused_for_other_commands(command, monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run_cli(command) == 2
    output = capsys.readouterr().err
    assert f"torchrun can't start fusion {command[0]}: each of its processes" in output
    assert f"fusion {command[0]} ..." in output
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert run_cli([*command, "--nonsense"]) == 2
    assert "torchrun" not in capsys.readouterr().err
