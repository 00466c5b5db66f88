"""The libraries of the trackers: on this machine, quiet, and skipped where they are missing."""

import pytest


def mlflow_or_skip(tmp_path, monkeypatch):
    """A store that the installed MLflow can use, as ``MLFLOW_TRACKING_URI``; returns its URI."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    pytest.importorskip("mlflow", exc_type=ImportError)
    from mlflow.tracking import MlflowClient

    # The database where its packages are there, else the files of older versions.
    for uri in (f"sqlite:///{tmp_path}/mlflow.db", (tmp_path / "mlruns").as_uri()):
        try:
            client = MlflowClient(tracking_uri=uri)
            client.create_experiment("first", artifact_location=(tmp_path / "files").as_uri())
        except Exception:
            continue
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        return uri
    pytest.skip("the installed mlflow has no local store that works")


def quiet_wandb(tmp_path, monkeypatch):
    """wandb without a network, a login, or a word; returns the folder of its files."""
    wandb = pytest.importorskip("wandb", exc_type=ImportError)
    folder = tmp_path / "wandb"
    folder.mkdir()
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(folder))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    wandb.teardown()  # it remembers the environment it was first used in
    return folder


def wandb_records(file):
    """What a .wandb file holds: after 7 bytes, blocks of 32 KiB with the parts of messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, message = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        size, part = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        message += data[place + 7 : place + 7 + size]
        place += 7 + size
        if part in (1, 4):  # whole, or the last part of one
            yield Record.FromString(message)
            message = b""
