"""Remote folder, read through fsspec, with the same exceptions for every protocol."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from ..errors import CacheError, FusionError
from .tokens import TOKEN, TOKEN_FILE, token_from_environment
from .urls import check_no_query, names_user, without_user

_REQUESTS = 16  # number of simultaneous requests
_CONNECT_SECONDS = 10.0
_SILENT_SECONDS = 15.0  # maximum time without a byte; each request is tried twice
_BLOCK = 2**16
# Maximum bytes of an answer that is kept in memory and whose size the server does not announce.
# A page of a million names fits.
_MAX_ANSWER = 64 * 2**20
# Maximum bytes of a file. A shard has at most 64 MiB of arrays, unless a single array is larger.
# The index of ten million items is smaller, too.
_MAX_FILE = 2**30

_EXTRAS = {"http": "remote", "https": "remote", "s3": "s3", "s3a": "s3"}

_BEYOND_THE_END = 416  # HTTP status

_KEPT = "Start again when the server answers: fetched arrays are kept."


class RemoteFolder:
    """Files in a folder that fsspec can reach, by relative path; connects when first used.

    The methods raise ``FileNotFoundError`` if a file or folder does not exist, and CacheError for
    every other failure.

    Parameters
    ----------
    url : str
        Any URL that fsspec supports: ``http://HOST:PORT``, ``s3://BUCKET/FOLDER``,
        ``file:///FOLDER``.
    token : str, optional
        Token for http and https; by default the token in the environment (see
        :mod:`fusion.cache.remote.tokens`).

    Raises
    ------
    CacheError
        If a web address has a query or a fragment.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        check_no_query(url)
        self._url = url
        self._token = token
        self._http = url.startswith(("http://", "https://"))
        self._sends_parts = True
        self._max_file = _MAX_FILE
        self._whole: tuple[str, IO[bytes]] | None = None

    def __str__(self) -> str:
        return without_user(self._url)

    def names(self, folder: str = "") -> dict[str, int]:
        """Return the sizes in bytes of a folder's entries by name; -1 for an unknown size."""
        with self._explained():
            self._files.invalidate_cache()
            # Without the slash, many web servers redirect, some of these servers to another port.
            entries = self._files.ls(f"{self._path(folder)}/", detail=True)
        sizes = {}
        for entry in entries:
            size = entry.get("size") if entry.get("type") == "file" else None
            sizes[entry["name"].rstrip("/").rpartition("/")[2]] = -1 if size is None else int(size)
        return sizes

    def read(self, path: str) -> bytes:
        """Return the contents of a file."""
        with self._explained():
            return bytes(self._files.cat_file(self._path(path)))

    def download(self, path: str, target: Path) -> None:
        """Copy a file to this machine."""
        with self._explained():
            self._get_file(path, str(target))

    def expect(self, array_bytes: int) -> None:
        """Allow files that hold a few arrays of this size."""
        self._max_file = max(_MAX_FILE, 4 * array_bytes)

    def _get_file(self, path: str, target: str) -> None:
        self._files.get_file(self._path(path), target, callback=_limit(self._max_file))

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes | Exception]:
        """Read parts of files, given as (path, start, end), several at a time.

        If a part can't be read, the result holds the error: FileNotFoundError or CacheError.
        If a file ends before the end of the part, the result holds the bytes before the file's end.
        """
        results: list[bytes | Exception] = []
        step = _REQUESTS if self._sends_parts else 1
        for first in range(0, len(ranges), step):
            results += self._read_some(ranges[first : first + step])
            failed = [result for result in results if isinstance(result, CacheError)]
            if failed:  # no need to wait until the other requests fail
                return results + failed[:1] * (len(ranges) - len(results))
        return results

    def _read_some(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes | Exception]:
        if not self._sends_parts:
            return [self._part_of_whole(*one) for one in ranges]
        with self._explained():
            results = self._files.cat_ranges(
                [self._path(path) for path, _, _ in ranges],
                [start for _, start, _ in ranges],
                [end for _, _, end in ranges],
                on_error="return",
            )
        return [self._part(one) for one in results]

    def _part(self, result: bytes | Exception) -> bytes | Exception:
        if not isinstance(result, Exception):
            return bytes(result)
        return b"" if _status(result) == _BEYOND_THE_END else self._explain(result)

    def open(self, path: str) -> BinaryIO:
        """Copy a file to this machine and open the copy; the next call invalidates the stream.

        The copy prevents crashes. If h5py reads from a stream that fails, HDF5 crashes the process,
        at once or when the process ends.
        """
        stream = self._fetch_whole(path)
        stream.seek(0)
        return cast(BinaryIO, stream)

    # -- web servers that send whole files only --------------------------------------

    def probe(self, path: str) -> None:
        """Test with this file (at least 3 bytes) whether the server sends parts of files.

        If the server sends only whole files, this object fetches whole files and keeps the last
        file.
        """
        if self._http:
            with self._explained():
                try:
                    part = self._files.cat_file(self._path(path), start=1, end=3)
                except Exception as error:  # the file is empty, but the server can send parts
                    if _status(error) != _BEYOND_THE_END:
                        raise
                    return
            self._sends_parts = len(part) == 2

    def forget(self) -> None:
        """Delete the local copy of the last whole file."""
        self._whole = None

    def _fetch_whole(self, path: str) -> IO[bytes]:
        if self._whole is None or self._whole[0] != path:
            # A named file, because not every file system of fsspec copies into an open file.
            stream = tempfile.NamedTemporaryFile()  # noqa: SIM115 - stays open
            with self._explained():
                self._get_file(path, stream.name)
            self._whole = path, stream
        return self._whole[1]

    def _part_of_whole(self, path: str, start: int, end: int) -> bytes | Exception:
        try:
            stream = self._fetch_whole(path)
        except (FileNotFoundError, CacheError) as error:
            return error
        stream.seek(start)
        return stream.read(end - start)

    # -- the connection --------------------------------------------------------------

    def _path(self, path: str) -> str:
        root = self._connection[1].rstrip("/")
        return f"{root}/{path}" if path else root

    @property
    def _files(self) -> Any:
        return self._connection[0]

    @cached_property
    def _connection(self) -> tuple[Any, str]:
        """File system of fsspec, and the path of this folder in it, without a connection yet."""
        try:
            core = importlib.import_module("fsspec.core")
            options = self._http_options() if self._http else {}
            files, root = core.url_to_fs(self._url, **options)
        except ImportError as error:
            package = error.name or getattr(error.__cause__, "name", None)
            raise CacheError(
                f"Reading {self} needs a package that is not installed: {error}",
                hint=f"pip install {self._distribution(package)}",
            ) from error
        except ValueError as error:
            raise CacheError(
                f"Can't read a cache at {self}: {error}",
                hint="Supported: http://HOST:PORT, s3://BUCKET/FOLDER, any other URL of fsspec.",
            ) from error
        return files, str(root)

    def _distribution(self, package: str | None) -> str:
        extra = _EXTRAS.get(self._url.partition("://")[0])
        if extra is None and package == "fsspec":
            extra = "remote"
        return f"'modal-fusion[{extra}]'" if extra else package or "it"

    def _http_options(self) -> dict[str, Any]:
        aiohttp = importlib.import_module("aiohttp")
        headers = {"Accept-Encoding": "identity"}  # a compressed answer has no byte ranges
        if (token := self._known_token()) is not None:
            headers["Authorization"] = f"Bearer {token}"
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS
        )
        limited = _limited_response()
        return {
            "client_kwargs": {"headers": headers, "timeout": timeout, "response_class": limited}
        }

    def _known_token(self) -> str | None:
        if names_user(self._url):  # HTTP sends either a user or a token
            return None
        return self._token or token_from_environment()

    # -- errors ----------------------------------------------------------------------

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FusionError:
            raise
        except Exception as error:  # each library of fsspec has its own exceptions
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> FileNotFoundError | CacheError:
        """Convert an error of a library to a CacheError, or to a FileNotFoundError."""
        if self._http and isinstance(error, FileNotFoundError) and error.__cause__:
            # fsspec raises FileNotFoundError for every failure.
            error = cast(Exception, error.__cause__)
        if isinstance(error, _EncodedError):
            return CacheError(
                f"{self} sends a compressed answer ({error}), which was not asked for.",
                hint="Turn off the compression of the web server for this folder.",
            )
        if isinstance(error, _TooMuchError):
            return CacheError(
                f"{self} sends a larger answer than a feature cache does; reading was stopped.",
                hint="Check that a feature cache is served at this address.",
            )
        status = _status(error)
        if status == 404 or isinstance(error, FileNotFoundError):
            return FileNotFoundError(str(self))
        if status == 401:
            problem_text = (
                "does not accept this token" if self._known_token() else "asks for a token"
            )
            return CacheError(
                f"{self} {problem_text}.",
                hint=f"Set {TOKEN} to the server's token, or {TOKEN_FILE} to a file that holds it.",
            )
        if status == 403 or isinstance(error, PermissionError):
            return CacheError(
                f"{self} refuses access: {_reason(error)}.",
                hint="Check the credentials. The server must list its folders.",
            )
        if isinstance(error, TimeoutError):
            return CacheError(f"{self} does not answer.", hint=f"Check host and port. {_KEPT}")
        if isinstance(problem := getattr(error, "os_error", None), ssl.SSLError):
            return self._no_tls(problem)
        if type(error).__name__ == "TooManyRedirects":
            return CacheError(
                f"{self} redirects without end.",
                hint="Give the final address of the server. fusion cache serve, and web servers "
                "that list their folders, do not redirect.",
            )
        return CacheError(
            f"Can't read {self}: {_reason(error)}.",
            hint=f"Check the address, and that the server runs. {_KEPT}",
        )

    def _no_tls(self, error: ssl.SSLError) -> CacheError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return CacheError(
                f"The certificate of {self} is not trusted: {error.verify_message}.",
                hint="Check the name of the host. For your own certificate, set "
                "SSL_CERT_FILE to its file.",
            )
        return CacheError(
            f"{self} does not support TLS, which https:// requires.",
            hint="Try http://, the protocol of fusion cache serve, or the port that has TLS.",
        )


