"""``fusion cache serve`` and its clients, in separate processes with real sockets."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from small_runs import SMALL

from fusion.core.cli import run_cli

TOKEN = "0123456789abcdef-XYZ"
FEATURES = [*SMALL[:6], "--features", "mel,persistence", "--jobs", "1"]


pytestmark = pytest.mark.usefixtures("local_cache")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture(scope="module")
def built(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built")
    command = ["cache", "build", "--data", str(corpus), "--cache", str(root), "--quiet"]
    assert run_cli([*command, *FEATURES]) == 0
    return root


@contextmanager
def serving(root: Path, *options: str) -> Iterator[tuple[str, str, subprocess.Popen[str]]]:
    """Yield the two lines that the command prints, and its process."""
    command = [sys.executable, "-m", "fusion", "cache", "serve", "--cache", str(root), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline(), process.stdout.readline(), process
        finally:
            process.kill()


def url_of(line: str) -> str:
    return line.split(" at ")[1].split()[0]


def build(corpus: Path, cache: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    command = ["cache", "build", "--data", str(corpus), "--cache", cache, "--quiet"]
    assert run_cli([*command, *FEATURES]) == 0
    return capsys.readouterr().out


def test_a_build_fetches_what_another_machine_has_computed(
    built: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(built) as (first, second, _):
        url = url_of(first)
        assert first == f"serving {built} at {url} (Ctrl-C stops the server)\n"
        assert second == f"to read the cache: fusion run --cache {url}\n"
        output = build(corpus, url, capsys)
        assert f"0 computed, 108 fetched from {url}, 0 present already, 0 failed" in output
        assert f"cache: {tmp_path / 'local'}" in output
        assert "0 computed, 108 present already" in build(corpus, url, capsys)
    # The server is no longer needed.
    assert "0 computed, 108 present already" in build(corpus, url, capsys)
    assert bytes_of(tmp_path / "local") == bytes_of(built)


def bytes_of(root: Path) -> list[tuple[str, int]]:
    from fusion.cache import FeatureCache

    cache = FeatureCache(root)
    catalogues = [cache.catalogue(created) for created in cache.features()]
    return sorted(
        (key.decode(), int(checksum))
        for result in catalogues
        for key, checksum in zip(result.keys.tolist(), result.checksums.tolist(), strict=True)
    )


@pytest.mark.slow
def test_a_run_reads_the_features_of_another_machine(
    built: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(built) as (first, _, _):
        url = url_of(first)
        out = tmp_path / "run"
        command = ["run", "--data", str(corpus), "--cache", url, "--out", str(out)]
        assert run_cli([*command, "--epochs", "2", *SMALL]) == 0
    assert f"features  108 fetched from {url}, 0 found in the cache" in capsys.readouterr().err
    assert json.loads((out / "run.json").read_text())["config"]["cache"] == url


def test_info_of_another_machine(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(built) as (first, _, _):
        url = url_of(first)
        assert run_cli(["cache", "info", "--cache", url]) == 0
        output = capsys.readouterr().out
        assert output.startswith(f"{url}\n")
        assert "54 items of shape (1, 16, 32)" in output
        assert run_cli(["cache", "info", "--cache", url, "--json"]) == 0
        listing = json.loads(capsys.readouterr().out)
        assert listing["root"] == url
        assert [feature["items"] for feature in listing["features"]] == [54, 54]


def test_small_responses_are_not_delayed(built: Path) -> None:
    """Delayed acknowledgements and Nagle's algorithm together would add 40 ms to each response."""
    with serving(built) as (first, _, _):
        connection = http.client.HTTPConnection(url_of(first).removeprefix("http://"), timeout=20)
        path = f"/{next(built.glob('mel-*')).name}/fingerprint.json"
        started = time.monotonic()
        for _ in range(50):
            connection.request("GET", path)
            assert connection.getresponse().read().startswith(b"{")
        assert time.monotonic() - started < 1.0
        connection.close()


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_ctrl_c_exits_with_code_0(built: Path) -> None:
    with serving(built) as (first, _, process):
        host, _, port = url_of(first).removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))):  # never closed
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_server_with_a_token_refuses_other_tokens(
    built: Path, corpus: Path, token_file: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with serving(built, "--token-file", str(token_file), "--host", "0.0.0.0") as lines:
        first, second, process = lines
        port = url_of(first).rpartition(":")[2]
        assert url_of(first) == f"http://{socket.gethostname()}:{port}"
        variable = "FUSION_CACHE_TOKEN_FILE=FILE"
        assert second == f"to read the cache: {variable} fusion run --cache {url_of(first)}\n"
        url = f"http://127.0.0.1:{port}"
        assert run_cli(["cache", "info", "--cache", url]) == 2
        assert f"error: {url} asks for a token." in capsys.readouterr().err
        monkeypatch.setenv("FUSION_CACHE_TOKEN", TOKEN + "x")
        assert run_cli(["cache", "info", "--cache", url]) == 2
        assert f"error: {url} does not accept this token." in capsys.readouterr().err
        monkeypatch.delenv("FUSION_CACHE_TOKEN")
        monkeypatch.setenv("FUSION_CACHE_TOKEN_FILE", str(token_file))
        assert "0 computed, 108 fetched" in build(corpus, url, capsys)
        process.terminate()
        assert TOKEN not in "".join([first, second, *process.communicate(timeout=30)])


@pytest.mark.skipif(os.name != "posix", reason="limits of open files are POSIX")
def test_idle_connections_are_closed_before_they_exhaust_the_server(built: Path) -> None:
    """The server may open 40 files; 60 idle connections are refused or soon closed."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40));"
        "from fusion.cache.exchange import server; server._IDLE_SECONDS = 2.0;"
        "from pathlib import Path;"
        "server.serve(Path(sys.argv[1]), on_start=lambda url: print(url, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(built)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process, ExitStack() as stack:  # fmt: skip
        stack.callback(process.kill)
        assert process.stdout is not None
        host, _, port = process.stdout.readline().strip().removeprefix("http://").partition(":")
        first = [stack.enter_context(connection(host, port)) for _ in range(10)]
        time.sleep(0.2)
        assert status(host, port) == 503
        for _ in range(50):
            stack.enter_context(connection(host, port))
        deadline = time.monotonic() + 20
        while status(host, port) != 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert all(one.recv(1) == b"" for one in first)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    assert err.count("socket.accept() out of system resource") <= 1


@pytest.mark.skipif(os.name != "posix", reason="limits of open files are POSIX")
def test_clients_that_read_nothing_are_closed(built: Path, tmp_path: Path) -> None:
    """Four clients hold all slots of a server, until the server closes their connections."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30));"
        "from fusion.cache.exchange import server; server._STALLED_SECONDS = 1.0;"
        "from pathlib import Path;"
        "server.serve(Path(sys.argv[1]), on_start=lambda url: print(url, flush=True))"
    )
    # A file larger than all buffers on the way.
    folder = tmp_path / f"big-{'0' * 32}"
    folder.mkdir()
    (folder / "a.h5").write_bytes(bytes(32 << 20))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process, ExitStack() as stack:  # fmt: skip
        stack.callback(process.kill)
        assert process.stdout is not None
        host, _, port = process.stdout.readline().strip().removeprefix("http://").partition(":")
        request = f"GET /{folder.name}/a.h5 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        clients = [stack.enter_context(connection(host, port)) for _ in range(4)]
        for client in clients:
            client.sendall(request)
        deadline = time.monotonic() + 60
        for expected in (503, 200):  # all slots are taken, then free again
            while status(host, port) != expected:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        # A connection that is closed a little later may be read to its end.
        assert min(map(received, clients)) < 32 << 20
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert "Traceback" not in err


