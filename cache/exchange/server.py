"""Server that lets other machines read a cache folder over HTTP.

The server shows a feature's folder as a page of links and answers range requests for files, like
any static web server. In addition, the server hides all files that are not part of the cache, and
can require a token.
"""

from __future__ import annotations

import contextlib
import hmac
import importlib
import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CacheError, not_installed
from ..shards.layout import is_public

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send
    from uvicorn.protocols.http.h11_impl import H11Protocol

LOOPBACK = "127.0.0.1"
_GRACE_SECONDS = 5  # time to finish answers after Ctrl-C
_IDLE_SECONDS = 10.0  # maximum time without a request per connection
_STALLED_SECONDS = 30.0  # maximum time in which a client reads nothing of its answer
_MAX_CONNECTIONS = 512
_OWN_FILES = 16  # open files of the server that belong to no connection
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def serve(
    root: Path,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    token: str | None = None,
    on_start: Callable[[str], None] | None = None,
) -> None:
    """Serve a cache folder until Ctrl-C.

    Parameters
    ----------
    root : Path
        The folder.
    host : str
        Name or address of this machine at which the server listens.
    port : int
        Port; 0 for a free one.
    token : str, optional
        Token that clients must send as ``Authorization: Bearer TOKEN``. A host that other machines
        can reach requires a token.
    on_start : callable, optional
        Receives the URL when connections are accepted.

    Raises
    ------
    CacheError
        If the folder does not exist, the address can't be used, a token is missing, or starlette or
        uvicorn is not installed.
    """
    _check_installed()
    import uvicorn

    if not root.is_dir():
        raise CacheError(
            f"There is no cache folder {root}.",
            hint="Name another folder with --cache or FUSION_CACHE, or make one with fusion cache "
            "build.",
        )
    address = _resolve(host, port)
    if token is None and not _is_loopback(address[1]):
        raise CacheError(
            f"{host} can be reached from other machines, and no token was given.",
            hint="Add --token-file FILE, or leave out --host and let ssh forward the port.",
        )
    # Without a token, check the Host header: another website could point its name at this server.
    hosts = None if token else [LOOPBACK, "localhost", "[::1]", _in_url(host)]
    most = _max_connections()
    config = uvicorn.Config(
        make_app(root, token=token, hosts=hosts),
        http=_protocol(2 * most),
        loop="asyncio",
        limit_concurrency=most,  # further connections get status 503
        backlog=most,
        log_level="error",  # uvicorn's warnings only concern malformed requests
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    with (
        _listening(host, address) as listener,
        _log_once("socket.accept() out of system resource"),
        contextlib.suppress(KeyboardInterrupt),
    ):

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                if on_start:  # from now on, Ctrl-C ends the server cleanly
                    on_start(_url(host, listener))

        Server(config).run(sockets=[listener])


def make_app(root: Path, *, token: str | None = None, hosts: list[str] | None = None) -> Starlette:
    """Return the web application that :func:`serve` runs.

    Parameters
    ----------
    hosts : list of str, optional
        Host names accepted in requests; all by default.
    """
    _check_installed()
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    files = _Files(root.resolve())
    middleware = []
    if hosts:
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=hosts))
    if token:
        middleware.append(Middleware(_Bearer, token=token))
    routes = [
        Route("/", files.features),
        Route("/{folder}", files.folder_without_slash),
        Route("/{folder}/", files.folder),
        Route("/{folder}/{name}", files.file),
    ]
    app = Starlette(routes=routes, middleware=middleware)
    app.router.redirect_slashes = False  # else every unknown path is redirected
    return app


class _Files:
    """Handlers of pages and files, which Starlette calls in threads, for GET and HEAD only."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def features(self, _: Request) -> Response:
        folders = (entry.name for entry in self._root.iterdir())
        return _page(f"{name}/" for name in folders if self._find(name))

    def folder(self, request: Request) -> Response:
        name = request.path_params["folder"]
        folder = self._find(name)
        if folder is None:
            raise _not_found()
        with os.scandir(folder) as listing:
            return _page([e.name for e in listing if self._lists(name, e)])

    def folder_without_slash(self, request: Request) -> Response:
        from starlette.responses import RedirectResponse

        name = request.path_params["folder"]
        if self._find(name) is None:
            raise _not_found()
        return RedirectResponse(f"{name}/")

    def file(self, request: Request) -> Response:
        from starlette.responses import FileResponse

        path = self._find(request.path_params["folder"], request.path_params["name"])
        if path is None:
            raise _not_found()
        return FileResponse(path, stat_result=path.stat())

    def _lists(self, folder: str, entry: os.DirEntry[str]) -> bool:
        # Only links are resolved, because a folder may hold 10,000 shards.
        plain = entry.is_file(follow_symlinks=False) and is_public(folder, entry.name)
        return plain or self._find(folder, entry.name) is not None

    def _find(self, folder: str, name: str | None = None) -> Path | None:
        """Return the path of a folder or file if it may be served, else None.

        Both the requested name and the real location behind symbolic links must be public.
        """
        if not is_public(folder, name):
            return None
        try:
            path = self._root.joinpath(folder, name or "").resolve(strict=True)
            real = path.relative_to(self._root).parts
        except (OSError, RuntimeError, ValueError):
            return None
        is_requested_kind = path.is_dir() if name is None else path.is_file()
        same_kind = len(real) == (1 if name is None else 2)
        may_serve = (
            is_requested_kind and same_kind and is_public(*real) and os.access(path, os.R_OK)
        )
        return path if may_serve else None


class _Bearer:
    """Middleware that admits only requests with the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import PlainTextResponse

        if scope["type"] != "http" or self._has_token(dict(scope["headers"])):
            await self._app(scope, receive, send)
            return
        response = PlainTextResponse(
            "This cache asks for a token.\n", 401, {"WWW-Authenticate": "Bearer"}
        )
        await response(scope, receive, send)

    def _has_token(self, headers: dict[bytes, bytes]) -> bool:
        scheme, _, sent = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(sent.strip(), self._token)


