"""``fusion cache build`` and ``fusion cache info`` through the command line."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from small_runs import SMALL

from fusion.cache import FeatureCache
from fusion.cache.shards.shard import Shard
from fusion.core.cli import run_cli

MEL = ["--features", "mel", "--set", "mel.n_mels=16", "--set", "mel.frames=32",
       "--set", "train.windows=middle"]  # fmt: skip


def said(capsys, *args):
    """Return the exit code, standard output and standard error of a command."""
    code = run_cli([str(a) for a in args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# -- build ---------------------------------------------------------------------------


def test_the_shards_of_a_build_add_up_to_the_whole_corpus(corpus, tmp_path, capsys):
    """Eight shards of a build, one after the other, as a cluster's job array would build them."""
    for number in range(1, 9):
        code, out, _ = said(capsys, "cache", "build", "--data", corpus, *MEL, "--cache", tmp_path,
                            "--jobs", 1, "--shard", f"{number}/8")  # fmt: skip
        assert code == 0
        assert "0 present already" in out
    code, out, _ = said(capsys, "cache", "build", "--data", corpus, *MEL, "--cache", tmp_path)
    assert "0 computed, 54 present already" in out


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_terminated_build_leaves_no_claims(corpus, tmp_path):
    """Send SIGTERM, as scancel and time limits do."""
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
    assert "Interrupted. Finished work is kept." in err
    assert "Traceback" not in err
    assert "leaked" not in err
    assert not list(tmp_path.glob("persistence-*/claims/*"))


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "a/b", "1/0", ""])
def test_an_invalid_shard_is_refused(corpus, tmp_path, capsys, part):
    code, _, err = said(capsys, "cache", "build", "--data", corpus, "--cache", tmp_path,
                        "--shard", part)  # fmt: skip
    assert code == 2
    assert "I/N with I from 1 to N" in err
    assert list(tmp_path.iterdir()) == []


def test_half_precision_halves_the_bytes(corpus, tmp_path, capsys):
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
    # Values are in [0, 1], where float16 has steps of at most 2^-11.
    assert np.abs(whole - half).max() <= 2**-12
    np.testing.assert_array_equal(half, whole.astype(np.float16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dtype", "float8"], "'float8' can't be stored. Accepted: float16, float32, float64"),
        (["--dtype", "mell=float16"], "Did you mean 'mel'"),
        (["--executor", "dask"], "needs the address of a scheduler"),
        (["--scheduler", "tcp://x:1"], "be combined with processes of this machine"),
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
        result = subprocess.run(
            [sys.executable, "-m", "fusion", "cache", "build", "--data", corpus, *MEL, "--cache",
             tmp_path, "--executor", "dask", "--scheduler", cluster.scheduler_address],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "54 computed" in result.stdout


@pytest.mark.slow
def test_a_run_in_half_precision_that_verifies_its_features(corpus, cache, tmp_path, capsys):
    """The run also predicts in half precision, with the features that it was trained on."""
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


def damage(cache, *, keep_time=False):
    """Change 8 bytes in each shard of mel; a bad disk keeps the modification time."""
    for path in cache.glob("mel-*/*.h5"):
        begin, before = Shard.open(path).file.offset, path.stat()
        with path.open("r+b") as file:
            file.seek(begin + 100)
            file.write(bytes(8 * [0x7F]))
        if keep_time:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_run_on_changed_shards_computes_their_items_again(corpus, tmp_path, capsys):
    """The modification time is new: the next run reads the shards once, whole."""
    cache = tmp_path / "cache"
    options = ["run", "--data", corpus, "--cache", cache, "--epochs", "1", *SMALL]
    assert said(capsys, *options, "--out", tmp_path / "sound")[0] == 0
    damage(cache)
    code, _, err = said(capsys, *options, "--out", tmp_path / "changed")
    assert code == 0
    assert "don't match their checksums" in err
    one, other = (tmp_path / run / "predictions.csv" for run in ("sound", "changed"))
    assert one.read_bytes() == other.read_bytes()
    _, _, err = said(capsys, *options, "--out", tmp_path / "again")
    assert "checksums" not in err  # the index remembers


def test_a_run_that_verifies_its_features_detects_damage(corpus, tmp_path, capsys):
    cache = tmp_path / "cache"
    said(capsys, "cache", "build", "--data", corpus, "--cache", cache, *SMALL)
    damage(cache, keep_time=True)
    options = ["run", "--data", corpus, "--cache", cache, "--epochs", "1", "--quiet", *SMALL]
    code, _, err = said(capsys, *options, "--out", tmp_path / "run", "--verify", "always")
    assert code != 0
    assert "does not match its checksum" in err
    assert "fusion cache verify --repair" in err


def test_stored_features_are_not_computed_again(corpus, tmp_path, capsys):
    cache = str(tmp_path / "cache")
    arguments = ["--data", str(corpus), "--cache", cache, "--set", "mel.n_mels=16", "--set",
                 "mel.frames=32", "--set", "train.windows=middle", "--features", "mel"]  # fmt: skip
    assert run_cli(["cache", "build", *arguments, "--jobs", "2"]) == 0
    assert "54 computed, 0 present already" in capsys.readouterr().out
    assert run_cli(["cache", "build", *arguments]) == 0
    assert "0 computed, 54 present already" in capsys.readouterr().out
    assert run_cli(["cache", "info", "--cache", cache, "--json"]) == 0
    (feature,) = json.loads(capsys.readouterr().out)["features"]
    assert feature["name"] == "mel" and feature["items"] == 54
    assert feature["parameters"]["n_mels"] == 16
    # Another parameter makes another feature: no stale array is read.
    assert run_cli(["cache", "build", *arguments, "--set", "mel.hop=128"]) == 0
    assert "54 computed, 0 present already" in capsys.readouterr().out
