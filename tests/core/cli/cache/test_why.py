"""``fusion cache why`` through the command line."""

import json
import shutil
from pathlib import Path

import pytest

from fusion.core.cli import run_cli

MEL = ["--features", "mel", "--set", "mel.n_mels=16", "--set", "mel.frames=32",
       "--set", "train.windows=middle"]  # fmt: skip


def said(capsys, *args):
    """Return the exit code, standard output and standard error of a command."""
    code = run_cli([str(a) for a in args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_why_of_a_recording(corpus, cache, finished, tmp_path, capsys):
    wav = corpus.parent / "s0-sad-0.wav"
    code, out, _ = said(capsys, "cache", "why", wav, "--cache", cache, *MEL)
    assert code == 0
    assert f"mel of {wav}: found" in out

    code, out, _ = said(capsys, "cache", "why", wav, "--cache", cache, *MEL, "--set", "mel.hop=160")
    assert code == 1
    assert "not found; the stored array of this recording was computed differently" in out
    assert "parameters.hop: stored 512, requested 160" in out

    copy = tmp_path / "copy.wav"
    shutil.copy(wav, copy)
    code, out, _ = said(capsys, "cache", "why", copy, "--cache", cache, *MEL)
    assert code == 0
    assert f"computed from {wav}, a recording with the same content" in out

    copy.write_bytes(copy.read_bytes() + b"more")
    code, out, _ = said(capsys, "cache", "why", copy, "--cache", cache, *MEL)
    assert code == 1
    assert "never computed for this recording" in out

    code, out, _ = said(capsys, "cache", "why", wav, "--cache", tmp_path / "empty", *MEL)
    assert code == 1
    assert "not found; the cache holds no array of this feature" in out


def test_why_of_a_recording_that_changed(corpus, tmp_path, capsys):
    folder = tmp_path / "speech"
    shutil.copytree(corpus.parent, folder)
    cache = tmp_path / "cache"
    said(capsys, "cache", "build", "--data", folder / "clips.csv", "--cache", cache, *MEL)
    wav = folder / "s0-sad-0.wav"
    shutil.copy(folder / "s1-sad-0.wav", wav)
    code, _, _ = said(capsys, "cache", "why", wav, "--cache", cache, *MEL)
    assert code == 0  # the cache has features of this content
    wav.write_bytes(wav.read_bytes() + b"more")
    code, out, _ = said(capsys, "cache", "why", wav, "--cache", cache, *MEL, "--json")
    assert code == 1
    (reason,) = json.loads(out)["reasons"]
    assert (reason["kind"], reason["origin"]) == ("content", str(wav))


def test_why_of_a_run(corpus, cache, finished, tmp_path, capsys):
    code, out, _ = said(capsys, "cache", "why", finished)
    assert code == 0
    assert "(54 clips): found" in out
    assert "persistence of" in out

    code, out, _ = said(capsys, "cache", "why", finished, "--cache", tmp_path, "--json")
    assert code == 1
    reasons = json.loads(out)["reasons"]
    assert [(r["feature"], r["kind"], len(r["clips"])) for r in reasons] == [
        ("mel", "feature", 54),
        ("persistence", "feature", 54),
    ]


def test_why_of_a_run_made_by_another_version(finished, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    info = json.loads((run / "run.json").read_text())
    info["features"]["mel"]["libraries"]["librosa"] = "0.9.1"
    (run / "run.json").write_text(json.dumps(info))
    code, out, _ = said(capsys, "cache", "why", run)
    assert code == 0
    assert "mel would be computed differently now" in out
    assert 'libraries.librosa: then "0.9.1", now "' in out


def test_why_of_a_run_with_another_feature_shape(finished, tmp_path, capsys):
    """The shape is a list, and a stored parameter may no longer exist."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    info = json.loads((run / "run.json").read_text())
    info["config"]["settings"]["mel"]["frames"] = 64
    info["features"]["mel"]["parameters"]["window"] = None
    (run / "run.json").write_text(json.dumps(info))
    code, out, _ = said(capsys, "cache", "why", run)
    assert code == 1
    assert "parameters.window: then null, now (absent)" in out
    assert "shape: stored [1, 16, 32], requested [1, 16, 64]" in out
    _, out, _ = said(capsys, "cache", "why", run, "--json")
    changed = json.loads(out)["changed"]["mel"]
    assert {"field": "parameters.window", "stored": None} in changed
    assert {"field": "parameters.frames", "stored": 32, "wanted": 64} in changed


def test_why_of_a_cache_on_another_machine(corpus, cache, finished, tmp_path, capsys, monkeypatch):
    pytest.importorskip("fsspec")
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "local"))
    wav, url = corpus.parent / "s0-sad-0.wav", Path(cache).as_uri()
    code, out, _ = said(capsys, "cache", "why", wav, "--cache", url, *MEL)
    assert code == 0
    assert f"mel of {wav}: found, at {url}\n" in out
    monkeypatch.setenv("FUSION_CACHE", url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    code, out, _ = said(capsys, "cache", "why", wav, *MEL, "--set", "mel.hop=160")
    assert code == 1
    assert f"the stored array of this recording was computed differently, at {url}\n" in out


def test_mistakes_in_why(finished, tmp_path, capsys):
    code, _, err = said(capsys, "cache", "why", tmp_path / "none.wav")
    assert code == 2
    assert "The recording " in err and "does not exist" in err
    code, _, err = said(capsys, "cache", "why", tmp_path)
    assert code == 2
    assert "no run.json" in err
    code, _, err = said(capsys, "cache", "why", finished, "--features", "mel")
    assert code == 2
    assert "--features, --set and --dtype can't be given with the run" in err
