"""The mlflow tracker, whose store is read back by MLflow's client."""

import json
import sys

import pytest
from tracker_libraries import mlflow_or_skip

from fusion.core.contracts.errors import ParameterError
from fusion.plugins.trackers.mlflow import MLflow
from fusion.testing import TrackerSuite


class Following(TrackerSuite):
    plugin = MLflow


@pytest.fixture
def run():
    with Following().run_directory() as folder:
        yield folder


@pytest.fixture
def client(tmp_path, monkeypatch):
    uri = mlflow_or_skip(tmp_path, monkeypatch)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def follow(run, *, finish=True, epochs=3, tuned=False, **parameters):
    suite = Following()
    suite.parameters = parameters
    suite.follow(run, finish=finish, epochs=epochs, tuned=tuned)


def runs(client, experiment="fusion"):
    """Return all runs of an experiment by name; a duplicate name is an error."""
    result = {}
    for run in client.search_runs([client.get_experiment_by_name(experiment).experiment_id]):
        name = run.data.tags["mlflow.runName"]
        assert name not in result, name
        result[name] = run
    return result


def history(client, run, key):
    points = client.get_metric_history(run.info.run_id, key)
    return sorted((point.step, pytest.approx(point.value)) for point in points)


def test_trainings_are_child_runs(client, run):
    follow(run)
    result = runs(client)
    assert set(result) == {"run", "fold0/voice", "fold0/fused"}
    for name in ("fold0/voice", "fold0/fused"):
        assert result[name].data.tags["mlflow.parentRunId"] == result["run"].info.run_id
        assert history(client, result[name], "val_uar") == [(1, 0.2), (2, 0.4), (3, 0.6)]
    assert history(client, result["fold0/fused"], "val_uar.voice") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert set(result["fold0/voice"].data.metrics) == {"train_loss", "val_uar", "seconds"}
    assert {r.info.status for r in result.values()} == {"FINISHED"}


def test_parameters_figures_verdict_and_results(client, run):
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

    follow(run, experiment="mine", name="first")
    (whole,) = (r for r in runs(client, "mine").values() if "mlflow.parentRunId" not in r.data.tags)
    assert whole.data.tags["mlflow.runName"] == "first"
    assert whole.data.params["settings.train.lr"] == "0.003"
    assert whole.data.params["features"] == "voice, face"
    assert whole.data.params["dtypes._"] == "float16"  # MLflow allows no asterisk in names
    assert whole.data.params["settings.branch.voice.text"] == MAX_PARAM_VAL_LENGTH * "x"
    assert whole.data.metrics["test_uar/fused"] == 0.5
    assert whole.data.metrics["gain/fused"] == pytest.approx(-0.01)
    assert whole.data.tags["mlflow.note.content"] == "No reliable difference between the two."
    assert [f.path for f in client.list_artifacts(whole.info.run_id)] == ["results.json"]


def test_a_resumed_run_has_each_point_once(client, run):
    follow(run, epochs=1, finish=False)
    assert {r.info.status for r in runs(client).values()} == {"FAILED"}
    follow(run, epochs=2, finish=False)
    follow(run)
    result = runs(client)
    assert set(result) == {"run", "fold0/voice", "fold0/fused"}
    assert history(client, result["fold0/fused"], "val_uar") == [(1, 0.2), (2, 0.4), (3, 0.6)]
    assert {r.info.status for r in result.values()} == {"FINISHED"}


def test_trainings_completed_before_a_failure_are_finished_after_resuming(client, run):
    follow(run, finish=False)
    follow(run)
    result = runs(client)
    assert {r.info.status for r in result.values()} == {"FINISHED"}
    assert history(client, result["fold0/voice"], "val_uar") == [(1, 0.2), (2, 0.4), (3, 0.6)]


def test_a_run_deleted_in_mlflow_is_logged_again(client, run):
    follow(run, epochs=2, finish=False)
    for missing in runs(client).values():
        client.delete_run(missing.info.run_id)
    follow(run)
    result = runs(client)
    assert history(client, result["fold0/voice"], "val_uar") == [(1, 0.2), (2, 0.4), (3, 0.6)]


def test_each_trial_is_a_run(client, run):
    follow(run, tuned=True)
    result = runs(client)
    assert {name for name in result if "fused" in name} == {
        "fold0/fused/trial0", "fold0/fused/trial1",
    }  # fmt: skip
    assert history(client, result["fold0/fused/trial1"], "val_uar") == [
        (1, 0.2),
        (2, 0.4),
        (3, 0.6),
    ]


def test_no_password_is_stored(client, run, monkeypatch):
    """A password in the server's address stays in the environment and is not stored."""
    monkeypatch.setattr("mlflow.tracking.MlflowClient", lambda tracking_uri: client)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@tracking.example")
    follow(run)
    names = json.loads((run / "mlflow.json").read_text())["names"]
    assert names["store"] == "https://tracking.example"


def test_the_default_database_is_beside_the_run(run, monkeypatch):
    mlflow = pytest.importorskip("mlflow.tracking", exc_type=ImportError)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    requested = []

    def refuse(tracking_uri):
        requested.append(tracking_uri)
        raise OSError("not now")

    monkeypatch.setattr(mlflow, "MlflowClient", refuse)
    tracker = MLflow()
    with pytest.raises(OSError, match="not now"):
        tracker.start(run, {})
    tracker.close()
    assert requested == [f"sqlite:///{run.parent.as_posix()}/mlflow.db"]


def test_a_missing_package_is_refused_by_the_constructor(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ParameterError, match="needs the package mlflow-skinny") as caught:
        MLflow()
    assert "pip install" in caught.value.hint and "modal-fusion[mlflow]" in caught.value.hint
