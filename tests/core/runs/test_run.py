"""Run directory: locking, clips and record read back, and reported damage."""

import contextlib
import csv
import json
import multiprocessing
import os
import platform
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_records import model_of, record_of, split_of, whole_record

from fusion import Clip, Modality, Recording
from fusion.core.contracts.errors import RunError, StorageError
from fusion.core.data.dataset import RunData
from fusion.core.data.splits import Split
from fusion.core.data.windows import LongClips, Window
from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.record import FORMAT, Member
from fusion.core.runs.run import OutputFolder, Run
from fusion.core.training.model import BranchSpec, ModelSpec


def data_of(clips, parts, absent=None, classes=("low", "high")):
    """Return run data; `parts` has a text for each fold with a letter per clip.

    The letters are t for train, v for val, e for test (exam) and - for none.
    """
    splits = tuple(
        Split(*(np.flatnonzero([p == part for p in fold]) for part in "tve"), i, True)
        for i, fold in enumerate(parts)
    )
    targets = np.array([classes.index(clip.label) for clip in clips])
    keys = tuple(f"{i:032x}" for i in range(len(clips)))
    return RunData(tuple(clips), keys, targets, classes, splits, absent or {})


def clips_of(count=4, **changes):
    return [
        Clip(Recording(Path(f"/audio/{i}.wav")), f"{i}.wav", ("low", "high")[i % 2], f"s{i}", "c")
        for i in range(count)
    ]


DATA = data_of(clips_of(), ["ttve", "vett"])


def begun(path, data=DATA, **changes):
    run = Run(path)
    run.begin(record_of(split=split_of(data.splits, data.clips), **changes), data)
    return run


# -- creation --------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [OutputFolder, Run])
def test_a_new_folder_is_created_with_its_parents_and_locked(tmp_path, cls):
    path = tmp_path / "runs" / "one"
    folder = cls.create(path)
    assert isinstance(folder, cls) and folder.path == path and path.is_dir()
    with pytest.raises(RunError, match="Another process works on the run"):
        Run(path)._acquire()
    folder.release()
    with Run(path):
        pass


def test_a_run_is_created_only_once(tmp_path):
    path = tmp_path / "run"
    with Run.create(path) as run:
        with pytest.raises(RunError, match="Another process works on the run"):
            Run.create(path)  # empty, but locked
        run.begin(record_of(), DATA)
    with pytest.raises(RunError, match="already exists and is not empty") as caught:
        Run.create(path)
    assert f"fusion run --resume {path};" in caught.value.hint and "--out" in caught.value.hint


