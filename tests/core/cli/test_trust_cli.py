"""Commands execute no plugin, and contact no server, that only a run directory names."""

import http.server
import json
import shutil
import threading
from pathlib import Path

import pytest

from fusion import FusionError
from fusion.core import api
from fusion.core.cli import run_cli


@pytest.fixture
def copied(finished, tmp_path):
    """Copy of a finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def tampered(copied, tmp_path):
    """Path of a finished run that requests a plugin, and of the mark of its execution."""
    mark, plugin = tmp_path / "executed", copied / "evil.py"
    plugin.write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    change(copied, plugins=[str(plugin)])
    yield copied, mark
    assert not mark.exists()


def change(run, **config):
    record = json.loads((run / "run.json").read_text())
    record["config"] |= config
    (run / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "RUN", "x.wav"],
        ["explain", "RUN"],
        ["diagnose", "RUN"],
        ["repair", "RUN"],
        ["cache", "why", "RUN"],
        ["run", "--resume", "RUN"],
    ],
)
def test_no_command_executes_a_plugin_of_a_run_directory(tampered, capsys, command):
    run, _ = tampered
    if command[0] == "run":
        (run / "results.json").unlink()  # a finished run is only read
    assert run_cli([str(run) if word == "RUN" else word for word in command]) == 2
    err = capsys.readouterr().err
    assert "SHA-256" in err and f"-p {run / 'evil.py'}" in err


def test_a_report_is_written_without_the_plugin(tampered, tmp_path, capsys):
    run, _ = tampered
    assert run_cli(["report", str(run), "--out", str(tmp_path / "r.html")]) == 0
    assert "SHA-256" in capsys.readouterr().err


@pytest.mark.parametrize("call", [api.resume, api.diagnose, api.repair, api.explain])
def test_no_function_executes_a_plugin_of_a_run_directory(tampered, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tampered[0] / "results.json").unlink()  # a finished run is only read
    with pytest.raises(FusionError, match="that you did not name"):
        call(tampered[0])


@pytest.fixture
def server():
    """Server that records the headers of its requests."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(dict(self.headers))
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_address[1]}", requests
        serving.shutdown()


def test_no_command_contacts_a_cache_that_only_a_run_directory_names(
    copied, server, tmp_path, monkeypatch, capsys
):
    url, requests = server
    monkeypatch.setenv("FUSION_CACHE_TOKEN", "a-secret-of-many-characters")
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "empty"))
    change(copied, cache=url)
    for file in ("results.json", "diagnosis.json", "fold0/fused/training.json"):
        (copied / file).unlink()
    for command in (
        ["report", "RUN", "--out", str(tmp_path / "r.html")],
        ["explain", "RUN"],
        ["diagnose", "RUN"],
        ["cache", "why", "RUN"],
        ["run", "--resume", "RUN"],
    ):
        run_cli([str(copied) if word == "RUN" else word for word in command])
    assert requests == []
    assert f"--cache {url}" in capsys.readouterr().err
    run_cli(["run", "--resume", str(copied), "--cache", url])
    assert requests  # now the user names the server
