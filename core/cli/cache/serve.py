"""Command ``fusion cache serve``."""

from __future__ import annotations

from pathlib import Path

import click

from ...display.plain_text import echo
from ..options import local_cache_option


@click.command("serve", short_help="Let other machines read the cache over HTTP.")
@local_cache_option
@click.option("--port", type=int, default=0, metavar="P",
              help="Port to listen on. [default: a free port]")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, metavar="H",
              help="Address to listen on; 0.0.0.0 is every address of this machine.")  # fmt: skip
@click.option("--token-file", metavar="FILE",
              help="Clients must send the token in the first line of FILE.")  # fmt: skip
def command(root: str | None, port: int, host: str, token_file: str | None) -> None:
    """Let other machines read this cache over HTTP, without write access.

    By default, only this machine can reach the server. Any other --host needs --token-file.
    Token and features cross the network unencrypted: on a network that you don't trust, use a
    tunnel (ssh -L), or a web server with TLS in front.

    \b
    fusion cache serve --port 8300
    fusion cache serve --port 8300 --host 0.0.0.0 --token-file ~/.fusion-token
    """
    from ....cache.exchange.server import serve
    from ....cache.remote.tokens import TOKEN_FILE, read_token
    from ....cache.store import local_cache

    cache = local_cache(root)
    token = read_token(Path(token_file).expanduser()) if token_file else None

    def started(url: str) -> None:
        echo(f"serving {cache.root} at {url} (Ctrl-C stops the server)")
        secret = f"{TOKEN_FILE}=FILE " if token else ""
        echo(f"to read the cache: {secret}fusion run --cache {url}")

    serve(cache.root, host=host, port=port, token=token, on_start=started)
