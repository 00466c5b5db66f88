"""Errors when reading another cache, and their messages."""

from __future__ import annotations

import gzip
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from attacks import attack
from cache_computations import array_of, fingerprint
from cache_elsewhere import KEYS, N, entries_of, entry, number, shards_of
from cache_http import answering, served

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.remote import folder as remote_module
from fusion.cache.remote import upstream as upstream_module
from fusion.cache.remote.folder import RemoteFolder
from fusion.cache.remote.upstream import Upstream
from fusion.cache.shards import rows as rows_module
from fusion.cache.shards.catalogue import Catalogue
from fusion.cache.shards.shard import write_shard
from fusion.cache.upkeep.rewrite import pack
from fusion.core.contracts.errors import CacheError, StorageError

TOKEN = "0123456789abcdef-XYZ"


pytestmark = pytest.mark.usefixtures("local_cache")


# -- tokens --------------------------------------------------------------------------


def test_the_token_is_sent(
    there: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(there.root, TOKEN) as (url, _):
        with pytest.raises(CacheError, match=f"{url} asks for a token") as caught:
            FeatureCache(url).info()
        assert "FUSION_CACHE_TOKEN_FILE" in str(caught.value)
        wrong = "another-token-of-20"
        monkeypatch.setenv("FUSION_CACHE_TOKEN", wrong)
        with pytest.raises(CacheError, match="does not accept this token") as caught:
            FeatureCache(url).fetch(fingerprint(), KEYS)
        assert wrong not in str(caught.value)
        monkeypatch.setenv("FUSION_CACHE_TOKEN", TOKEN)
        assert FeatureCache(url).fetch(fingerprint(), KEYS[:5]) == 5
        monkeypatch.delenv("FUSION_CACHE_TOKEN")
        file = tmp_path / "token"
        file.touch(0o600)
        file.write_text(f"{TOKEN}\n")
        monkeypatch.setenv("FUSION_CACHE_TOKEN_FILE", str(file))
        assert FeatureCache(url).fetch(fingerprint(), KEYS[5:]) == N - 5
        assert Upstream(url, TOKEN).features() == [fingerprint()]


def test_the_token_does_not_follow_a_redirect_to_another_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FUSION_CACHE_TOKEN", TOKEN)
    tokens: dict[str, list[str | None]] = {"first": [], "second": []}

    def note(request: BaseHTTPRequestHandler) -> None:
        tokens["second"].append(request.headers["Authorization"])
        page(request)

    with answering(note) as other:

        def redirect(request: BaseHTTPRequestHandler) -> None:
            tokens["first"].append(request.headers["Authorization"])
            request.send_response(302)
            request.send_header("Location", other + request.path)
            request.send_header("Content-Length", "0")
            request.end_headers()

        with answering(redirect) as url:
            assert FeatureCache(url).info() == []
    assert set(tokens["first"]) == {f"Bearer {TOKEN}"}
    assert tokens["second"] and set(tokens["second"]) == {None}


# -- errors --------------------------------------------------------------------------


def test_no_server_at_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(CacheError, match=f"Can't read http://127.0.0.1:{port}: Connection refused"):
        FeatureCache(f"http://127.0.0.1:{port}").info()


def test_an_unknown_host() -> None:
    with pytest.raises(CacheError, match="Can't read http://nobody.invalid: ") as caught:
        FeatureCache("http://user:secret@nobody.invalid").info()
    assert "Check the address" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "_SILENT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(CacheError, match="does not answer"):
            FeatureCache(url).info()


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("nothing://x", "Protocol not known: nothing", "http://HOST:PORT"),
        ("wandb://x", "package that is not installed: Install wandbfs", "pip install wandbfs"),
        ("http://", "Can't read http://", "Check the address"),
        ("http://[", "Can't read http://[: ", "Check the address"),
    ],
)
def test_invalid_addresses(url: str, message: str, hint: str) -> None:
    with pytest.raises(CacheError, match=re.escape(message)) as caught:
        FeatureCache(url).info()
    assert hint in str(caught.value)