def test_a_folder_with_files_is_refused_and_left_unchanged(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty") as caught:
        Run.create(tmp_path)
    assert caught.value.hint == "Name another folder: --out DIR"
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="already exists"):
        Run.create(tmp_path / "file")
    with pytest.raises(StorageError, match="can't be created: Not a directory") as caught:
        Run.create(tmp_path / "file" / "run")
    assert "--out" in caught.value.hint
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_that_failed_at_its_start_can_be_created_again(tmp_path, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    path = tmp_path / "run"
    with (
        monkeypatch.context() as patch,
        pytest.raises(KeyboardInterrupt),
        Run.create(path) as run,
    ):
        patch.setattr(Run, "write_json", dies)
        run.begin(record_of(), DATA)
    assert {file.name for file in path.iterdir()} == {"clips.csv", ".lock"}
    assert not Run.exists(path)
    with Run.create(path) as run:
        run.begin(record_of(), DATA)
    assert Run.exists(path)


def test_a_run_that_another_process_created_meanwhile_is_kept(tmp_path, monkeypatch):
    """The other process creates the run between the check of the folder and the lock."""
    path, acquire = tmp_path / "run", Run._acquire

    def later(self):
        monkeypatch.setattr(Run, "_acquire", acquire)
        with Run.create(path) as quicker:
            quicker.begin(record_of(), DATA)
        acquire(self)

    monkeypatch.setattr(Run, "_acquire", later)
    with pytest.raises(RunError, match="is not empty"):
        Run.create(path)
    with Run.open(path):  # the slower process released the lock
        pass


# -- the lock --------------------------------------------------------------------------


def _hold(path, pipe):
    with Run.create(path):
        pipe.send(os.getpid())
        pipe.recv()
    pipe.send("released")
    pipe.recv()


@contextlib.contextmanager
def holder(path):
    """Process that creates a run directory, and a pipe to it."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(path, theirs))
    process.start()
    try:
        assert ours.poll(30) and ours.recv() == process.pid
        yield process, ours
    finally:
        process.kill()
        process.join()


def test_a_second_process_is_refused_and_the_error_names_the_first(tmp_path):
    path = tmp_path / "run"
    with holder(path) as (process, pipe):
        for attempt in (Run.create, lambda path: Run(path).__enter__()):
            with pytest.raises(RunError) as caught:
                attempt(path)
            assert re.fullmatch(
                rf"Another process works on the run {re.escape(str(path))} "
                rf"\(process {process.pid} on {re.escape(platform.node())}, "
                r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\)\.",
                caught.value.message,
            )
        pipe.send("end the with block")
        assert pipe.poll(30) and pipe.recv() == "released"
        with Run(path):
            assert process.is_alive()


def test_the_lock_of_a_process_ends_with_it(tmp_path):
    with holder(tmp_path / "run") as (process, _):
        process.kill()
        process.join()
        with Run(tmp_path / "run"):
            output = (tmp_path / "run" / ".lock").read_text()
    assert output.startswith(f"process {os.getpid()} on ") and output.count("\n") == 1


@pytest.mark.parametrize("long", ["x" * 500, "ö" * 90, ""])
def test_the_holder_replaces_the_text_in_the_lock_file(tmp_path, long):
    (tmp_path / ".lock").write_text(long)
    with Run(tmp_path):
        assert re.fullmatch(r"process \d+ on .*\n", (tmp_path / ".lock").read_text())


def test_a_lock_is_released_at_the_end_and_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), Run.create(tmp_path / "run"):
        raise ZeroDivisionError
    run = Run(tmp_path / "run")
    with pytest.raises(ZeroDivisionError), run.locked():
        raise ZeroDivisionError
    with Run(tmp_path / "run"):
        pass
    run.release()  # no effect without a lock


def test_a_process_forked_meanwhile_does_not_keep_the_lock(tmp_path):
    run = Run.create(tmp_path / "run")
    inherited = os.dup(run._lock.fileno())
    run.release()
    with Run(tmp_path / "run"):
        pass
    os.close(inherited)


def test_nested_locks_keep_the_folder_locked(tmp_path):
    refused = pytest.raises(RunError, match="Another process")
    with Run.create(tmp_path / "run") as run:
        with run.locked(), run.locked():
            pass
        with refused, Run(tmp_path / "run"):
            pass
    with run.locked(), refused, Run(tmp_path / "run"):
        pass
    with Run(tmp_path / "run"):
        pass


@pytest.mark.parametrize("present", [True, False])
def test_a_lock_that_is_a_link_is_refused_and_its_target_left_unchanged(tmp_path, present):
    target, path = tmp_path / "precious.txt", tmp_path / "run"
    if present:
        target.write_text("mine")
    path.mkdir()
    (path / ".lock").symlink_to(target)
    for attempt in (Run.create, lambda path: Run(path).__enter__()):
        with pytest.raises(StorageError, match=r"The lock .*\.lock can't be opened") as caught:
            attempt(path)
        assert "If it is a link, delete it" in caught.value.hint
    assert (target.read_text() == "mine") if present else not target.exists()


# -- opening ---------------------------------------------------------------------------


def test_a_run_is_opened_as_it_was_written(tmp_path):
    record = whole_record(handed_out=None)
    Run(tmp_path).begin(record, DATA)
    run = Run.open(tmp_path)
    assert run.record == record and run.config == record.config
    assert json.loads((tmp_path / "run.json").read_text()) == json.loads(
        json.dumps(record.to_json())
    )


@pytest.mark.parametrize("name", ["empty", "not present"])
def test_a_folder_that_is_no_run_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="is not a run directory: it has no run.json") as caught:
        Run.open(tmp_path / name)
    assert "a folder that fusion run made" in caught.value.hint
    assert not Run.exists(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "output"),
    [
        (lambda d: d.pop("classes"), "run.json is damaged: it has no 'classes'"),
        (lambda d: d.update(control="5"), "'control' must be a whole number, and is text"),
        (lambda d: d["split"].pop("mode"), "run.json is damaged: it has no 'mode' in 'split'"),
        (lambda d: d["model"]["branches"][1].update(branch=None),
         "'model.branches[1].branch' must be text, and is null"),
        (lambda d: d.update(format=FORMAT + 1), f"has run format {FORMAT + 1}"),
    ],
)  # fmt: skip
def test_a_damaged_record_is_reported_when_the_run_is_opened(tmp_path, change, output):
    begun(tmp_path)
    data = json.loads((tmp_path / "run.json").read_text())
    change(data)
    (tmp_path / "run.json").write_text(json.dumps(data))
    with pytest.raises(RunError, match=re.escape(output)) as caught:
        Run.open(tmp_path)
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize("text", ["", "[]", "{", '"run"'])
def test_a_record_that_is_no_json_object_is_reported_when_the_run_is_opened(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json"):
        Run.open(tmp_path)


def test_a_run_has_its_stored_blocks_and_the_plugins_that_the_user_names(tmp_path):
    run = begun(tmp_path, config=RunConfig(("demo",), plugins=("no:gated",)))
    assert run.registry.requests == ("no:gated",)
    assert run.location == (tmp_path, ("no:gated",))
    assert run.with_plugins([]) is run
    other = run.with_plugins(["no:concat"])
    assert other.registry.requests == ("no:gated", "no:concat") and other.path == run.path
    given_registry = Registry()
    assert Run.open(tmp_path, given_registry).registry is given_registry


# -- clips.csv -------------------------------------------------------------------------


def assert_same(result, data):
    assert (result.clips, result.keys, result.classes) == (data.clips, data.keys, data.classes)
    np.testing.assert_array_equal(result.targets, data.targets)
    assert len(result.splits) == len(data.splits)
    for split, expected in zip(result.splits, data.splits, strict=True):
        for part in ("train", "val", "test"):
            np.testing.assert_array_equal(getattr(split, part), getattr(expected, part))
            assert getattr(split, part).dtype == np.int64
        assert (split.fold, split.speaker_independent) == (expected.fold, True)
    assert {m: f.tolist() for m, f in result.absent.items()} == {
        m: list(f) for m, f in data.absent.items()
    }


def test_clips_and_folds_survive_the_file(tmp_path):
    clips = clips_of(6)
    clips[1] = replace(clips[1], recording=Recording(Path("long.wav"), 0.1, 2.7))
    clips[2] = replace(clips[2], recording=Recording(Path("long.wav"), 1 / 3))
    data = data_of(clips, ["ttve-t", "e-tvtt"])  # one clip of each fold is in no part
    begun(tmp_path, data)
    assert_same(Run.open(tmp_path).data, data)
    header, *rows = csv.reader((tmp_path / "clips.csv").open())
    assert header == ["name", "corpus", "speaker", "label", "key", "path", "start", "end",
                      "fold0", "fold1"]  # fmt: skip
    assert rows[3][-2:] == ["test", "val"] and rows[4][-2:] == ["", "train"]


def test_absent_modalities_survive_the_file(tmp_path):
    absent = {"text": np.array([True, False, True, False]), "video": np.arange(4) == 2}
    data = replace(DATA, absent=absent)
    begun(tmp_path, data)
    assert_same(Run.open(tmp_path).data, data)
    with (tmp_path / "clips.csv").open() as file:
        assert [row["absent"] for row in csv.DictReader(file)] == ["text", "", "text video", ""]


name = st.binary(min_size=1, max_size=6).filter(lambda b: 0 not in b).map(os.fsdecode)


@settings(max_examples=30, deadline=None)
@given(names=st.lists(name, min_size=3, max_size=3, unique=True), speaker=name, corpus=name)
def test_names_of_any_bytes_survive_the_file(tmp_path_factory, names, speaker, corpus):
    clips = [
        Clip(Recording(Path("/x", n)), n, "low", speaker, corpus, attributes={}) for n in names
    ]
    data = data_of(clips, ["tve"])
    path = tmp_path_factory.mktemp("run")
    begun(path, data)
    assert_same(Run.open(path).data, data)


def test_clips_of_another_split_are_refused(tmp_path):
    run = begun(tmp_path / "one")
    begun(tmp_path / "other", data_of(clips_of(), ["ttve", "vtet"]))
    (tmp_path / "other" / "clips.csv").replace(run.path / "clips.csv")
    with pytest.raises(RunError, match="clips.csv and run.json hold different splits"):
        _ = Run.open(run.path).data


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: None,  # missing
        lambda text: "",
        lambda text: text.replace("key", "kay", 1),
        lambda text: text.replace(",0.0,", ",soon,", 1),
        lambda text: text.replace("low", "loud", 1),
        lambda text: text.replace("fold1", "fold2", 1),
        lambda text: text[: len(text) // 2],
        lambda text: text + "5.wav\n",  # an incomplete row
        lambda text: text + "x" * 200_000 + ",c\n",  # more than csv accepts in one field
    ],
)
@pytest.mark.parametrize("absent", [{}, {"text": np.array([True, False, False, False])}])
def test_damaged_clips_are_an_error_that_names_the_file(tmp_path, damage, absent):
    run = begun(tmp_path, replace(DATA, absent=absent))
    text = damage((tmp_path / "clips.csv").read_text())
    (tmp_path / "clips.csv").unlink()
    if text is not None:
        (tmp_path / "clips.csv").write_text(text)
    with pytest.raises(RunError, match=r"clips\.csv"):
        _ = run.data


# -- trainings and results -------------------------------------------------------------


def test_a_record_is_equal_when_begun_and_when_opened(tmp_path):
    """A tuple parameter is a list in JSON; cells with equal records share baselines."""
    branch = BranchSpec(Modality("a", (4,), ()), "mlp", {"sizes": (8, 4)})
    run = Run(tmp_path)
    run.begin(record_of(model=ModelSpec((branch,), 2, 8, "concat")), DATA)
    assert run.record == Run.open(tmp_path).record
    assert run.record.model.branches[0].parameters == {"sizes": [8, 4]}


def test_a_training_is_finished_if_it_has_a_summary(tmp_path):
    run = Run(tmp_path)
    assert run.training("fold0/a") == tmp_path / "fold0" / "a"
    run.write_text("fold0/a/epochs.jsonl", "")
    assert not run.finished("fold0/a")
    run.write_json("fold0/a/training.json", {"best_uar": 0.5})
    assert run.finished("fold0/a") and run.summary("fold0/a") == {"best_uar": 0.5}
    with pytest.raises(RunError, match=r"fold0/b/training\.json can't be read"):
        run.summary("fold0/b")


def test_a_table_is_written_so_that_csv_reads_it(tmp_path):
    rows = [["a,b", 'say "x"', "two\nlines", "a\rb", "\r\n"], [1, None, 0.5, "", "x"]]
    OutputFolder(tmp_path).write_csv("t.csv", rows)
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [rows[0], ["1", "", "0.5", "", "x"]]
    assert (tmp_path / "t.csv").read_bytes().endswith(b'"\r\n"\n1,,0.5,,x\n')


MEMBERS = (Member("fold0/a", 0.25, model_of(("a",))), Member("fold0/fused", 0.75, model_of()))


def test_a_run_is_complete_when_the_chosen_models_are_written(tmp_path):
    """The chosen models are written last: with all other files the run is not finished."""
    run = begun(tmp_path, seconds={"extraction": 1.0})
    before = Run.open(tmp_path)  # as in another process that reads before the run is finished
    for file in ("results.json", "model.safetensors"):
        run.write_text(file, "{}")
    assert not before.is_complete() and run.record.handed_out is None
    run.finish(MEMBERS, 2.04)
    assert run.record.handed_out == MEMBERS
    assert run.record.seconds == {"extraction": 1.0, "training": 2.0}
    assert before.is_complete() and before.record.handed_out == MEMBERS
    assert Run.open(tmp_path).record.to_json() == before.record.to_json()
    assert_same(Run.open(tmp_path).data, DATA)


@pytest.mark.parametrize("file", ["results.json", "model.safetensors"])
def test_a_finished_run_that_lost_a_file_is_not_complete(tmp_path, file):
    run = begun(tmp_path)
    for other in ("results.json", "model.safetensors"):
        run.write_text(other, "{}")
    run.finish(MEMBERS, 1.0)
    (tmp_path / file).unlink()
    assert not run.is_complete()


def test_a_run_that_could_not_be_finished_is_unchanged(tmp_path, monkeypatch):
    run = begun(tmp_path)
    text = (tmp_path / "run.json").read_text()

    def full(*_):
        raise StorageError("full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError):
        run.finish(MEMBERS, 1.0)
    assert run.record.handed_out is None and (tmp_path / "run.json").read_text() == text


# -- windows.csv -----------------------------------------------------------------------


def windowed(path):
    """Begin a run whose second clip has two windows; the last one has no end."""
    place = DATA.clips[1].recording
    windows = {1: (Window(replace(place, start=0.0, end=1 / 3), "aa"),
                   Window(replace(place, start=0.25), "bb"))}  # fmt: skip
    data = replace(DATA, windows=windows, divided=("mel",))
    begun(path, data, long_clips=LongClips({"mel": 0.5}, 1, 2))
    return data


def test_windows_survive_the_file(tmp_path):
    data = windowed(tmp_path)
    found = Run.open(tmp_path).data
    assert found.windows == data.windows and found.divided == ("mel",)
    assert_same(found, data)
    begun(tmp_path / "other")
    assert not (tmp_path / "other" / "windows.csv").exists()
    assert Run.open(tmp_path / "other").data.windows == {}


def test_only_the_number_of_long_clips_is_kept_if_their_middle_is_used(tmp_path):
    begun(tmp_path, long_clips=LongClips({"mel": 0.5}, 3))
    run = Run.open(tmp_path)
    assert run.record.long_clips == LongClips({"mel": 0.5}, 3, 0)
    assert run.data.windows == {} and run.data.divided == ()


@pytest.mark.parametrize(
    ("change", "output"),
    [
        (lambda text: "", "has 0 of the 2 windows"),
        (lambda text: text.rsplit("\n", 2)[0] + "\n", "has 1 of the 2 windows"),
        (lambda text: text.replace("c,1.wav", "c,9.wav"), "can't be read"),
        (lambda text: text.replace("0.25", "soon"), "can't be read"),
        (None, "can't be read"),
    ],
)
def test_damaged_windows_are_reported(tmp_path, change, output):
    windowed(tmp_path)
    file = tmp_path / "windows.csv"
    if change is None:
        file.unlink()
    else:
        file.write_text(change(file.read_text()))
    with pytest.raises(RunError, match=output) as caught:
        _ = Run.open(tmp_path).data
    assert str(file) in caught.value.message
