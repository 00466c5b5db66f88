"""``fusion cache build``, ``info`` and ``why``, as typed."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_runs import SMALL

from fusion.cache import FeatureCache
from fusion.cache.shards.shard import Shard
from fusion.core.cli import run_cli

MEL = ["--features", "mel", "--set", "mel.n_mels=16", "--set", "mel.frames=32"]


def said(capsys, *args):
    """Exit code, standard output and standard error of a command."""
    code = run_cli([str(a) for a in args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# -- build ---------------------------------------------------------------------------


def test_parts_of_a_corpus(corpus, tmp_path, capsys):
    """As eight jobs of a cluster's array would, one after the other here."""
    for number in range(1, 9):
        code, out, _ = said(capsys, "cache", "build", "--data", corpus, *MEL, "--cache", tmp_path,
                            "--jobs", 1, "--shard", f"{number}/8")  # fmt: skip
        assert code == 0
        assert "0 present already" in out
    code, out, _ = said(capsys, "cache", "build", "--data", corpus, *MEL, "--cache", tmp_path)
    assert "0 computed, 54 present already" in out


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_scheduler_that_ends_a_build(corpus, tmp_path):
    """SIGTERM, as scancel and time limits send it: nothing is left behind, what is done stays."""
    build = subprocess.Popen(
        [sys.executable, "-m", "fusion", "cache", "build", "--data", corpus, "--cache", tmp_path,
         "--features", "persistence", "--jobs", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(tmp_path.glob("persistence-*/claims/*")):
        time.sleep(0.01)
    build.terminate()
    _, err = build.communicate(timeout=60)
    assert build.returncode == 143, err
    assert "Interrupted. What was finished is kept." in err
    assert "Traceback" not in err
    assert "leaked" not in err
    assert not list(tmp_path.glob("persistence-*/claims/*"))


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "a/b", "1/0", ""])
def test_parts_that_are_none(corpus, tmp_path, capsys, part):
    code, _, err = said(capsys, "cache", "build", "--data", corpus, "--cache", tmp_path,
                        "--shard", part)  # fmt: skip
    assert code == 2
    assert "I/N with I from 1 to N" in err
    assert list(tmp_path.iterdir()) == []


def test_half_the_bytes(corpus, tmp_path, capsys):
    for dtype in ("float32", "float16"):
        code, _, _ = said(capsys, "cache", "build", "--data", corpus, *MEL, "--cache", tmp_path,
                          "--dtype", dtype)  # fmt: skip
        assert code == 0
    cache = FeatureCache(tmp_path)
    by_dtype = {info.fingerprint.dtype: info for info in cache.info()}
    assert {name: info.items for name, info in by_dtype.items()} == {"float16": 54, "float32": 54}
    keys = [k.decode() for k in cache.catalogue(by_dtype["float32"].fingerprint).keys.tolist()]
    whole, half = (cache.open(by_dtype[d].fingerprint, keys).load() for d in ("float32", "float16"))
    assert half.nbytes * 2 == whole.nbytes
    # Values lie in [0, 1], where float16 has steps of 2^-11 at the most.
    assert np.abs(whole - half).max() <= 2**-12
    np.testing.assert_array_equal(half, whole.astype(np.float16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dtype", "float8"], "float16, float32, float64, not as 'float8'"),
        (["--dtype", "mell=float16"], "Did you mean 'mel'"),
        (["--executor", "dask"], "needs the address of a scheduler"),
        (["--scheduler", "tcp://x:1"], "have no scheduler"),
        (["--cache", ""], "The name of the cache folder is empty"),
    ],
)
def test_mistakes_in_build(corpus, tmp_path, capsys, options, message):
    code, _, err = said(capsys, "cache", "build", "--data", corpus, *MEL, "--cache", tmp_path,
                        *options)  # fmt: skip
    assert code == 2
    assert message in err