def received(client: socket.socket) -> int:
    """Return the bytes that a client receives until the server closes the connection."""
    total = 0
    with suppress(ConnectionError):
        while data := client.recv(1 << 20):
            total += len(data)
    return total


def connection(host: str, port: str) -> socket.socket:
    return socket.create_connection((host, int(port)), timeout=10)


def status(host: str, port: str) -> int | None:
    """Return the HTTP status of a request for the features, None if the connection breaks."""
    client = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        client.request("GET", "/")
        return client.getresponse().status
    except OSError:
        return None
    finally:
        client.close()


def test_malformed_requests_print_nothing(built: Path) -> None:
    odd = [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"\x16\x03\x01\x00\r\n\r\n",
        b"nonsense\r\n\r\n",
    ]
    with serving(built) as (first, _, process):
        host, _, port = url_of(first).removeprefix("http://").partition(":")
        for request in odd:
            with connection(host, port) as one:
                one.sendall(request)
                assert one.recv(100).startswith(b"HTTP/1.1 ")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")


# -- mistakes ------------------------------------------------------------------------


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the error message; assert exit code 2 and no traceback."""
    assert run_cli(["cache", "serve", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "Traceback" not in output.err
    return output.err


def test_mistakes_in_serve(
    tmp_path: Path, token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path)
    none = tmp_path / "none"
    assert f"no cache in {none}" in mistake(capsys, "--cache", str(none))
    assert f"no cache in {tmp_path / 'local'}" in mistake(capsys)
    assert "no port 70000" in mistake(capsys, "--cache", root, "--port", "70000")
    assert "not a valid integer" in mistake(capsys, "--cache", root, "--port", "x")
    assert "--token-file FILE" in mistake(capsys, "--cache", root, "--host", "0.0.0.0")
    assert "is read-only from this machine" in mistake(capsys, "--cache", "http://127.0.0.1:9")
    assert "No such file" in mistake(capsys, "--cache", root, "--token-file", str(none))
    token_file.chmod(0o644)
    output = mistake(capsys, "--cache", root, "--token-file", str(token_file))
    assert "mode 644" in output
    assert f"chmod 600 {token_file}" in output
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = str(used.getsockname()[1])
        assert f"127.0.0.1:{port}: Address already in use" in mistake(
            capsys, "--cache", root, "--port", port
        )


def test_help_imports_no_heavy_package() -> None:
    code = (
        "import sys; from fusion.core.cli import run_cli; run_cli(['cache', 'serve', '--help']);"
        "sys.exit(len({'starlette', 'uvicorn', 'fsspec', 'h5py', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--token-file FILE" in result.stdout