@pytest.mark.parametrize("missing", ["fsspec.core", "aiohttp"])
def test_a_missing_package_is_reported(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(CacheError, match="package that is not installed") as caught:
        FeatureCache("http://127.0.0.1:9").info()
    assert caught.value.hint == "pip install 'modal-fusion[remote]'"


def test_missing_s3fs_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(CacheError, match="package that is not installed") as caught:
        FeatureCache("s3://bucket/cache").info()
    assert caught.value.hint == "pip install 'modal-fusion[s3]'"


def test_a_server_without_tls(there: FeatureCache) -> None:
    with served(there.root) as (url, _):
        secure = url.replace("http", "https")
        with pytest.raises(CacheError, match=f"{secure} does not support TLS") as caught:
            FeatureCache(secure).info()
    assert "Try http://" in str(caught.value)


def test_an_untrusted_certificate() -> None:
    error = RuntimeError()
    error.os_error = ssl.SSLCertVerificationError()  # type: ignore[attr-defined]
    error.os_error.verify_message = "self-signed certificate"  # type: ignore[attr-defined]
    told = str(RemoteFolder("https://h")._explain(error))
    assert "The certificate of https://h is not trusted: self-signed certificate." in told
    assert "SSL_CERT_FILE" in told


def test_endless_redirects() -> None:
    def redirect(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", request.path)
        request.send_header("Content-Length", "0")
        request.end_headers()

    with (
        answering(redirect) as url,
        pytest.raises(CacheError, match="redirects without end") as caught,
    ):
        FeatureCache(url).info()
    assert "TooManyRedirects" not in str(caught.value)


def page(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "text/html")
    request.end_headers()
    request.wfile.write(b"<html><a href='imprint.html'>Welcome</a></html>")


def test_a_server_with_the_same_page_for_every_address() -> None:
    with answering(page) as url:
        cache = FeatureCache(url)
        assert cache.fetch(fingerprint(), KEYS) == 0
        (problem,) = cache.problems
    assert f"There is no feature cache at {url}: " in problem.reason


def endless(request: BaseHTTPRequestHandler) -> None:
    page(request)
    for _ in range(200):  # in MiB: enough to fail the test, but not to exhaust the memory
        request.wfile.write(b" " * 2**20)


def test_an_endless_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "_MAX_ANSWER", 2**20)
    with answering(endless) as url:
        with pytest.raises(CacheError, match=f"{url} sends a larger answer"):
            FeatureCache(url).info()
        with pytest.raises(CacheError, match=f"{url} sends a larger answer"):
            (found,) = RemoteFolder(url).read_ranges([("a", 0, 10)])
            raise found  # type: ignore[misc]


def test_an_endless_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remote_module, "_MAX_FILE", 2**20)
    with answering(endless) as url, pytest.raises(CacheError, match=f"{url} sends a larger answer"):
        RemoteFolder(url).download("shards.idx", tmp_path / "index")
    assert (tmp_path / "index").stat().st_size < 2**24