def _page(names: Iterator[str] | list[str]) -> Response:
    from starlette.responses import HTMLResponse

    # Names consist of letters, digits, '_', '.' and '-', so nothing needs escaping.
    links = "".join(f'<a href="{name}">{name}</a><br>\n' for name in sorted(names))
    return HTMLResponse(f"<!DOCTYPE html>\n<title>fusion cache</title>\n{links}")


def _not_found() -> Exception:
    from starlette.exceptions import HTTPException

    return HTTPException(404)


# -- connections ---------------------------------------------------------------------


def _max_connections() -> int:
    """Return the maximum number of connections for which file descriptors suffice.

    The limit leaves descriptors for all connections, for one file per connection, and for the
    connections that wait to be accepted.
    """
    try:
        import resource
    except ImportError:  # not POSIX
        return _MAX_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return max(4, min(_MAX_CONNECTIONS, (files - _OWN_FILES) // 3))


def _protocol(most: int) -> type[H11Protocol]:
    """Return an HTTP protocol that allows at most `most` connections and closes idle connections.

    By default uvicorn waits for ever for the first request, and accepts every connection.
    """
    import asyncio

    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        _idle: asyncio.TimerHandle | None = None
        _stalled: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.write(_FULL)  # without waiting for the request
                transport.close()
            else:
                self._wait()

        def pause_writing(self) -> None:
            """Give the client time to read; asyncio calls this method when its buffer is full."""
            super().pause_writing()
            self._stalled = self.loop.call_later(_STALLED_SECONDS, self.transport.abort)

        def resume_writing(self) -> None:
            self._read_on()
            super().resume_writing()

        def _read_on(self) -> None:
            if self._stalled is not None:
                self._stalled.cancel()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            self._read_on()
            super().connection_lost(exc)

        def handle_events(self) -> None:
            super().handle_events()
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_waiting()

        def on_response_complete(self) -> None:
            self._stop_waiting()
            self._wait()
            super().on_response_complete()

        def _wait(self) -> None:
            self._idle = self.loop.call_later(_IDLE_SECONDS, self.transport.abort)

        def _stop_waiting(self) -> None:
            if self._idle is not None:
                self._idle.cancel()

    return Protocol


@contextlib.contextmanager
def _log_once(start: str) -> Iterator[None]:
    """Log filter: pass the first asyncio message with a given prefix and drop repeats.

    asyncio can log thousands of messages with the same prefix.
    """
    has_logged = False

    def is_new(record: logging.LogRecord) -> bool:
        nonlocal has_logged
        if not record.getMessage().startswith(start):
            return True
        first, has_logged = not has_logged, True
        record.exc_info = None
        return first

    logger = logging.getLogger("asyncio")
    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)


# -- the socket ----------------------------------------------------------------------

_Address = tuple[socket.AddressFamily, str, int]


def _resolve(host: str, port: int) -> _Address:
    if not 0 <= port <= 65535:
        raise CacheError(f"There is no port {port}: ports are 1 to 65535; 0 selects a free port.")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CacheError(
            f"This machine has no address {host!r}: {getattr(error, 'strerror', error)}.",
            hint=f"Use {LOOPBACK} to accept this machine only, or 0.0.0.0 to accept all machines.",
        ) from None
    family, _, _, _, address = addresses[0]
    return family, str(address[0]), int(address[1])


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


@contextlib.contextmanager
def _listening(host: str, address: _Address) -> Iterator[socket.socket]:
    family, name, port = address
    # With IPPROTO_TCP, asyncio turns off Nagle's algorithm, which delays small answers by 40 ms.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        if os.name == "posix":  # on Windows the option would take a running server's port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((name, port))
            listener.listen()
        except OSError as error:
            raise CacheError(
                f"Can't listen at {_in_url(host)}:{port}: {error.strerror or error}.",
                hint="Choose another --port (0 finds a free one), or another --host.",
            ) from None
        yield listener


def _url(host: str, listener: socket.socket) -> str:
    address, port = listener.getsockname()[:2]
    is_wildcard = ipaddress.ip_address(address.partition("%")[0]).is_unspecified
    return f"http://{_in_url(socket.gethostname() if is_wildcard else host)}:{port}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _check_installed() -> None:
    for name in ("starlette", "uvicorn"):
        try:
            importlib.import_module(name)
        except ImportError:
            raise not_installed("Serving a cache", name, "serve") from None
