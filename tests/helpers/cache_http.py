"""Web servers on 127.0.0.1, in threads, for tests of serving and of remote reading."""

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
    """ASGI application that counts the bytes of another one's answers, and can cut them."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.sent: dict[str, int] = {}  # bytes of response bodies by path
        self.requests: list[tuple[str, str]] = []  # method and path
        self.cut = re.compile(r"(?!)")  # paths whose answers are cut
        self.cuts = math.inf  # how many answers to cut

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
    """Serve a cache folder with the real application; yield its URL and its traffic."""
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
    """Run a web server that handles every GET by `answer`; yield its URL."""

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
    """Return the paths of all requests since the server started."""
    return _Silent.asked


@contextlib.contextmanager
def plain_web_server(root: Path) -> Iterator[str]:
    """Run the server of ``python -m http.server``: it lists folders and ignores range requests."""
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
    """Return status, headers and body of one request; the path is sent unchanged."""
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
