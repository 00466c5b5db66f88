from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_computations import array_of, fingerprint
from cache_http import Traffic, ask, served
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.exchange.server import make_app, serve
from fusion.core.contracts.errors import CacheError

SECRET = b"nobody else's business"
TOKEN = "0123456789abcdef-XYZ"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of two features, surrounded by files that must not be served."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_bytes(SECRET)
    (outside / "secret.h5").write_bytes(SECRET)
    cache = FeatureCache(outside / "cache")
    for name in ("ramp", "slope"):
        cache.add(fingerprint(name), ["a", "b"], [array_of(0), array_of(1)])
        cache.index(fingerprint(name))
    folder = cache.folder(fingerprint())
    (folder / "claims").mkdir()
    for path in (
        cache.root / "runs.json",
        cache.root / "a.h5",
        folder / ".0123.host.1.tmp",
        folder / ".hidden.h5",
        folder / "notes.txt",
        folder / "claims/a.h5",
    ):
        path.write_bytes(SECRET)
    (cache.root / "runs").mkdir()
    (cache.root / "runs/a.h5").write_bytes(SECRET)
    return cache.root


@pytest.fixture(scope="module")
def app(root: Path) -> Any:
    return make_app(root)


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[tuple[str, Traffic]]:
    with served(root) as result:
        yield result


@pytest.fixture(scope="module")
def url(server: tuple[str, Traffic]) -> str:
    return server[0]


@pytest.fixture
def folder(root: Path) -> Path:
    return FeatureCache(root).folder(fingerprint())


def links(page: bytes) -> list[str]:
    return re.findall(r'<a href="([^"]*)">', page.decode())


def shard_of(folder: Path) -> Path:
    (path,) = folder.glob("[!.]*.h5")
    return path


