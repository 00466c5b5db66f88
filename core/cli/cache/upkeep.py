"""Commands ``fusion cache verify``, ``gc``, ``pack`` and ``unpack``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...display.plain_text import echo
from ...display.progress import bar
from ...display.units import count, parse_duration, parse_size, shortened, size
from .. import plugin_options, registry_from
from ..options import local_cache_option
from ..output import warn

if TYPE_CHECKING:
    from ....cache import FeatureCache, Fingerprint
    from ....cache.shards.codecs import Codec
    from ....cache.shards.info import Problem
    from ....cache.upkeep.gc import FeatureGc
    from ....cache.upkeep.rewrite import OnBytes, PackReport
    from ....cache.upkeep.verify import BadItem, VerifyReport
    from ...workflows.cache_upkeep import Garbage, RepairReport

_FEATURES = click.option("--feature", "features", multiple=True, metavar="NAME[-ID]",
                         help="Rewrite only this feature. May be repeated.")  # fmt: skip


# -- verify --------------------------------------------------------------------------


@click.command("verify", short_help="Check all stored features, and repair damaged ones.")
@click.option("--repair", is_flag=True, help="Drop damaged items, and compute them again.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N",
              help="Number of processes that compute. [default: one per core]")  # fmt: skip
@local_cache_option
@plugin_options
@click.pass_context
def verify(ctx: click.Context, repair: bool, jobs: int | None, root: str | None) -> int:
    """Read all stored features and compare them with their checksums.

    Prints the feature, recording, shard and defect of each bad item. Exits with 0 if every item
    is intact or was repaired, and with 1 otherwise.

    --repair computes a bad item again if its recording is unchanged at its old path, and the
    same version of its extractor is installed. Any other bad item is dropped: a run that needs
    the item computes it again.
    """
    from ....cache.store import local_cache
    from ....cache.upkeep.verify import verify as verify_cache

    cache = local_cache(root)
    with bar("reading", of_bytes=True) as advance:
        report = verify_cache(cache, on_progress=advance)
    _print_verified(cache, report)
    if report.fine:
        return 0
    if not repair and report.repairable:
        echo("fusion cache verify --repair drops what is damaged and computes it again.")
    if not repair:
        return 1
    from ...workflows.cache_upkeep import repair as repair_cache

    registry = registry_from(ctx)
    with bar("computing") as advance:
        repaired = repair_cache(
            cache, report, registry, jobs=jobs, on_progress=lambda p: advance(p.done, p.total)
        )
    _print_repaired(report, repaired)
    return 0 if repaired.complete else 1


def _print_verified(cache: FeatureCache, report: VerifyReport) -> None:
    _warn_skipped(report.aside)
    for file in report.bad_files:
        echo(f"{file.path.relative_to(cache.root)}: {file.reason}")
    for item in report.bad_items:
        echo(f"{_item(item)}: {item.reason}")
    bad = f"{len(report.bad_items)} bad" if report.bad_items else "none bad"
    files = f", {count(len(report.bad_files), 'bad file')}" if report.bad_files else ""
    echo(
        f"{cache.root}: {count(report.items, 'item')} in {count(report.shards, 'shard')} of "
        f"{count(report.features, 'feature')}, {bad}{files}; {size(report.bytes)} read in "
        f"{report.seconds:.1f} s"
    )


def _print_repaired(report: VerifyReport, repaired: RepairReport) -> None:
    for item, reason in repaired.lost:
        echo(f"{_item(item)}: dropped; {reason}")
    for text in repaired.unresolved:
        echo(text)
    lost = f"; {len(repaired.lost)} could not be computed again" if repaired.lost else ""
    echo(
        f"{count(len(report.bad_items), 'bad item')} dropped, {repaired.repaired} computed "
        f"again{lost}"
    )


def _item(item: BadItem) -> str:
    recording = item.origin or f"key {shortened(item.key)}"
    return f"{_feature(item.fingerprint)}, {recording}, in {item.path.name}"


# -- gc ------------------------------------------------------------------------------


@click.command("gc", short_help="Remove items that no run needs, by age or size.")
@click.option("--older-than", metavar="TIME",
              help="Remove items last used longer ago than TIME: 12h, 30d, 2w; 0 for "
              "all.")  # fmt: skip
@click.option("--max-size", metavar="SIZE",
              help="Remove least recently used items until the cache fits into SIZE: 500MB, "
              "10GB.")  # fmt: skip
@click.option("--runs", "folders", multiple=True, metavar="DIR",
              help="Also keep the features of run directories in and below DIR. May be "
              "repeated.")  # fmt: skip
@click.option("--imported", is_flag=True, help="Also remove imported features that no run needs.")
@click.option("--forget", is_flag=True,
              help="Treat registered runs that this machine can't reach (on other machines or "
              "unmounted file systems) as deleted.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print what would be removed; remove nothing.")
@local_cache_option
def gc(
    older_than: str | None, max_size: str | None, folders: tuple[str, ...], root: str | None,
    **options: bool,
) -> int:  # fmt: skip
    """Remove items that no run needs, by age or until the cache fits a size.

    Items that a run directory needs are always kept. This holds for every run that used this
    cache, finished or not, and for runs below --runs. Without --older-than and --max-size, only
    temporary files of killed builds are removed, and unneeded items are reported. Exits with 1 if
    the cache stays larger than --max-size.

    \b
    fusion cache gc --dry-run --older-than 30d
    fusion cache gc --max-size 10GB --runs ~/experiments
    """
    from ....cache.store import local_cache
    from ...workflows.cache_upkeep import collect_garbage

    age = None if older_than is None else parse_duration(older_than, "--older-than")
    budget = None if max_size is None else parse_size(max_size, "--max-size")
    cache = local_cache(root)
    with bar("removing", of_bytes=True) as advance:
        garbage = collect_garbage(
            cache,
            folders=[Path(folder).expanduser() for folder in folders],
            older_than=age,
            max_bytes=budget,
            on_progress=advance,
            **options,
        )
    _warn_skipped(garbage.report.problems)
    bounded = age is not None or budget is not None
    _print_garbage(cache, garbage, options["dry_run"], bounded=bounded)
    return 1 if garbage.report.missed else 0


def _print_garbage(cache: FeatureCache, garbage: Garbage, dry_run: bool, *, bounded: bool) -> None:
    report = garbage.report
    outcome = "would be removed" if dry_run else "removed"
    echo(
        f"{cache.root}: {size(report.before)} in {count(len(report.features), 'feature')}; "
        f"{count(len(garbage.runs), 'run')} read"
    )
    for feature in report.features:
        echo(f"  {_feature(feature.fingerprint)}")
        for line in _fate(feature, garbage, outcome, bounded):
            echo(f"      {line}")
    items = sum(feature.removed for feature in report.features)
    removed = [f"{count(items, 'item')}, {size(report.freed)}"] if items else []
    for paths, singular, plural in (
        (report.debris, "file of a killed process", "files of killed processes"),
        (report.registrations, "registration of a deleted run", "registrations of deleted runs"),
        (report.folders, "empty folder", "empty folders"),
    ):
        removed += [count(len(paths), singular, plural)] if paths else []
    echo(f"{outcome}: {'; '.join(removed) or 'nothing'}")
    if report.missed:
        needed = sum(feature.referenced_bytes for feature in report.features)
        late = sum(feature.unreferenced_bytes for feature in report.features)
        recent = f", {size(late)} were used recently (--older-than 0 removes them)" if late else ""
        warn(
            f"The cache is {size(report.missed)} larger than --max-size: {size(needed)} are "
            f"needed by runs{recent}."
        )


def _fate(feature: FeatureGc, garbage: Garbage, outcome: str, bounded: bool) -> list[str]:
    """Return lines with the numbers of removed and kept items of a feature, and the reasons."""
    id = feature.fingerprint.id
    lines = []
    if feature.removed:
        rewritten = f", {feature.rewritten} rewritten" if feature.rewritten else ""
        lines.append(
            f"{count(feature.removed, 'item')}, {size(feature.removed_bytes)}, {outcome} "
            f"({count(feature.shards, 'whole shard')}{rewritten})"
        )
    if feature.referenced:
        users = garbage.users.get(id, 0)
        why = f"{count(users, 'run needs', 'runs need')} them" if users else "imported"
        lines.append(
            f"{count(feature.referenced, 'item')}, {size(feature.referenced_bytes)}, kept: {why}"
        )
    if feature.unreferenced:
        bounds = "used recently, or within --max-size"
        why = bounds if bounded else "use --older-than or --max-size to remove them"
        lines.append(
            f"{count(feature.unreferenced, 'item')}, {size(feature.unreferenced_bytes)}, needed "
            f"by no run, kept: {why}"
        )
    return lines or ["empty"]


# -- pack, unpack --------------------------------------------------------------------


@click.command("pack")
@click.option("--codec", type=click.Choice(["zstd", "blosc2"]), default="zstd",
              show_default=True, help="Compression; both codecs are lossless.")  # fmt: skip
@_FEATURES
@local_cache_option
def pack(codec: Codec, features: tuple[str, ...], root: str | None) -> int:
    """Compress features that are seldom used. They stay readable, but read more slowly.

    Packing features and reading packed features need hdf5plugin: pip install
    'modal-fusion[pack]'.
    """
    from ....cache.upkeep import rewrite

    return _rewrite(
        "pack",
        root,
        features,
        lambda cache, chosen, on_bytes: rewrite.pack(cache, codec, chosen, on_bytes),
    )


@click.command("unpack")
@_FEATURES
@local_cache_option
def unpack(features: tuple[str, ...], root: str | None) -> int:
    """Decompress packed features, so that they read fast again."""
    from ....cache.upkeep.rewrite import unpack as unpack_cache

    return _rewrite("unpack", root, features, unpack_cache)


def _rewrite(
    verb: str,
    root: str | None,
    features: tuple[str, ...],
    rewrite: Callable[[FeatureCache, list[Fingerprint] | None, OnBytes], PackReport],
) -> int:
    """Rewrite the named or all features; print the number of changed shards and their sizes."""
    from ....cache.store import local_cache
    from ....cache.upkeep.naming import find_feature

    cache = local_cache(root)
    chosen = list(dict.fromkeys(find_feature(cache, text) for text in features)) or None
    with bar(f"{verb}ing", of_bytes=True) as advance:
        report = rewrite(cache, chosen, advance)
    _warn_skipped(report.problems)
    sizes = f": {size(report.before)} before, {size(report.after)} now" if report.shards else ""
    echo(f"{cache.root}: {count(report.shards, 'shard')} {verb}ed{sizes}")
    return 1 if report.problems else 0


def _warn_skipped(problems: Iterable[Problem]) -> None:
    """Print a warning for each shard that was skipped and therefore stays unchanged."""
    for problem in problems:
        warn(f"left unchanged: {problem.line}")


def _feature(fingerprint: Fingerprint) -> str:
    return f"{fingerprint.name} {fingerprint.id[:8]}"


COMMANDS: list[click.Command] = [verify, gc, pack, unpack]
