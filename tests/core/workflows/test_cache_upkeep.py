from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cache_gc import reregister
from run_records import feature_of, record_of, split_of

from fusion.cache import FeatureCache, Fingerprint, Item, build, digest_many
from fusion.cache.builds.journal import register_run
from fusion.cache.exchange.imports import import_feature
from fusion.cache.upkeep.verify import verify
from fusion.core.contracts import Clip, Extractor, Recording
from fusion.core.contracts.errors import RunError
from fusion.core.data.dataset import RunData
from fusion.core.data.extraction import computation_of, fingerprint_of, make_extractor, origin_of
from fusion.core.data.splits import Split
from fusion.core.registry.registry import Registry
from fusion.core.runs.record import FORMAT
from fusion.core.runs.run import Run
from fusion.core.workflows.cache_upkeep import collect_garbage, find_runs, references, repair

ANY = timedelta(0)
SMALL = {"n_mels": 16, "frames": 32}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry()


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


@pytest.fixture
def recordings(tmp_path: Path) -> list[Recording]:
    """Six recordings of noise, and a part of the last one."""
    for n in range(6):
        noise = 0.1 * np.random.default_rng(n).standard_normal(8000)
        soundfile.write(tmp_path / f"{n}.wav", noise, 16000)
    whole = [Recording(tmp_path / f"{n}.wav") for n in range(6)]
    return [*whole, Recording(tmp_path / "5.wav", 0.1, 0.4)]


def fill(
    cache: FeatureCache, extractor: Extractor, recordings: list[Recording]
) -> dict[str, Recording]:
    """Compute a feature and return the recordings by key."""
    keys = digest_many([(r.path, r.start, r.end) for r in recordings])
    items = [Item(k, r, origin_of(r), "noise") for k, r in zip(keys, recordings, strict=True)]
    report = build(cache, [(computation_of(extractor), items)], jobs=1)
    assert report.computed == len(recordings)
    return dict(zip(keys, recordings, strict=True))


def spoil(cache: FeatureCache, feature: Fingerprint, keys: list[str]) -> None:
    """Flip a random bit of each of these arrays."""
    chance = random.Random(0)
    for shard in FeatureCache(cache.root).shards(feature):
        size = int(np.prod(feature.shape)) * np.dtype(feature.dtype).itemsize
        raw = bytearray(shard.path.read_bytes())
        assert shard.file.offset is not None
        for row, key in enumerate(shard.keys):
            if key in keys:
                raw[shard.file.offset + row * size + chance.randrange(size)] ^= 1
        shard.path.write_bytes(raw)


def loaded(cache: FeatureCache, feature: Fingerprint, keys: list[str]) -> bytes:
    return FeatureCache(cache.root).open(feature, keys, verify="always").load().tobytes()


# -- repair --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [None, "float16"])
def test_damaged_arrays_are_computed_again(
    cache: FeatureCache, registry: Registry, recordings: list[Recording], dtype: str | None
) -> None:
    mel = make_extractor(registry.extractor("mel"), SMALL, dtype)
    by_key = fill(cache, mel, recordings)
    feature, keys = fingerprint_of(mel), list(by_key)
    before = loaded(cache, feature, keys)
    bad = [keys[1], keys[6]]  # the second is a part of a recording
    spoil(cache, feature, bad)
    result = verify(cache)
    assert {item.key for item in result.bad_items} == set(bad)
    report = repair(cache, result, registry, jobs=1)
    assert (report.repaired, report.lost, report.unresolved, report.complete) == (2, [], [], True)
    assert verify(cache).fine
    assert loaded(cache, feature, keys) == before
    catalogue = FeatureCache(cache.root).catalogue(feature)
    (at,) = catalogue.find([keys[6]]).tolist()
    assert recordings[6].end is not None
    assert catalogue.label(at)[1:] == (f"{recordings[6].path}#t=0.1,0.4", "noise")


def test_a_whole_shard_is_computed_again(
    cache: FeatureCache, registry: Registry, recordings: list[Recording]
) -> None:
    mel = make_extractor(registry.extractor("mel"), SMALL)
    keys = list(fill(cache, mel, recordings))
    feature = fingerprint_of(mel)
    before = loaded(cache, feature, keys)
    (path,) = cache.folder(feature).glob("*.h5")
    path.write_bytes(path.read_bytes()[:1000])
    report = repair(cache, verify(cache), registry, jobs=1)
    assert (report.repaired, report.complete) == (7, True)
    assert loaded(cache, feature, keys) == before