def test_pages_link_only_public_files(url: str, root: Path, folder: Path) -> None:
    status, headers, page = ask(url, "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    features = [FeatureCache(root).folder(fingerprint(name)).name for name in ("ramp", "slope")]
    assert links(page) == [f"{name}/" for name in features]
    status, _, page = ask(url, f"/{folder.name}/")
    assert status == 200
    assert links(page) == sorted([shard_of(folder).name, "fingerprint.json", "shards.idx"])


def test_files_are_served_unchanged(url: str, folder: Path) -> None:
    for path in (shard_of(folder), folder / "fingerprint.json", folder / "shards.idx"):
        status, headers, body = ask(url, f"/{folder.name}/{path.name}")
        assert (status, body) == (200, path.read_bytes())
        assert headers["content-length"] == str(len(body))
        status, head, body = ask(url, f"/{folder.name}/{path.name}", "HEAD")
        assert (status, body) == (200, b"")
        assert head["etag"] == headers["etag"]
        assert head["content-length"] == headers["content-length"]


@pytest.mark.parametrize(
    ("requested", "start", "stop"), [("100-199", 100, 200), ("0-0", 0, 1), ("-7", -7, None)]
)
def test_ranges_of_files(
    url: str, folder: Path, requested: str, start: int, stop: int | None
) -> None:
    path = shard_of(folder)
    whole = path.read_bytes()
    status, headers, body = ask(url, f"/{folder.name}/{path.name}", Range=f"bytes={requested}")
    assert (status, body) == (206, whole[start:stop])
    first, last = slice(start, stop).indices(len(whole))[:2]
    assert headers["content-range"] == f"bytes {first}-{last - 1}/{len(whole)}"


def test_a_range_beyond_the_end(url: str, folder: Path) -> None:
    path = f"/{folder.name}/{shard_of(folder).name}"
    status, headers, _ = ask(url, path, Range="bytes=9999999-")
    assert status == 416
    assert headers["content-range"] == f"bytes */{shard_of(folder).stat().st_size}"


@pytest.mark.parametrize(
    "path",
    ["/runs.json", "/a.h5", "/runs", "/runs/", "/F/claims", "/runs/a.h5",
     "/F/.hidden.h5", "/F/.0123.host.1.tmp", "/F/notes.txt", "/F/claims/",
     "/F/claims/a.h5", "/F/none.h5", "/F/shards.idx/",
     "/none-" + "0" * 32 + "/", "/none-" + "0" * 32 + "/a.h5"],
)  # fmt: skip
def test_other_paths_are_not_found(url: str, folder: Path, path: str) -> None:
    status, _, body = ask(url, path.replace("F", folder.name))
    assert status == 404
    assert SECRET not in body


def test_a_folder_without_its_slash_is_redirected(url: str, folder: Path) -> None:
    status, headers, _ = ask(url, f"/{folder.name}")
    assert (status, headers["location"]) == (307, f"{folder.name}/")


@pytest.mark.parametrize(
    "path",
    ["/../secret", "/../secret.h5", "/F/../../secret.h5", "/F/..%2f..%2fsecret.h5",
     "/%2e%2e/secret.h5", "/F/%2e%2e/%2e%2e/secret.h5", "/F/%2e%2e%2f%2e%2e%2fsecret.h5",
     "/F/..%5c..%5csecret.h5", "/F/%252e%252e%252f%252e%252e%252fsecret.h5",
     "/F/..%c0%af..%c0%afsecret.h5", "//OUT/secret.h5", "/OUT/secret.h5", "/F//OUT/secret.h5",
     "/%2fOUT/secret.h5", "/F/%2fOUT%2fsecret.h5", "/F/.%00./secret.h5", "/F/a.h5%00",
     "/F/./.hidden.h5", "/F/../runs.json", "/F/%2e%2e/a.h5", "/F/%2ehidden.h5",
     "http://127.0.0.1/F/../runs.json", "/..;/secret.h5", "/F/..;/a.h5"],
)  # fmt: skip
def test_paths_outside_the_cache_are_not_served(url: str, folder: Path, path: str) -> None:
    outside = str(folder.parents[1]).lstrip("/")
    status, _, body = ask(url, path.replace("OUT", outside).replace("F", folder.name))
    assert status in (400, 404)
    assert SECRET not in body


def answer(app: Any, path: str) -> tuple[int, bytes]:
    """Return status and body of a request without a socket."""
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {
        "type": "http", "method": "GET", "path": path, "query_string": b"", "root_path": "",
        "headers": [(b"host", b"x")], "scheme": "http", "server": ("x", 80),
        "asgi": {"version": "3.0", "spec_version": "2.4"},
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return messages[0]["status"], b"".join(m.get("body", b"") for m in messages[1:])


PIECES = st.sampled_from(
    ["/", "//", "..", ".", "\\", "\0", "F", "SHARD", "fingerprint.json", "shards.idx", "secret.h5",
     "runs", "claims", "a.h5", ".hidden.h5", "~", "%2e", " "]
)  # fmt: skip


@settings(deadline=None, max_examples=100)
@given(pieces=st.lists(PIECES | st.text(max_size=3), max_size=8))
def test_only_linked_paths_are_served(root: Path, app: Any, pieces: list[str]) -> None:
    folder = FeatureCache(root).folder(fingerprint())
    names = {"F": folder.name, "SHARD": shard_of(folder).name}
    path = "/" + "".join(names.get(piece, piece) for piece in pieces)
    linked = {"/"}
    for one in (folder, FeatureCache(root).folder(fingerprint("slope"))):
        files = (shard_of(one).name, "fingerprint.json", "shards.idx", "")
        linked |= {f"/{one.name}/{name}" for name in files}
    status, body = answer(app, path)
    assert (status == 200) == (path in linked)
    assert (status == 307) == (f"{path}/" in linked)
    assert SECRET not in body


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "secret.h5").write_bytes(SECRET)
    cache = FeatureCache(tmp_path / "cache")
    cache.add(fingerprint(), ["a"], [array_of(0)])
    folder, other = cache.folder(fingerprint()), cache.folder(fingerprint("slope"))
    (cache.root / "runs").mkdir()
    (cache.root / "runs/secret.h5").write_bytes(SECRET)
    shard = shard_of(folder).name
    elsewhere = tmp_path / other.name
    elsewhere.mkdir()
    (elsewhere / "secret.h5").write_bytes(SECRET)
    other.symlink_to(elsewhere)
    (folder / "outside.h5").symlink_to(tmp_path / "secret.h5")
    (folder / "upward.h5").symlink_to("../../secret.h5")
    (folder / "beside.h5").symlink_to("../runs/secret.h5")
    (folder / "loop.h5").symlink_to("loop.h5")
    (folder / "gone.h5").symlink_to("nothing.h5")
    (folder / "same.h5").symlink_to(shard)
    (folder / "folder.h5").mkdir()
    os.mkfifo(folder / "pipe.h5")
    alias = tmp_path / "alias"
    alias.symlink_to(cache.root)
    with served(alias) as (url, _):
        assert links(ask(url, "/")[2]) == [f"{folder.name}/"]
        expected = sorted([shard, "same.h5", "fingerprint.json"])
        assert links(ask(url, f"/{folder.name}/")[2]) == expected
        for name in ("outside", "upward", "beside", "loop", "gone", "folder", "pipe"):
            status, _, body = ask(url, f"/{folder.name}/{name}.h5")
            assert (status, SECRET in body) == (404, False)
        assert ask(url, f"/{other.name}/secret.h5")[0] == 404
        assert ask(url, f"/{folder.name}/same.h5")[2] == (folder / shard).read_bytes()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_write_methods_are_refused(url: str, folder: Path, method: str) -> None:
    before = sorted((p.name, p.stat().st_size) for p in folder.iterdir())
    for path in ("/", f"/{folder.name}/", f"/{folder.name}/fingerprint.json"):
        assert ask(url, path, method)[0] == 405
    assert ask(url, f"/{folder.name}/new.h5", method)[0] == 405
    assert sorted((p.name, p.stat().st_size) for p in folder.iterdir()) == before


def test_the_token_is_required(root: Path, folder: Path) -> None:
    with served(root, TOKEN) as (url, _):
        paths = ("/", f"/{folder.name}/", f"/{folder.name}/fingerprint.json", "/nothing")
        wrong = [
            {},
            {"Authorization": "Bearer"},
            {"Authorization": f"Bearer {TOKEN}x"},
            {"Authorization": f"Bearer {TOKEN[:-1]}"},
            {"Authorization": f"Bearer {TOKEN.lower()}"},
            {"Authorization": TOKEN},
            {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": "Bearer \xe4\xf6\xfc"},
        ]
        for path in paths:
            for headers in wrong:
                status, got, body = ask(url, path, **headers)
                assert (status, got["www-authenticate"]) == (401, "Bearer")
                assert TOKEN.encode() not in body
        assert ask(url, "/", "POST")[0] == 401
        for right in (f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
            assert ask(url, "/", Authorization=right)[0] == 200


def test_pages_of_other_sites_have_no_access(root: Path) -> None:
    app = make_app(root, hosts=["127.0.0.1", "localhost", "[::1]"])
    assert answer(app, "/")[0] == 400  # the host of the request is x


# -- host and port -------------------------------------------------------------------


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="There is no cache folder") as caught:
        serve(tmp_path / "none")
    assert "fusion cache build" in str(caught.value)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(CacheError, match="There is no cache folder"):
        serve(file)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_public_addresses_require_a_token(tmp_path: Path, host: str) -> None:
    with pytest.raises(CacheError, match="no token was given") as caught:
        serve(tmp_path, host=host)
    assert "--token-file" in str(caught.value)


@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_an_invalid_port_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(CacheError, match=f"no port {port}"):
        serve(tmp_path, port=port)


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        with pytest.raises(CacheError, match=f"127.0.0.1:{port}: Address already in use"):
            serve(tmp_path, port=port)


@pytest.mark.parametrize("host", ["", "nobody.invalid", "300.1.1.1", "a b", "x" * 70])
def test_an_invalid_host_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(CacheError, match="has no address"):
        serve(tmp_path, host=host)


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="Can't listen at 192.0.2.1:0"):
        serve(tmp_path, host="192.0.2.1", token=TOKEN)


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_a_missing_package_is_reported(
    tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(CacheError, match=f"package {missing}") as caught:
        serve(tmp_path)
    assert caught.value.hint == "pip install 'modal-fusion[serve]'"


def test_any_feature_name_is_served(tmp_path: Path) -> None:
    """Every valid name of a fingerprint can be served."""
    cache = FeatureCache(tmp_path)
    created = [Fingerprint(name, "1", {}, "int8", (1,), {}) for name in ("A", "_x.y-z", "0.1")]
    for one in created:
        cache.add(one, ["a"], [np.zeros(1, np.int8)])
    with served(tmp_path) as (url, _):
        assert links(ask(url, "/")[2]) == sorted(f"{cache.folder(one).name}/" for one in created)
