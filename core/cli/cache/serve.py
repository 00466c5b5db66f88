"""``fusion cache serve``."""

from __future__ import annotations

from pathlib import Path

import click

from ..options import local_cache_option


@click.command("serve", short_help="Let other machines read it over HTTP.")
@local_cache_option
@click.option("--port", type=int, default=0, metavar="P", help="Port. [default: a free one]")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="H",
              help="Address to listen at; 0.0.0.0 is all of this machine's.")  # fmt: skip
@click.option("--token-file", metavar="FILE", help="Clients must know the first line of FILE.")
def command(root: str | None, port: int, host: str, token_file: str | None) -> None:
    """Let other machines read this cache over HTTP. Nobody can change it.

    Only this machine can reach it, unless --host says otherwise; then a token is needed. The
    token and the features cross the network as they are: on a network that you don't trust,
    use a tunnel (ssh -L) or a web server with TLS in front.

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
        click.echo(f"serving {cache.root} at {url} (Ctrl-C ends it)")
        secret = f"{TOKEN_FILE}=FILE " if token else ""
        click.echo(f"to read it: {secret}fusion run --cache {url}")

    serve(cache.root, host=host, port=port, token=token, on_start=started)