def test_files_of_large_arrays_may_be_large(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def small(request: BaseHTTPRequestHandler) -> None:
        page(request)
        request.wfile.write(b"x" * 1000)

    monkeypatch.setattr(remote_module, "_MAX_FILE", 500)
    with answering(small) as url:
        remote = RemoteFolder(url)
        with pytest.raises(CacheError, match="sends a larger answer"):
            remote.download("a", tmp_path / "a")
        remote.expect(1000)
        remote.download("a", tmp_path / "a")


@pytest.mark.parametrize("length", [10**15, 2**30 + 1])
def test_an_announced_size_beyond_the_limit_is_refused_at_once(tmp_path: Path, length: int) -> None:
    def huge(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(length))
        request.end_headers()
        request.wfile.write(b"x" * 1000)

    with (
        attack("hostile server"),
        answering(huge) as url,
        pytest.raises(CacheError, match=f"{url} sends a larger answer"),
    ):
        RemoteFolder(url).download("shards.idx", tmp_path / "index")
    assert not (tmp_path / "index").exists() or (tmp_path / "index").stat().st_size < 2000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP"])
@pytest.mark.parametrize("how", ["download", "read", "names", "ranges"])
def test_compressed_answers_are_refused(tmp_path: Path, encoding: str, how: str) -> None:
    """54 MB of gzip unpack to 12 GB of zeros."""
    bomb = gzip.compress(bytes(1 << 22))

    def compressed(request: BaseHTTPRequestHandler) -> None:
        request.send_response(206 if how == "ranges" else 200)
        request.send_header("Content-Type", "text/html")
        request.send_header("Content-Encoding", encoding)
        request.send_header("Content-Length", str(len(bomb)))
        request.end_headers()
        request.wfile.write(bomb)

    def act(remote: RemoteFolder) -> None:
        if how == "download":
            remote.download("shards.idx", tmp_path / "index")
        elif how == "read":
            remote.read("fingerprint.json")
        elif how == "names":
            remote.names()
        else:
            (result,) = remote.read_ranges([("a", 0, 10)])
            assert isinstance(result, Exception)
            raise result

    with (
        attack("hostile server"),
        answering(compressed) as url,
        pytest.raises(CacheError, match="compressed answer"),
    ):
        act(RemoteFolder(url))


HOSTILE_JSON = [
    "[" * 200_000, '{"a":' * 100_000, "{}", "null", "[1e400]", '"x"', '{"name": ["x"]}',
    '{"name": "ramp", "shape": [-1]}', '{"name": "ramp", "shape": [1e99]}', "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE_JSON, ids=range(len(HOSTILE_JSON)))
def test_a_hostile_fingerprint_is_a_problem_of_that_feature(text: str) -> None:
    folder = fingerprint().folder_name

    def answer(request: BaseHTTPRequestHandler) -> None:
        body = text.encode("utf-8", "replace")
        if not request.path.endswith(".json"):
            body = f"<a href='/{folder}/'>x</a><a href='/{folder}/fingerprint.json'>y</a>".encode()
        request.send_response(200)
        request.send_header("Content-Type", "text/html")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    with attack("hostile server"), answering(answer) as url:
        cache = FeatureCache(url)
        assert cache.info() == []
        assert cache.problems


@pytest.mark.parametrize("shards", ["plain", "packed"])
def test_a_server_that_stops_answering(
    there: FeatureCache, shards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client tries twice, within half a minute in total."""
    if shards == "packed":
        pytest.importorskip("hdf5plugin")
        pack(there, "zstd")
        for numbers in (range(30, 35), range(35, 40)):
            rest = [entry(n, fingerprint()) for n in numbers]
            write_shard(there.folder(fingerprint()), fingerprint(), rest, "zstd")
        there.index(fingerprint())
    assert 2 * remote_module._SILENT_SECONDS <= 30
    monkeypatch.setattr(remote_module, "_SILENT_SECONDS", 0.5)
    over = threading.Event()

    def stop_at_shards(request: BaseHTTPRequestHandler) -> None:
        if request.path.endswith(".h5"):
            over.wait(10)
            return
        path = there.root / request.path.strip("/")
        if path.is_file():
            request.send_response(200)
            request.end_headers()
            request.wfile.write(path.read_bytes())
            return
        request.send_response(200)
        request.send_header("Content-Type", "text/html")
        request.end_headers()
        for one in path.iterdir():
            slash = "/" if one.is_dir() else ""
            request.wfile.write(f"<a href='{one.name}{slash}'>x</a>".encode())

    with answering(stop_at_shards) as url, ExitStack() as at_the_end:
        at_the_end.callback(over.set)
        started = time.monotonic()
        with pytest.raises(CacheError, match="does not answer"):
            FeatureCache(url).fetch(fingerprint(), [*KEYS, "key0031", "key0036"])
        assert 0.9 < time.monotonic() - started < 2.5


def test_a_missing_codec_is_reported(there: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hdf5plugin")
    write_shard(there.folder(fingerprint()), fingerprint(), [entry(99, fingerprint())], "zstd")

    def missing(_: Any) -> CacheError:
        return CacheError("Needs hdf5plugin.", hint="pip install 'modal-fusion[pack]'")

    monkeypatch.setattr(upstream_module, "missing_codec", missing)
    cache = FeatureCache(there.root.as_uri())
    with pytest.raises(CacheError, match="hdf5plugin"):
        cache.fetch(fingerprint(), [*KEYS, "key0099"])
    assert sorted(entries_of(cache)) == KEYS  # arrays without a codec were copied


@pytest.fixture
def killable(there: FeatureCache) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command `fusion cache serve` in another process."""
    command = [sys.executable, "-m", "fusion", "cache", "serve", "--cache", str(there.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split(" at ")[1].split()[0], process
        process.kill()


def test_a_server_that_dies_during_a_fetch(
    killable: tuple[str, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, process = killable
    monkeypatch.setattr(rows_module, "_MAX_ITEMS", 8)

    def write(*args: Any) -> Path:
        process.kill()
        process.wait()
        return write_shard(*args)

    monkeypatch.setattr(upstream_module, "write_shard", write)
    cache = FeatureCache(url)
    with pytest.raises(CacheError, match=f"Can't read {url}") as caught:
        cache.fetch(fingerprint(), KEYS)
    assert "fetched arrays are kept" in str(caught.value)
    kept = entries_of(cache)
    assert len(kept) == 8
    assert all(kept[f"key{n:04d}"][0] == array_of(n).tobytes() for n in map(number, kept))


def test_a_truncated_answer(there: FeatureCache) -> None:
    """One shard is affected; arrays of other shards are kept."""
    with served(there.root) as (url, traffic):
        traffic.cut = re.compile(re.escape(shards_of(there)[10].name))
        cache = FeatureCache(url)
        with pytest.raises(CacheError, match=f"Can't read {url}"):
            cache.fetch(fingerprint(), KEYS)
        assert sorted(entries_of(cache)) == KEYS[:10] + KEYS[20:]
        traffic.cut = re.compile("(?!)")
        assert cache.fetch(fingerprint(), cache.missing(fingerprint(), KEYS)) == 10


def test_a_single_failure_is_retried(there: FeatureCache) -> None:
    with served(there.root) as (url, traffic):
        traffic.cut, traffic.cuts = re.compile("h5$"), 1
        assert FeatureCache(url).fetch(fingerprint(), KEYS) == N
        assert traffic.cuts == 0


@pytest.mark.parametrize("what", ["index", "shard", "packed"])
def test_a_connection_that_breaks_while_hdf5_reads(there: FeatureCache, what: str) -> None:
    """HDF5 crashes on streams that raise; here the error must be that of the connection."""
    folder = there.folder(fingerprint())
    keys = KEYS
    if what == "shard":
        (folder / "shards.idx").unlink()
    elif what == "packed":
        pytest.importorskip("hdf5plugin")
        packed = [entry(n, fingerprint()) for n in range(50, 60)]
        path = write_shard(folder, fingerprint(), packed, "zstd")
        there.index(fingerprint())
        keys = [e.key for e in packed]
    pattern = {"index": "shards.idx$", "shard": "h5$", "packed": "h5$"}[what]
    if what == "packed":
        pattern = re.escape(path.name)
    with served(there.root) as (url, traffic):
        traffic.cut = re.compile(pattern)
        cache = FeatureCache(url)
        with pytest.raises(CacheError, match=f"Can't read {url}"):
            cache.fetch(fingerprint(), keys)
        assert cache.problems == []
        traffic.cut = re.compile("(?!)")
        assert cache.fetch(fingerprint(), keys) == len(keys)


def test_a_shard_deleted_after_the_listing(
    there: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other machine packs or cleans up: the items count as missing."""
    gone = shards_of(there)[10]
    with served(there.root) as (url, _):
        cache = FeatureCache(url)
        assert cache.upstream is not None
        catalogue = cache.upstream.catalogue(fingerprint())
        gone.unlink()
        monkeypatch.setattr(cache.upstream, "catalogue", lambda _: catalogue)
        assert cache.fetch(fingerprint(), KEYS) == 20


@pytest.mark.parametrize("change", ["packed", "rewritten"])
def test_shards_replaced_after_the_listing(there: FeatureCache, change: str) -> None:
    """The arrays are found in their new shards, without a problem."""
    pytest.importorskip("hdf5plugin")
    with served(there.root) as (url, _):
        cache = FeatureCache(url)
        assert cache.upstream is not None
        read = cache.upstream.catalogue
        calls = 0

        def catalogue(made: Fingerprint) -> Catalogue:
            nonlocal calls
            calls += 1
            found = read(made)
            if calls == 1:
                if change == "packed":
                    pack(there, "zstd")
                else:
                    swap_rows(there)
            return found

        cache.upstream.catalogue = catalogue  # type: ignore[method-assign]
        assert cache.fetch(fingerprint(), KEYS) == N
    assert (calls, cache.problems) == (2, [])
    assert {key: row[0] for key, row in entries_of(cache).items()} == {
        f"key{n:04d}": array_of(n).tobytes() for n in range(N)
    }


def swap_rows(cache: FeatureCache) -> None:
    """Replace a shard by one with its rows in reverse order."""
    path = shards_of(cache)[10]
    rest = [entry(n, fingerprint()) for n in reversed(range(10, 20))]
    write_shard(path.parent, fingerprint(), rest).replace(path)
    cache.index(fingerprint())


def test_an_unwritable_local_folder(
    there: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("FUSION_CACHE", str(file / "cache"))
    with pytest.raises(StorageError, match="Can't write to"):
        FeatureCache(there.root.as_uri()).fetch(fingerprint(), KEYS)