def test_an_unknown_shard_is_reported(
    cache: FeatureCache, registry: Registry, recordings: list[Recording]
) -> None:
    mel = make_extractor(registry.extractor("mel"), SMALL)
    fill(cache, mel, recordings)
    folder = cache.folder(fingerprint_of(mel))
    (folder / "shards.idx").unlink()
    (path,) = folder.glob("*.h5")
    path.write_bytes(b"")
    report = repair(cache, verify(cache), registry, jobs=1)
    assert (report.repaired, report.lost, report.complete) == (0, [], False)
    assert str(path) in report.unresolved[0] and "its items are unknown" in report.unresolved[0]
    assert not path.exists() and verify(cache).fine


def test_arrays_that_can_not_be_computed_again_are_dropped_with_the_reason(
    cache: FeatureCache, registry: Registry, recordings: list[Recording], tmp_path: Path
) -> None:
    mel = make_extractor(registry.extractor("mel"), SMALL)
    by_key = fill(cache, mel, recordings)
    feature, keys = fingerprint_of(mel), list(by_key)
    cache.add(feature, ["unplaced"], [np.zeros(feature.shape, feature.dtype)])
    spoil(cache, feature, [keys[0], keys[1], keys[2], "unplaced"])
    recordings[0].path.unlink()
    soundfile.write(recordings[1].path, np.ones(8000), 16000)
    report = repair(cache, verify(cache), registry, jobs=1)
    reasons = {item.key: reason for item, reason in report.lost}
    assert reasons == {
        keys[0]: f"{recordings[0].path} can't be read any more",
        keys[1]: f"the content of {recordings[1].path} has changed",
        "unplaced": "the path of its recording is unknown",
    }
    assert (report.repaired, report.complete) == (1, False)
    assert verify(cache).fine
    assert cache.missing(feature, [*keys, "unplaced"]) == [keys[0], keys[1], "unplaced"]


class Stand(Extractor):
    """Extractor for the file size; it fails for the names in `bad`."""

    name = "stand"
    shape = (2,)
    bad: tuple[str, ...] = ()

    def extract(self, recording: Recording) -> np.ndarray:  # type: ignore[type-arg]
        if recording.path.name in self.bad:
            raise ValueError("not today")
        return np.full(2, recording.path.stat().st_size, np.float32)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"version": "0"},
            "the installed extractor 'mel' computes another feature: version was 0 and is",
        ),
        ({"libraries": {"numpy": "1.0"}}, "libraries.numpy was 1.0 and is"),
        ({"shape": (3, 3)}, "shape"),
        ({"name": "melx"}, "no extractor 'melx'"),
        ({"parameters": {"hops": 3}}, "no extractor 'mel' with these parameters"),
        ({"parameters": {"imported": True}}, "import it again"),
    ],
)
def test_arrays_of_another_extractor_are_not_computed_again(
    cache: FeatureCache, registry: Registry, recordings: list[Recording], change, reason: str
) -> None:  # type: ignore[no-untyped-def]
    created = fingerprint_of(make_extractor(registry.extractor("mel"), SMALL))
    fields = json.loads(created.canonical()) | change
    feature = Fingerprint.from_json(json.dumps(fields))
    origin = str(recordings[0].path)
    array = np.zeros(feature.shape, feature.dtype)
    cache.add(feature, ["a", "b"], [array, array], origins=[origin, origin])
    spoil(cache, feature, ["a"])
    report = repair(cache, verify(cache), registry, jobs=1)
    ((item, output),) = report.lost
    assert item.key == "a" and reason in output
    assert cache.missing(feature, ["a", "b"]) == ["a"]


