"""Command group ``fusion cache``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ...display.plain_text import echo
from ...display.units import count, size
from ...runs.request import requested_config
from .. import plugin_options, registry_from
from ..options import data_options, json_option
from ..output import echo_json, warn
from . import serve, transfer, upkeep, why

if TYPE_CHECKING:
    from ....cache import FeatureCache
    from ....cache.shards.info import FeatureInfo


@click.group("cache")
def command() -> None:
    """Precompute, verify, prune and share cached features."""


for _command in (*upkeep.COMMANDS, *transfer.COMMANDS, serve.command, why.command):
    command.add_command(_command)


@command.command("build", short_help="Compute the missing features of a corpus.")
@data_options
@click.option("--executor", type=click.Choice(["processes", "dask", "ray"]), default="processes",
              show_default=True, help="Local processes, or a Dask or Ray cluster.")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS",
              help="Address of the Dask scheduler or Ray cluster.")  # fmt: skip
@click.option("--shard", "part", metavar="I/N", default="1/1",
              help="Compute only the I-th of N parts of the corpus, I from 1 to N.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Show no progress, print only the summary.")
@plugin_options
@click.pass_context
def build(ctx: click.Context, /, **options: Any) -> None:
    """Compute the features of a corpus that the cache does not hold yet.

    The command may be killed at any moment and repeated: finished features are kept. A later
    fusion run with the same data and parameters reads these features.

    \b
    fusion cache build --data PATH
    fusion cache build --data ravdess=PATH --features mel --set mel.hop=160 --jobs 8
    fusion cache build --data PATH --executor dask --scheduler tcp://HOST:8786
    fusion cache build --data PATH --shard $SLURM_ARRAY_TASK_ID/8      (--array=1-8)
    """
    from ....cache import FeatureCache
    from ...display.build import print_build
    from ...display.run import Display
    from ...runs.feature_build import build_cache

    registry = registry_from(ctx)
    config = requested_config(options, registry)
    part = _part(options["part"])
    with Display(quiet=options["quiet"]) as display:
        built = build_cache(
            config,
            registry,
            jobs=options["jobs"],
            executor=options["executor"],
            scheduler=options["scheduler"],
            part=part,
            on_progress=display.extracting,
        )
    print_build(built, FeatureCache(config.cache))


def _part(text: str) -> tuple[int, int]:
    from ...contracts.errors import ParameterError

    number, slash, parts = text.partition("/")
    try:
        part = int(number), int(parts)
    except ValueError:
        part = 0, 0
    if not slash or not 1 <= part[0] <= part[1]:
        raise ParameterError(
            f"--shard must be I/N with I from 1 to N, and is {text!r}.",
            hint="For eight jobs, give --shard 1/8 to the first and --shard 8/8 to the last.",
        )
    return part


@command.command("info", short_help="List stored features: sizes, corpora, cost, hit rate.")
@click.option("--cache", "root", metavar="DIR|URL",
              help="Cache folder, or URL of another machine's cache. [default: the user's "
              "cache]")  # fmt: skip
@json_option()
def info(root: str | None, as_json: bool) -> None:
    """List the stored features: parameters, items, sizes, corpora and computing time."""
    from ....cache import FeatureCache

    cache = FeatureCache(root)
    features = cache.info()
    location = str(cache.upstream or cache.root)
    if as_json:
        listing = [_plain(feature) for feature in features]
        summary = {"root": location, **_totals(cache, features)}
        echo_json({**summary, "features": listing})
        return
    echo(location)
    if not features:
        echo("  nothing stored yet (fusion cache build)")
    for feature in features:
        fingerprint = feature.fingerprint
        echo(
            f"  {fingerprint.name} {fingerprint.id[:8]}: {count(feature.items, 'item')} of shape "
            f"{fingerprint.shape} in {count(feature.shards, 'shard')}, {size(feature.bytes)}, "
            f"{_cost(feature)}"
        )
        parameters = ", ".join(f"{k}={v}" for k, v in fingerprint.parameters.items())
        version = f"version {fingerprint.version}"
        echo(f"      {'; '.join(filter(None, (version, parameters)))}")
        groups = ", ".join(f"{name or 'unnamed'} {n}" for name, n in feature.groups.items())
        packed = f"{count(feature.packed, 'shard')} packed" if feature.packed else ""
        if groups or packed:
            echo(f"      {'; '.join(filter(None, (groups, packed)))}")
        if feature.debris:
            files = count(feature.debris, "temporary file")
            echo(f"      {files} of killed builds")
    if features:
        echo(_totals_text(_totals(cache, features)))
    for problem in cache.problems:
        warn(problem.line)


def _plain(feature: FeatureInfo) -> dict[str, Any]:
    return {
        **json.loads(feature.fingerprint.canonical()),
        "id": feature.fingerprint.id,
        "items": feature.items,
        "shards": feature.shards,
        "bytes": feature.bytes,
        "seconds": round(feature.seconds, 3),
        "groups": dict(feature.groups),
        "packed": feature.packed,
        "debris": feature.debris,
    }


def _cost(feature: FeatureInfo) -> str:
    each = f", {feature.seconds / feature.items:.2g} s each" if feature.items else ""
    return f"{feature.seconds:.1f} s to compute{each}"


def _totals(cache: FeatureCache, features: list[FeatureInfo]) -> dict[str, Any]:
    from ....cache.builds.journal import hit_rate, registered_runs

    return {
        "items": sum(feature.items for feature in features),
        "bytes": sum(feature.bytes for feature in features),
        "seconds": round(sum(feature.seconds for feature in features), 3),
        "runs": len(registered_runs(cache)),
        "hit_rate": hit_rate(cache),
    }


def _totals_text(total: dict[str, Any]) -> str:
    rate = total["hit_rate"]
    hits = "" if rate is None else f"; hit rate of the last runs: {100 * rate:.0f} %"
    return (
        f"total: {count(total['items'], 'item')}, {size(total['bytes'])}, "
        f"{total['seconds']:.1f} s to compute; {count(total['runs'], 'run')} registered{hits}"
    )
