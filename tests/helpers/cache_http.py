"""Web servers on 127.0.0.1, in threads, for the tests of serving and of reading elsewhere."""

from __future__ import annotations

import contextlib
import http.client
import math
import re
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import uvicorn

from fusion.cache.exchange.server import make_app


class Traffic:
    """An application that counts what another one answers, and can be told to break."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.sent: dict[str, int] = {}  # bytes of bodies, by path
        self.requests: list[tuple[str, str]] = []  # method and path
        self.cut = re.compile(r"(?!)")  # paths whose answers end in the middle
        self.cuts = math.inf  # how many answers

    def bytes_of(self, suffix: str) -> int:
        return sum(n for path, n in self.sent.items() if path.endswith(suffix))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.requests.append((scope["method"], path))

        async def count(message: Any) -> None:
            body = message.get("body", b"")
            if body and self.cuts > 0 and self.cut.search(path):
                self.cuts -= 1
                await send({**message, "body": body[:10], "more_body": True})
                raise ConnectionAbortedError("on purpose")
            self.sent[path] = self.sent.get(path, 0) + len(body)
            await send(message)

        await self._app(scope, receive, count)


@contextlib.contextmanager
def served(root: Path, token: str | None = None) -> Iterator[tuple[str, Traffic]]:
    """A cache folder served by the real application; its URL, and what goes over the wire."""
    traffic = Traffic(make_app(root, token=token))
    config = uvicorn.Config(traffic, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", traffic
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A web server that does this with every GET."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(ConnectionError):
                answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Silent(SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def log_message(self, *_: Any) -> None:
        self.asked.append(self.path)


def asked_of_plain_web_server() -> list[str]:
    """The paths of all requests since it started."""
    return _Silent.asked


@contextlib.contextmanager
def plain_web_server(root: Path) -> Iterator[str]:
    """What ``python -m http.server`` runs: listings, and no answers to range requests."""
    _Silent.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def ask(
    url: str, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request, the path sent as it is."""
    host = url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()