@pytest.mark.slow
def test_build_on_a_dask_cluster(corpus, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        found = subprocess.run(
            [sys.executable, "-m", "fusion", "cache", "build", "--data", corpus, *MEL, "--cache",
             tmp_path, "--executor", "dask", "--scheduler", cluster.scheduler_address],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "54 computed" in found.stdout


def test_a_run_in_half_precision_that_checks_what_it_reads(corpus, cache, tmp_path, capsys):
    """And predicts in it, with the features that it was trained on."""
    run = tmp_path / "run"
    options = ["--dtype", "mel=float16", "--verify", "always", "--epochs", "2", "--quiet", *SMALL]
    code, _, _ = said(capsys, "run", "--data", corpus, "--cache", cache, "--out", run, *options)
    assert code == 0
    info = json.loads((run / "run.json").read_text())
    assert info["features"]["mel"]["dtype"] == "float16"
    assert info["features"]["persistence"]["dtype"] == "float32"
    assert info["config"]["verify"] == "always"
    code, out, _ = said(capsys, "predict", run, corpus.parent / "s0-sad-0.wav")
    assert code == 0
    assert "s0-sad-0.wav" in out


def test_a_run_that_checks_finds_what_was_changed(corpus, tmp_path, capsys):
    cache = tmp_path / "cache"
    said(capsys, "cache", "build", "--data", corpus, "--cache", cache, *SMALL)
    for path in cache.glob("mel-*/*.h5"):
        begin = Shard.open(path).file.offset
        with path.open("r+b") as file:
            file.seek(begin + 100)
            file.write(bytes(8 * [0x7F]))
    options = ["run", "--data", corpus, "--cache", cache, "--epochs", "1", "--quiet", *SMALL]
    code, _, err = said(capsys, *options, "--out", tmp_path / "run", "--verify", "always")
    assert code != 0
    assert "does not fit its checksum" in err
    assert "fusion cache verify --repair" in err


# -- why -----------------------------------------------------------------------------


def test_why_of_a_recording(corpus, cache, finished, tmp_path, capsys):
    wav = corpus.parent / "s0-sad-0.wav"
    code, out, _ = said(capsys, "cache", "why", wav, "--cache", cache, *MEL)
    assert code == 0
    assert f"mel of {wav}: found" in out

    code, out, _ = said(capsys, "cache", "why", wav, "--cache", cache, *MEL, "--set", "mel.hop=160")
    assert code == 1
    assert "made another way" in out
    assert "parameters.hop: stored 512, asked for 160" in out

    copy = tmp_path / "copy.wav"
    shutil.copy(wav, copy)
    code, out, _ = said(capsys, "cache", "why", copy, "--cache", cache, *MEL)
    assert code == 0
    assert f"made of {wav}, which had the same content" in out

    copy.write_bytes(copy.read_bytes() + b"more")
    code, out, _ = said(capsys, "cache", "why", copy, "--cache", cache, *MEL)
    assert code == 1
    assert "never computed for this recording" in out

    code, out, _ = said(capsys, "cache", "why", wav, "--cache", tmp_path / "empty", *MEL)
    assert code == 1
    assert "holds nothing of this feature" in out


def test_why_of_a_recording_that_changed(corpus, tmp_path, capsys):
    folder = tmp_path / "speech"
    shutil.copytree(corpus.parent, folder)
    cache = tmp_path / "cache"
    said(capsys, "cache", "build", "--data", folder / "clips.csv", "--cache", cache, *MEL)
    wav = folder / "s0-sad-0.wav"
    shutil.copy(folder / "s1-sad-0.wav", wav)
    code, _, _ = said(capsys, "cache", "why", wav, "--cache", cache, *MEL)
    assert code == 0  # that content is there
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
    assert "mel would be made another way today" in out
    assert 'libraries.librosa: then "0.9.1", today "' in out


def test_why_of_a_run_of_another_shape(finished, tmp_path, capsys):
    """Shapes are lists, and what a run has may be absent today."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    info = json.loads((run / "run.json").read_text())
    info["config"]["settings"]["mel"]["frames"] = 64
    info["features"]["mel"]["parameters"]["window"] = None
    (run / "run.json").write_text(json.dumps(info))
    code, out, _ = said(capsys, "cache", "why", run)
    assert code == 1
    assert "parameters.window: then null, today (absent)" in out
    assert "shape: stored [1, 16, 32], asked for [1, 16, 64]" in out
    _, out, _ = said(capsys, "cache", "why", run, "--json")
    changed = json.loads(out)["changed"]["mel"]
    assert {"field": "parameters.window", "stored": None} in changed
    assert {"field": "parameters.frames", "stored": 32, "wanted": 64} in changed


def test_why_of_another_machines(corpus, cache, finished, tmp_path, capsys, monkeypatch):
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
    assert f"this recording's was made another way, at {url}\n" in out


def test_mistakes_in_why(finished, tmp_path, capsys):
    code, _, err = said(capsys, "cache", "why", tmp_path / "none.wav")
    assert code == 2
    assert "There is no recording" in err
    code, _, err = said(capsys, "cache", "why", tmp_path)
    assert code == 2
    assert "no run.json" in err
    code, _, err = said(capsys, "cache", "why", finished, "--features", "mel")
    assert code == 2
    assert "can't be given again" in err