def test_an_extractor_that_fails_during_repair_loses_only_its_recording(
    cache: FeatureCache, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry()
    monkeypatch.setattr(registry, "extractor", lambda name: Stand)
    by_key = fill(cache, make_extractor(Stand, {}), recordings[:3])
    feature = fingerprint_of(make_extractor(Stand, {}))
    spoil(cache, feature, list(by_key)[1:])
    monkeypatch.setattr(Stand, "bad", ("1.wav",))
    report = repair(cache, verify(cache), registry, jobs=1)
    ((item, reason),) = report.lost
    assert item.key == list(by_key)[1] and "not today" in reason
    assert report.repaired == 1


# -- features of runs ----------------------------------------------------------------


def make_run(path: Path, features: dict[str, str], keys: list[str]) -> Path:
    """Write a run directory as if the run had been killed at the start of training."""
    clips = tuple(
        Clip(Recording(Path(f"/{k}.wav")), k, "happy" if n % 2 else "sad", f"s{n}", "c")
        for n, k in enumerate(keys)
    )
    third = np.array_split(np.arange(len(keys)), 3)
    split = Split(*third, 0, True)
    run = Run(path)
    data = RunData(clips, tuple(keys), np.arange(len(keys)) % 2, ("sad", "happy"), (split,))
    record = record_of(
        classes=("sad", "happy"),
        features={name: feature_of(id) for name, id in features.items()},
        split=split_of([split], clips),
    )
    run.begin(record, data)
    return path


KEYS = [f"key{n}" for n in range(6)]


@pytest.fixture
def feature(cache: FeatureCache) -> Fingerprint:
    created = Fingerprint("x", "1", {}, "float32", (4,), {})
    cache.add(created, [*KEYS, "unneeded"], [np.full(4, n, np.float32) for n in range(7)])
    return created


@pytest.fixture
def run(cache: FeatureCache, feature: Fingerprint, tmp_path: Path) -> Path:
    path = make_run(tmp_path / "runs" / "one", {"x": feature.id, "y": "f" * 32}, KEYS)
    register_run(cache, path)
    return path


def test_references_of_runs_are_merged(run: Path, feature: Fingerprint, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", {"x": feature.id}, [f"more{n}" for n in range(6)])
    needed = references([run])
    assert needed.items() >= {feature.id: set(KEYS), "f" * 32: set(KEYS)}.items()
    # The made ids are not those of the parameters: the items of both ids are needed.
    assert all(keys == set(KEYS) for keys in needed.values())
    assert len(references([run, other])[feature.id]) == 12
    assert references([]) == {}


def damages() -> Iterator[tuple[str, str]]:
    yield "run.json", "{"
    yield "run.json", json.dumps({"format": FORMAT + 1})
    yield "run.json", json.dumps({"format": FORMAT})
    yield "clips.csv", ""
    yield "clips.csv", "name,key\n"


@pytest.mark.parametrize(("name", "text"), list(damages()))
def test_an_unreadable_run_stops_garbage_collection(
    cache: FeatureCache, feature: Fingerprint, run: Path, name: str, text: str
) -> None:
    (run / name).write_text(text)
    with pytest.raises(RunError, match="Nothing was removed") as caught:
        collect_garbage(cache, older_than=ANY)
    assert str(run) in str(caught.value)
    assert cache.missing(feature, [*KEYS, "unneeded"]) == []


def test_the_error_on_a_damaged_run_names_file_and_line(
    cache: FeatureCache, feature: Fingerprint, run: Path
) -> None:
    clips = run / "clips.csv"
    lines = clips.read_text().splitlines()
    clips.write_text("\n".join([*lines[:3], lines[3][: lines[3].index(",") + 1]]))
    with pytest.raises(RunError) as caught:
        collect_garbage(cache, older_than=ANY)
    columns = len(lines[0].split(","))
    assert caught.value.message == (
        f"{clips} is cut or damaged at line 4: it has 2 of {columns} columns. Nothing was "
        "removed, because the features that this run needs are unknown."
    )
    (run / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"\(char 1\)\. Nothing was removed"):
        collect_garbage(cache, older_than=ANY)


def test_invalid_features_of_a_run_stop_garbage_collection(
    cache: FeatureCache, feature: Fingerprint, run: Path
) -> None:
    info = json.loads((run / "run.json").read_text())
    for features in ([], {"x": {}}, {"x": "id"}):
        (run / "run.json").write_text(json.dumps(info | {"features": features}))
        with pytest.raises(RunError, match="damaged"):
            collect_garbage(cache, older_than=ANY)


def test_features_of_registered_runs_are_kept(
    cache: FeatureCache, feature: Fingerprint, run: Path
) -> None:
    garbage = collect_garbage(cache, older_than=ANY)
    assert garbage.runs == [run]
    assert garbage.users.items() >= {feature.id: 1, "f" * 32: 1}.items()
    assert cache.missing(feature, [*KEYS, "unneeded"]) == ["unneeded"]
    shutil.rmtree(run)
    garbage = collect_garbage(cache, older_than=ANY)
    assert garbage.runs == [] and len(garbage.report.registrations) == 1
    assert cache.missing(feature, KEYS) == KEYS


def test_a_dry_run_removes_no_registration(
    cache: FeatureCache, feature: Fingerprint, run: Path
) -> None:
    shutil.rmtree(run)
    for _ in range(2):
        garbage = collect_garbage(cache, older_than=ANY, dry_run=True)
        assert len(garbage.report.registrations) == 1
        assert garbage.report.features[0].removed == 7


def test_unregistered_runs_are_found_in_given_folders(
    cache: FeatureCache, feature: Fingerprint, tmp_path: Path
) -> None:
    runs = tmp_path / "moved"
    make_run(runs / "a" / "deep", {"x": feature.id}, KEYS)
    make_run(runs / "b", {"x": feature.id}, KEYS)
    (runs / "notes").mkdir()
    assert find_runs([runs]) == [runs / "a" / "deep", runs / "b"]
    assert find_runs([runs / "b"]) == [runs / "b"]
    garbage = collect_garbage(cache, older_than=ANY, folders=[runs, runs / "b"])
    assert garbage.users == {feature.id: 2}
    assert cache.missing(feature, KEYS) == []


def test_folders_without_runs_are_refused(
    cache: FeatureCache, feature: Fingerprint, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for name, output in (("empty", "holds no run directory"), ("nowhere", "does not exist")):
        with pytest.raises(RunError, match=output):
            collect_garbage(cache, older_than=ANY, folders=[tmp_path / name])
    assert cache.missing(feature, KEYS) == []


def test_a_run_in_preparation_stops_garbage_collection(
    cache: FeatureCache, feature: Fingerprint, tmp_path: Path
) -> None:
    """The run is registered and computes features; its references are written later."""
    path = tmp_path / "preparing"
    path.mkdir()
    register_run(cache, path)
    with pytest.raises(RunError, match="being prepared by process"):
        collect_garbage(cache, older_than=ANY)
    assert cache.missing(feature, KEYS) == []
    (note,) = (cache.root / "runs").iterdir()
    reregister(note, pid=2**22 + 1)
    collect_garbage(cache, older_than=ANY)  # the process is dead: no features are needed
    assert cache.missing(feature, KEYS) == KEYS


def test_an_unreachable_run_of_another_machine_stops_garbage_collection(
    cache: FeatureCache, feature: Fingerprint, run: Path
) -> None:
    (note,) = (cache.root / "runs").iterdir()
    note = reregister(note, path="/far/run", host="elsewhere", pid=1)
    with pytest.raises(RunError, match="registered on 'elsewhere'") as caught:
        collect_garbage(cache, older_than=ANY)
    assert "--forget" in str(caught.value)
    assert cache.missing(feature, KEYS) == []
    # On a shared file system, the run is read like any other.
    note = reregister(note, path=str(run), host="elsewhere", pid=1)
    assert collect_garbage(cache, older_than=ANY).users[feature.id] == 1
    note = reregister(note, path="/far/run", host="elsewhere", pid=1)
    collect_garbage(cache, older_than=ANY, forget=True)
    assert not note.exists() and cache.missing(feature, KEYS) == KEYS


def test_a_run_on_an_unmounted_disk_stops_garbage_collection(
    cache: FeatureCache, feature: Fingerprint, run: Path, tmp_path: Path
) -> None:
    (note,) = (cache.root / "runs").iterdir()
    disk = tmp_path / "disk"
    note = reregister(note, path=str(disk / "run"))
    with pytest.raises(RunError, match=f"nor the folder {disk} exists.*not mounted") as caught:
        collect_garbage(cache, older_than=ANY)
    assert "--forget" in str(caught.value)
    assert cache.missing(feature, KEYS) == [] and note.exists()
    disk.mkdir()
    run.rename(disk / "run")
    assert collect_garbage(cache, older_than=ANY).users[feature.id] == 1
    shutil.rmtree(disk)
    collect_garbage(cache, older_than=ANY, forget=True)
    assert not note.exists() and cache.missing(feature, KEYS) == KEYS


def test_imported_features_are_removed_only_on_request(cache: FeatureCache, tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / f"{n}.wav").write_bytes(b"sound %d" % n)
        np.save(tmp_path / f"{n}.npy", np.full(5, n, np.float32))
    table = tmp_path / "video.csv"
    table.write_text("path,feature\n" + "".join(f"{n}.wav,{n}.npy\n" for n in range(3)))
    feature = import_feature(cache, "video", table).fingerprint
    garbage = collect_garbage(cache, older_than=ANY)
    assert garbage.imported == {feature.id}
    assert garbage.report.features[0].referenced == 3
    assert len(cache.catalogue(feature)) == 3
    garbage = collect_garbage(cache, older_than=ANY, imported=True)
    assert garbage.report.features[0].removed == 3
    assert cache.features() == []
