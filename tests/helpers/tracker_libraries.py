"""Setup of the trackers' libraries: local, quiet, and skipped if missing."""

import pytest


def mlflow_or_skip(tmp_path, monkeypatch):
    """Set ``MLFLOW_TRACKING_URI`` to a store that the installed MLflow can use; return the URI."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    pytest.importorskip("mlflow", exc_type=ImportError)
    from mlflow.tracking import MlflowClient

    # A database if its packages are installed, else the file store of older versions.
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
    """Set up wandb without network, login and output; return the folder of its files."""
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
    wandb.teardown()  # wandb keeps the environment of its first use
    return folder


def wandb_records(file):
    """Yield the records of a .wandb file: 7 bytes, then blocks of 32 KiB with message parts."""
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
        if part in (1, 4):  # a whole message, or the last part
            yield Record.FromString(message)
            message = b""
