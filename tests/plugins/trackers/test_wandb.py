"""The wandb tracker without a server: its files are read back, or its calls recorded."""

import json
import sys
from types import SimpleNamespace

import pytest
from tracker_libraries import quiet_wandb, wandb_records

from fusion.core.contracts.errors import ParameterError
from fusion.plugins.trackers.wandb import WandB
from fusion.testing import TrackerSuite

wandb = pytest.importorskip("wandb", exc_type=ImportError)


class Following(TrackerSuite):
    plugin = WandB


@pytest.fixture
def run():
    with Following().run_directory() as folder:
        yield folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return quiet_wandb(tmp_path, monkeypatch)


def follow(run, *, finish=True, epochs=3, tuned=False, **parameters):
    suite = Following()
    suite.parameters = parameters
    suite.follow(run, finish=finish, epochs=epochs, tuned=tuned)
    wandb.teardown()  # wandb completes its files when its process ends


def files(folder):
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def rows(file):
    """Yield the rows of a run's history as dicts from name to value."""
    for record in wandb_records(file):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            yield {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}


def curve(file, name):
    return [(row["epoch"], pytest.approx(row[name])) for row in rows(file) if name in row]


def of_kind(file, kind):
    return [
        getattr(r, kind) for r in wandb_records(file) if r.WhichOneof("record_type") == kind
    ]  # fmt: skip


def test_curves_by_metric_and_training(folder, run):
    follow(run, mode="offline", name="first", project="mine")
    (file,) = files(folder)
    assert curve(file, "val_uar/fold0/voice") == [(1, 0.2), (2, 0.4), (3, 0.6)]
    assert curve(file, "val_uar/fold0/fused") == [(1, 0.2), (2, 0.4), (3, 0.6)]
    assert curve(file, "val_uar/fold0/fused/voice") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    names = {name for row in rows(file) for name in row if not name.startswith("_")}
    assert {name.partition("/")[0] for name in names} == {
        "epoch", "train_loss", "val_uar", "seconds", "weight",
    }  # fmt: skip
    described = of_kind(file, "run")[0]
    assert (described.display_name, described.project) == ("first", "mine")
    steps = {m.glob_name or m.name: m.step_metric for m in of_kind(file, "metric")}
    assert steps["*"] == "epoch"


def test_configuration_figures_and_results(folder, run):
    follow(run, mode="offline")
    (file,) = files(folder)
    config = {u.key: json.loads(u.value_json) for u in of_kind(file, "run")[0].config.update}
    assert config["settings"]["train"]["lr"] == 0.003
    summary = {}
    for part in of_kind(file, "summary"):
        for u in part.update:
            summary[u.key or "/".join(u.nested_key)] = json.loads(u.value_json)
    assert summary["test_uar/fused"] == 0.5 and summary["gain/fused"] == -0.01
    assert summary["verdict"] == "No reliable difference between the two."
    assert (file.parent / "files/results.json").read_text() == (run / "results.json").read_text()
    assert [e.exit_code for e in of_kind(file, "exit")] == [0]


def test_a_run_directory_that_looks_like_a_pattern(folder, run):
    odd = run.rename(run.with_name("run[1]"))
    follow(odd, mode="offline")
    (file,) = files(folder)
    assert (file.parent / "files/results.json").is_file()


def test_a_failed_run_is_marked_as_failed(folder, run):
    follow(run, mode="offline", epochs=1, finish=False)
    (file,) = files(folder)
    assert [e.exit_code for e in of_kind(file, "exit")] == [1]


def test_files_of_each_attempt_contain_the_whole_run_under_one_name(folder, run):
    """wandb uploads whole files, so the file of the last attempt must have every point once."""
    follow(run, mode="offline", epochs=2, finish=False)
    (first,) = files(folder)
    follow(run, mode="offline")
    (last,) = (f for f in files(folder) if of_kind(f, "exit")[0].exit_code == 0)
    assert curve(last, "val_uar/fold0/voice") == [(1, 0.2), (2, 0.4), (3, 0.6)]
    assert of_kind(first, "run")[0].run_id == of_kind(last, "run")[0].run_id


def test_each_trial_has_its_own_curves(folder, run):
    follow(run, mode="offline", tuned=True)
    (file,) = files(folder)
    for trial in (0, 1):
        assert curve(file, f"val_uar/fold0/voice/trial{trial}") == [(1, 0.2), (2, 0.4), (3, 0.6)]
    assert curve(file, "val_uar/fold0/voice") == []


def test_disabled_writes_nothing(folder, run):
    follow(run, mode="disabled")
    assert files(folder) == []


def test_the_environment_variable_sets_the_mode(folder, run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()
    follow(run)
    assert len(files(folder)) == 1


def test_the_default_folder_is_the_run_directory(folder, run, monkeypatch):
    monkeypatch.delenv("WANDB_DIR")
    follow(run, mode="offline")
    assert len(files(run)) == 1 and files(folder) == []


@pytest.mark.parametrize("mode", [None, "online"])
def test_a_missing_login_is_refused_without_a_prompt(folder, mode, monkeypatch):
    """A run without an account is refused before it starts, on a terminal as well."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with pytest.raises(ParameterError, match="no user is logged in") as caught:
        WandB(mode=mode)
    assert "wandb.mode=offline" in caught.value.hint


class Server:
    """Fake of the wandb server that records the arguments of `init` and the logged values."""

    def __init__(self):
        self.asked, self.rows, self.ended = [], [], []
        self.summary = {}

    def init(self, **requested):
        self.asked.append(requested)
        return SimpleNamespace(
            define_metric=lambda *_, **__: None,
            log=self.rows.append,
            summary=self.summary,
            save=lambda *_, **__: None,
            finish=lambda exit_code: self.ended.append(exit_code),
        )


@pytest.fixture
def server(folder, monkeypatch):
    server = Server()
    monkeypatch.setattr(wandb, "init", server.init)
    monkeypatch.setattr(wandb, "login", lambda **_: True)
    return server


def test_an_online_run_is_resumed(server, run):
    follow(run, mode="online", epochs=1, finish=False)
    follow(run, mode="online", epochs=2, finish=False)
    follow(run, mode="online")
    message = [(r["epoch"], r["val_uar/fold0/voice"]) for r in server.rows if
            "val_uar/fold0/voice" in r]  # fmt: skip
    assert message == [(1, pytest.approx(0.2)), (2, pytest.approx(0.4)), (3, pytest.approx(0.6))]
    assert len({requested["id"] for requested in server.asked}) == 1
    assert {requested["resume"] for requested in server.asked} == {"allow"}
    assert server.ended == [1, 1, 0] and server.summary["test_uar/fused"] == 0.5


def test_points_of_offline_attempts_are_sent_by_an_online_attempt(server, run):
    follow(run, mode="offline", epochs=2, finish=False)
    server.rows.clear()
    follow(run, mode="online")
    assert [r["epoch"] for r in server.rows if "val_uar/fold0/voice" in r] == [1, 2, 3]


def test_a_missing_package_is_refused_by_the_constructor(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ParameterError, match="needs the package wandb") as caught:
        WandB(mode="offline")
    assert caught.value.hint == "pip install 'modal-fusion[wandb]'"
