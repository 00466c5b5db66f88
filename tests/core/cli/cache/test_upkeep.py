"""``fusion cache verify``, ``gc``, ``pack`` and ``unpack`` through the command line."""

import csv
import json
import os
import random
import shutil
import subprocess
import sys
import time

import pytest

from fusion.cache import FeatureCache
from fusion.cache.builds.journal import register_run, registered_runs
from fusion.cache.upkeep.rewrite import working_alone
from fusion.core.cli import run_cli

MEL = ["--features", "mel", "--set", "mel.n_mels=16", "--set", "mel.frames=32",
       "--set", "train.windows=middle"]  # fmt: skip


def said(capsys, *args):
    """Return the exit code, standard output and standard error of a command."""
    code = run_cli([str(a) for a in args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def built(corpus, tmp_path_factory):
    """Cache with 54 items of one feature; tests must not change it."""
    root = tmp_path_factory.mktemp("built") / "cache"
    code = run_cli(["cache", "build", "--data", str(corpus), *MEL, "--cache", str(root),
                    "--jobs", "1", "--quiet"])  # fmt: skip
    assert code == 0
    return root


@pytest.fixture
def root(built, tmp_path):
    return shutil.copytree(built, tmp_path / "cache")


def content(root):
    """Return every array by its key, each compared with its checksum."""
    cache = FeatureCache(root)
    (feature,) = cache.features()
    keys = [key.decode() for key in cache.catalogue(feature).keys.tolist()]
    rows = cache.open(feature, keys, verify="always").load()
    return {key: row.tobytes() for key, row in zip(keys, rows, strict=True)}


def shards(root):
    cache = FeatureCache(root)
    (feature,) = cache.features()
    return list(cache.shards(feature))


def spoil(shard, row):
    """Flip one bit of one array."""
    raw = bytearray(shard.path.read_bytes())
    size = 16 * 32 * 4
    raw[shard.file.offset + row * size + 100] ^= 1
    shard.path.write_bytes(raw)


# -- verify --------------------------------------------------------------------------


def test_verify_of_an_undamaged_cache(root, capsys):
    code, out, err = said(capsys, "cache", "verify", "--cache", root)
    assert (code, err) == (0, "")
    (line,) = out.splitlines()
    assert line.startswith(f"{root}: 54 items in ")
    assert "of 1 feature, none bad" in line and "read in" in line


def test_a_bad_item_is_named_and_repaired(root, corpus, capsys):
    before = content(root)
    shard = shards(root)[0]
    spoil(shard, 2)
    recording = shard.label(2).origin
    assert recording.startswith(str(corpus.parent))
    code, out, _ = said(capsys, "cache", "verify", "--cache", root)
    assert code == 1
    line, summary, advice = out.splitlines()
    (feature,) = FeatureCache(root).features()
    assert line == (
        f"mel {feature.id[:8]}, {recording}, in {shard.path.name}: "
        "The array does not match its checksum."
    )
    assert ", 1 bad;" in summary
    assert "fusion cache verify --repair" in advice

    code, out, _ = said(capsys, "cache", "verify", "--repair", "--jobs", 1, "--cache", root)
    assert code == 0
    assert out.splitlines()[-1] == "1 bad item dropped, 1 computed again"
    assert content(root) == before
    assert said(capsys, "cache", "verify", "--cache", root)[0] == 0


def test_items_that_can_not_be_computed_again_are_dropped(root, corpus, tmp_path, capsys):
    """The corpus of the cache no longer exists."""
    copy = shutil.copytree(corpus.parent, tmp_path / "corpus")
    cache = tmp_path / "other"
    with (copy / "extra.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ("path", "label", "speaker"),
                *(
                    (f"s{n}-{label}-0.wav", label, f"s{n}")
                    for n in range(9)
                    for label in ("sad", "happy")
                ),
            ]
        )
    said(
        capsys, "cache", "build", "--data", copy / "extra.csv", *MEL, "--cache", cache, "--jobs", 1
    )
    spoil(shards(cache)[0], 0)
    shutil.rmtree(copy)
    code, out, _ = said(capsys, "cache", "verify", "--repair", "--jobs", 1, "--cache", cache)
    assert code == 1
    assert "dropped; " in out and "can't be read any more" in out
    assert out.splitlines()[-1] == (
        "1 bad item dropped, 0 computed again; 1 could not be computed again"
    )
    assert said(capsys, "cache", "verify", "--cache", cache)[0] == 0  # nothing bad remains


def test_a_shard_that_is_no_hdf5_file_is_repaired(root, capsys):
    before = content(root)
    path = shards(root)[0].path
    count = shards(root)[0].file.count
    path.write_bytes(b"scratch")
    code, out, _ = said(capsys, "cache", "verify", "--cache", root)
    assert code == 1
    assert out.startswith(
        f"{path.relative_to(root)}: The shard is not an HDF5 file, or was cut short"
    )
    assert f", {count} bad, 1 bad file;" in out
    code, out, _ = said(capsys, "cache", "verify", "--repair", "--jobs", 1, "--cache", root)
    assert code == 0
    assert f"{count} bad items dropped, {count} computed again" in out
    assert content(root) == before


def test_foreign_files_are_reported_and_kept(root, capsys):
    import h5py

    foreign = shards(root)[0].path.with_name("mine.h5")
    with h5py.File(foreign, "w"):
        pass
    code, out, err = said(capsys, "cache", "verify", "--repair", "--cache", root)
    assert code == 0 and "none bad" in out
    assert err.startswith("warning: left unchanged: ") and str(foreign) in err
    assert foreign.exists()


def test_random_damage_is_repaired(root, capsys):
    before = content(root)
    chance = random.Random(3)
    for _ in range(6):
        for shard in shards(root)[:3]:
            raw = bytearray(shard.path.read_bytes())
            for _ in range(chance.choice((1, 20))):
                raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
            shard.path.write_bytes(raw)
        code, *_ = said(capsys, "cache", "verify", "--repair", "--jobs", 1, "--cache", root)
        assert code == 0
        assert content(root) == before
        assert said(capsys, "cache", "verify", "--cache", root)[0] == 0


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_a_killed_repair_loses_no_good_item(built, corpus, tmp_path, capsys):
    before = content(built)
    chance = random.Random(5)
    killed = 0
    for number in range(10):
        root = shutil.copytree(built, tmp_path / f"cache{number}")
        bad = set()
        for shard in shards(root):
            row = chance.randrange(shard.file.count)
            spoil(shard, row)
            bad.add(shard.keys[row])
        process = subprocess.Popen(
            [sys.executable, "-m", "fusion", "cache", "verify", "--repair", "--jobs", "2",
             "--cache", str(root)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        process.stdout.readline()  # the bad items have been found
        time.sleep(chance.uniform(0, 4))
        process.kill()
        killed += process.wait() != 0
        process.stdout.close()
        said(capsys, "cache", "verify", "--repair", "--jobs", 1, "--cache", root)
        now = content(root)
        assert before.keys() - bad <= now.keys() and now.items() <= before.items()
        said(capsys, "cache", "build", "--data", corpus, *MEL, "--cache", root, "--jobs", 1)
        assert content(root) == before
    assert killed > 3


def test_repair_is_not_suggested_for_what_it_can_not_repair(root, capsys):
    (shards(root)[0].path.parent / "folder.h5").mkdir()
    code, out, _ = said(capsys, "cache", "verify", "--cache", root)
    assert code == 1 and "1 bad file" in out and "--repair" not in out


@pytest.mark.parametrize(
    "command",
    [["verify"], ["gc"], ["pack"], ["unpack"], ["export", "mel", "mel.h5"], ["serve"]],
    ids=lambda command: command[0],
)
def test_a_missing_cache(tmp_path, capsys, command):
    missing = tmp_path / "tpyo"
    code, out, err = said(capsys, "cache", *command, "--cache", missing)
    assert (code, out) == (2, "")
    assert f"no cache in {missing}" in err and "--cache" in err
    assert not missing.exists()


def test_a_damaged_fingerprint_hides_no_items(root, tmp_path, capsys):
    described = next(root.rglob("fingerprint.json"))
    described.write_text("{")
    code, out, err = said(capsys, "cache", "info", "--cache", root)
    assert code == 0 and "54 items of shape" in out
    assert err.count(str(described)) == 1 and "verify --repair" in err
    code, out, err = said(capsys, "cache", "export", "mel", tmp_path / "mel.h5", "--cache", root)
    assert code == 0 and "54 arrays" in out
    code, out, err = said(capsys, "cache", "gc", "--cache", root)
    assert code == 0 and "54 items" in out
    assert err.count(str(described)) == 1 and len(err.splitlines()) == 1
    assert said(capsys, "cache", "verify", "--repair", "--cache", root)[0] == 0
    assert said(capsys, "cache", "info", "--cache", root)[2] == ""


def test_each_warning_is_one_line(root, capsys):
    shard = shards(root)[0].path
    shard.write_bytes(shard.read_bytes()[:3000])
    (shard.parent / "folder.h5").mkdir()
    code, _, err = said(capsys, "cache", "gc", "--cache", root)
    lines = sorted(err.splitlines())
    assert code == 0 and len(lines) == 2
    for line in lines:
        assert line.startswith("warning: left unchanged: ") and line.count(str(shard.parent)) == 1
        assert " = " not in line and "0x" not in line


def test_an_empty_cache(tmp_path, capsys):
    code, out, err = said(capsys, "cache", "verify", "--cache", tmp_path)
    assert (code, err) == (0, "")
    assert "0 items in 0 shards of 0 features" in out


# -- gc ------------------------------------------------------------------------------


def age(root, days):
    for path in root.rglob("*.h5"):
        then = time.time() - days * 86400
        os.utime(path, (then, then))


def test_gc_without_bounds_removes_nothing_and_says_so(root, capsys):
    code, out, err = said(capsys, "cache", "gc", "--cache", root)
    assert (code, err) == (0, "")
    assert "54 items" in out and "needed by no run, kept: use --older-than or --max-size" in out
    assert out.splitlines()[-1] == "removed: nothing"
    assert len(content(root)) == 54


def test_gc_by_age(root, capsys):
    age(root, days=40)
    code, out, _ = said(capsys, "cache", "gc", "--older-than", "30d", "--dry-run", "--cache", root)
    assert code == 0
    assert "54 items" in out and "would be removed" in out and "1 empty folder" in out
    assert len(shards(root)) > 0
    code, wet, _ = said(capsys, "cache", "gc", "--older-than", "30d", "--cache", root)
    assert code == 0
    assert wet == out.replace("would be removed", "removed")
    assert list(root.glob("*/*.h5")) == []  # measurements of recordings stay


def test_a_size_limit_that_recent_items_exceed(root, capsys):
    code, out, err = said(capsys, "cache", "gc", "--max-size", "10kB", "--cache", root)
    assert code == 1 and "removed: nothing" in out
    assert "larger than --max-size:" in err and "were used recently (--older-than 0" in err
    code, out, err = said(capsys, "cache", "gc", "--max-size", "10kB", "--older-than", 0,
                          "--cache", root)  # fmt: skip
    assert (code, err) == (0, "") and "54 items" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--older-than", "a month"], ["--older-than", "'a month'", "30d"]),
        (["--older-than", "30"], ["--older-than", "units"]),
        (["--max-size", "10"], ["--max-size", "10GB"]),
        (["--runs", "nowhere"], ["nowhere", "--runs"]),
    ],
)
def test_mistakes_in_gc(root, capsys, options, words):
    code, _, err = said(capsys, "cache", "gc", "--cache", root, *options)
    assert code == 2
    for word in words:
        assert word in err
    assert len(content(root)) == 54


@pytest.fixture
def used(finished, tmp_path):
    """Copy of the cache of a finished run, in which only that run is registered."""
    info = json.loads((finished / "run.json").read_text())
    root = shutil.copytree(info["config"]["cache"], tmp_path / "used")
    shutil.rmtree(root / "runs")
    register_run(FeatureCache(root), finished)
    return root


def test_a_run_registers_itself(finished):
    info = json.loads((finished / "run.json").read_text())
    runs = registered_runs(FeatureCache(info["config"]["cache"]))
    assert finished in [run.path for run in runs]


def test_a_run_that_was_moved_registers_again_when_it_is_resumed(finished, tmp_path):
    moved = shutil.copytree(finished, tmp_path / "moved")
    info = json.loads((moved / "run.json").read_text())
    info["config"]["cache"] = str(tmp_path / "cache")
    (moved / "run.json").write_text(json.dumps(info))
    assert run_cli(["run", "--resume", str(moved), "--quiet"]) == 0
    assert [run.path for run in registered_runs(FeatureCache(tmp_path / "cache"))] == [moved]


def test_gc_keeps_what_registered_runs_need(finished, used, capsys):
    before = sum(info.items for info in FeatureCache(used).info())
    code, out, err = said(capsys, "cache", "gc", "--older-than", 0, "--dry-run", "--cache", used)
    assert (code, err) == (0, "")
    assert out.count("54 items") >= 2 and out.count("1 run needs them") == 2
    shutil.rmtree(used / "runs")
    code, out, _ = said(capsys, "cache", "gc", "--older-than", 0, "--dry-run", "--cache", used)
    assert f"would be removed: {before} items" in out
    said(capsys, "cache", "gc", "--older-than", 0, "--runs", finished.parent, "--cache", used)
    assert [(info.fingerprint.name, info.items) for info in FeatureCache(used).info()] == [
        ("mel", 54), ("persistence", 54),
    ]  # fmt: skip


def test_a_run_in_preparation_stops_gc(root, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    register_run(FeatureCache(root), tmp_path / "run")
    code, _, err = said(capsys, "cache", "gc", "--older-than", 0, "--cache", root)
    assert code == 2
    assert "being prepared" in err and "Nothing was removed" in err
    assert len(content(root)) == 54


# -- pack, unpack --------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["zstd", "blosc2"])
def test_unpacking_restores_packed_arrays(root, capsys, codec):
    before = content(root)
    count = len(shards(root))
    code, out, err = said(capsys, "cache", "pack", "--codec", codec, "--cache", root)
    assert (code, err) == (0, "")
    assert out.startswith(f"{root}: {count} shards packed: ")
    assert content(root) == before
    code, out, _ = said(capsys, "cache", "verify", "--cache", root)
    assert code == 0
    code, out, _ = said(capsys, "cache", "unpack", "--cache", root)
    assert out.startswith(f"{root}: {count} shards unpacked: ")
    assert content(root) == before
    assert said(capsys, "cache", "unpack", "--cache", root)[1] == f"{root}: 0 shards unpacked\n"


def test_pack_of_only_one_feature(root, capsys):
    (feature,) = FeatureCache(root).features()
    code, out, _ = said(
        capsys, "cache", "pack", "--feature", f"mel-{feature.id[:6]}", "--cache", root
    )
    assert code == 0 and "packed: " in out
    code, _, err = said(capsys, "cache", "unpack", "--feature", "mfcc", "--cache", root)
    assert code == 2 and "no feature 'mfcc'. It has: mel." in err


def test_pack_leaves_a_damaged_shard_unchanged(root, capsys):
    spoil(shards(root)[0], 0)
    code, out, err = said(capsys, "cache", "pack", "--cache", root)
    assert code == 1
    assert "left unchanged" in err and "fusion cache verify --repair" in err
    assert f"{len(shards(root)) - 1} shards packed" in out


def test_only_one_process_maintains_a_cache_at_a_time(root, capsys):
    with working_alone(FeatureCache(root)):
        for command in ("pack", "unpack", "gc"):
            code, _, err = said(capsys, "cache", command, "--cache", root)
            assert code == 2 and "Another process" in err


# -- info ----------------------------------------------------------------------------


def test_info_reports_registered_runs(used, capsys):
    code, out, _ = said(capsys, "cache", "info", "--json", "--cache", used)
    assert code == 0
    info = json.loads(out)
    by_name = {feature["name"]: feature for feature in info["features"]}
    assert by_name["mel"]["groups"] == {"table": 54}
    for total in ("items", "bytes"):
        assert info[total] == sum(feature[total] for feature in info["features"])
    assert info["runs"] == 1
    assert 0 <= info["hit_rate"] <= 1
    code, out, _ = said(capsys, "cache", "info", "--cache", used)
    assert "table 54" in out and "s each" in out
    assert "; 1 run registered; hit rate of the last runs: " in out.splitlines()[-1]