class _TooMuchError(Exception):
    """An answer was larger than the limit."""


class _EncodedError(Exception):
    """An answer was compressed: a few bytes could unpack to any number of bytes."""


def _limit(most: int) -> Any:
    """Return a callback that aborts a download whose announced or real size exceeds `most`."""
    callbacks: Any = importlib.import_module("fsspec.callbacks")

    class Limit(callbacks.Callback):  # type: ignore[misc]
        def call(self, *_: Any, **__: Any) -> None:
            if max(self.value, self.size or 0) > most:
                raise _TooMuchError

    return Limit()


def _limited_response() -> type:
    """Return a response class of aiohttp that limits the size of an answer in memory.

    Compressed answers are refused.
    """
    import aiohttp

    class Limited(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            response = await super().start(connection)
            encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
            if encoding not in ("", "identity"):
                raise _EncodedError(encoding)
            return response

        async def read(self) -> bytes:
            limit = _max_bytes(self.request_info.headers.get("Range", ""))
            answer = bytearray()
            async for chunk in self.content.iter_chunked(_BLOCK):
                answer += chunk
                if len(answer) > limit:
                    raise _TooMuchError
            return bytes(answer)

        async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
            return (await self.read()).decode(encoding or self.charset or "utf-8", errors)

    return Limited


def _max_bytes(header: str) -> int:
    """Return the maximum size of the answer to this Range header, in bytes."""
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", header)
    return max(_MAX_ANSWER, int(match[2]) - int(match[1]) + 1 if match else 0)


def _status(error: Exception) -> int | None:
    """Return the HTTP status if the server answered with an error, else None."""
    status = getattr(error, "status", None) or getattr(error.__cause__, "status", None)
    return status if isinstance(status, int) else None


def _reason(error: Exception) -> str:
    if status := getattr(error, "status", None):
        return f"{status} {getattr(error, 'message', '')}".strip()
    system = getattr(error, "os_error", None)  # the system's error inside aiohttp's error
    if isinstance(system, OSError) and system.errno:
        # Error numbers of name look-ups are below 0 and unknown to os.strerror.
        return os.strerror(system.errno) if system.errno > 0 else str(system.strerror)
    text = without_user(str(error)).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
