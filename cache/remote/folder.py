"""A folder that lies elsewhere, through fsspec; what its many libraries raise, told in one way."""

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

_REQUESTS = 16  # at a time
_CONNECT_SECONDS = 10.0
_SILENT_SECONDS = 15.0  # without a byte, before a server is given up; it is asked twice
_BLOCK = 2**16
# Of an answer that is kept in memory and not asked for by size: a page of a million names.
_MAX_ANSWER = 64 * 2**20
_MAX_UNANNOUNCED = 2**30  # of a file whose size nobody says

_EXTRAS = {"http": "remote", "https": "remote", "s3": "s3", "s3a": "s3"}

_BEYOND_THE_END = 416  # in HTTP

_KEPT = "Start again when it answers: what was fetched is kept."


class RemoteFolder:
    """Files by their path in a folder that fsspec can reach. Connects when first used.

    Its methods raise ``FileNotFoundError`` where there is no such file or folder, and
    CacheError for everything else that goes wrong.

    Parameters
    ----------
    url : str
        Any that fsspec knows: ``http://HOST:PORT``, ``s3://BUCKET/FOLDER``, ``file:///FOLDER``.
    token : str, optional
        For http and https; by default the environment's (see :mod:`fusion.cache.remote.tokens`).

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
        self._whole: tuple[str, IO[bytes]] | None = None

    def __str__(self) -> str:
        return without_user(self._url)

    def names(self, folder: str = "") -> dict[str, int]:
        """What is in a folder: sizes in bytes by name, -1 where the listing has no sizes."""
        with self._explained():
            self._files.invalidate_cache()
            # The slash: without it many web servers redirect, some to another port.
            entries = self._files.ls(f"{self._path(folder)}/", detail=True)
        found = {}
        for entry in entries:
            size = entry.get("size") if entry.get("type") == "file" else None
            found[entry["name"].rstrip("/").rpartition("/")[2]] = -1 if size is None else int(size)
        return found

    def read(self, path: str) -> bytes:
        """A whole file."""
        with self._explained():
            return bytes(self._files.cat_file(self._path(path)))

    def download(self, path: str, target: Path) -> None:
        """Copy a whole file to this machine."""
        with self._explained():
            self._get_file(path, str(target))

    def _get_file(self, path: str, target: str) -> None:
        self._files.get_file(self._path(path), target, callback=_limit())

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes | Exception]:
        """Parts of files, given as (path, start, end), several at a time.

        Where one can't be read there is the error instead: a FileNotFoundError or CacheError.
        A file that ends before a part's end gives what there is.
        """
        found: list[bytes | Exception] = []
        step = _REQUESTS if self._sends_parts else 1
        for first in range(0, len(ranges), step):
            found += self._read_some(ranges[first : first + step])
            broken = [one for one in found if isinstance(one, CacheError)]
            if broken:  # no need to wait until the others break as well
                return found + broken[:1] * (len(ranges) - len(found))
        return found

    def _read_some(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes | Exception]:
        if not self._sends_parts:
            return [self._part_of_whole(*one) for one in ranges]
        with self._explained():
            found = self._files.cat_ranges(
                [self._path(path) for path, _, _ in ranges],
                [start for _, start, _ in ranges],
                [end for _, _, end in ranges],
                on_error="return",
            )
        return [self._part(one) for one in found]

    def _part(self, found: bytes | Exception) -> bytes | Exception:
        if not isinstance(found, Exception):
            return bytes(found)
        return b"" if _status(found) == _BEYOND_THE_END else self._explain(found)

    def open(self, path: str) -> BinaryIO:
        """A file to seek and read in, copied here first; it is good until the next one.

        It is made for h5py: with a stream whose reads can fail, HDF5 crashes the process, at
        once or when it ends.
        """
        stream = self._fetch_whole(path)
        stream.seek(0)
        return cast(BinaryIO, stream)

    # -- web servers that send whole files only --------------------------------------

    def probe(self, path: str) -> None:
        """Find out with this file, of 3 bytes or more, whether parts of files can be had.

        Where they can't, whole files are fetched, and the last one is kept.
        """
        if self._http:
            with self._explained():
                try:
                    part = self._files.cat_file(self._path(path), start=1, end=3)
                except Exception as error:  # an empty file has none, but the server knows parts
                    if _status(error) != _BEYOND_THE_END:
                        raise
                    return
            self._sends_parts = len(part) == 2

    def forget(self) -> None:
        """Drop the whole file that was kept."""
        self._whole = None

    def _fetch_whole(self, path: str) -> IO[bytes]:
        if self._whole is None or self._whole[0] != path:
            # With a name, because not every file system of fsspec copies into an open file.
            stream = tempfile.NamedTemporaryFile()  # noqa: SIM115 - it is kept
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
        """fsspec's file system, and this folder's path in it. Connects to nothing yet."""
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
                hint="Possible are http://HOST:PORT, s3://BUCKET/FOLDER and all else that "
                "fsspec knows.",
            ) from error
        return files, str(root)

    def _distribution(self, package: str | None) -> str:
        extra = _EXTRAS.get(self._url.partition("://")[0])
        if extra is None and package == "fsspec":
            extra = "remote"
        return f"'modal-fusion[{extra}]'" if extra else package or "it"

    def _http_options(self) -> dict[str, Any]:
        aiohttp = importlib.import_module("aiohttp")
        headers = {"Accept-Encoding": "identity"}  # what is compressed has no parts
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
        if names_user(self._url):  # HTTP has one way to say who asks
            return None
        return self._token or token_from_environment()

    # -- errors ----------------------------------------------------------------------

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FusionError:
            raise
        except Exception as error:  # each of fsspec's libraries has a tree of its own
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> FileNotFoundError | CacheError:
        """The same in our words; FileNotFoundError stays what it is."""
        if self._http and isinstance(error, FileNotFoundError) and error.__cause__:
            error = cast(Exception, error.__cause__)  # so says fsspec whatever went wrong
        if isinstance(error, _TooMuchError):
            return CacheError(
                f"{self} sends more than a feature cache could hold in one answer; it was cut off.",
                hint="Check the address: is a feature cache there?",
            )
        status = _status(error)
        if status == 404 or isinstance(error, FileNotFoundError):
            return FileNotFoundError(str(self))
        if status == 401:
            what = "does not accept this token" if self._known_token() else "asks for a token"
            return CacheError(
                f"{self} {what}.",
                hint=f"Set {TOKEN_FILE} to a file that holds the server's token, or {TOKEN} to it.",
            )
        if status == 403 or isinstance(error, PermissionError):
            return CacheError(
                f"{self} refuses access: {_told(error)}.",
                hint="Check the credentials; and the server must list its folders.",
            )
        if isinstance(error, TimeoutError):
            return CacheError(f"{self} does not answer.", hint=f"Check host and port. {_KEPT}")
        if isinstance(problem := getattr(error, "os_error", None), ssl.SSLError):
            return self._no_tls(problem)
        if type(error).__name__ == "TooManyRedirects":
            return CacheError(
                f"{self} sends from one address to the next without end.",
                hint="Give the address that the server itself has. fusion cache serve and web "
                "servers that list their folders send nobody elsewhere.",
            )
        return CacheError(
            f"Can't read {self}: {_told(error)}.",
            hint=f"Check the address, and that the server runs. {_KEPT}",
        )

    def _no_tls(self, error: ssl.SSLError) -> CacheError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return CacheError(
                f"The certificate of {self} is not trusted: {error.verify_message}.",
                hint="Check the name of the host. For a certificate of your own, set "
                "SSL_CERT_FILE to its file.",
            )
        return CacheError(
            f"{self} does not speak TLS, which https:// asks for.",
            hint="Try http://, which is what fusion cache serve speaks, or the port that has TLS.",
        )


class _TooMuchError(Exception):
    """An answer went beyond what is taken."""


def _limit() -> Any:
    """Watches a download, and ends one that announced no size and does not end."""
    callbacks: Any = importlib.import_module("fsspec.callbacks")

    class Limit(callbacks.Callback):  # type: ignore[misc]
        def call(self, *_: Any, **__: Any) -> None:
            if self.size is None and self.value > _MAX_UNANNOUNCED:
                raise _TooMuchError

    return Limit()


def _limited_response() -> type:
    """aiohttp's answers, but none that fill the memory."""
    import aiohttp

    class Limited(aiohttp.ClientResponse):
        async def read(self) -> bytes:
            limit = _wanted(self.request_info.headers.get("Range", ""))
            found = bytearray()
            async for chunk in self.content.iter_chunked(_BLOCK):
                found += chunk
                if len(found) > limit:
                    raise _TooMuchError
            return bytes(found)

        async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
            return (await self.read()).decode(encoding or self.charset or "utf-8", errors)

    return Limited


def _wanted(header: str) -> int:
    """Bytes that an answer to this Range may have."""
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", header)
    return max(_MAX_ANSWER, int(match[2]) - int(match[1]) + 1 if match else 0)


def _status(error: Exception) -> int | None:
    """Of HTTP, where an answer was the error."""
    found = getattr(error, "status", None) or getattr(error.__cause__, "status", None)
    return found if isinstance(found, int) else None


def _told(error: Exception) -> str:
    if status := getattr(error, "status", None):
        return f"{status} {getattr(error, 'message', '')}".strip()
    system = getattr(error, "os_error", None)  # below aiohttp's
    if isinstance(system, OSError) and system.errno:
        # The numbers of name look-ups are below 0, and not the system's.
        return os.strerror(system.errno) if system.errno > 0 else str(system.strerror)
    text = without_user(str(error)).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
