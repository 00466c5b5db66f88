"""``fusion cache export`` and ``import``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...display.units import count, shortened, size
from .. import plugin_options, registry_from
from ..options import local_cache_option
from ..output import warn

if TYPE_CHECKING:
    from ....cache import Fingerprint
    from ....cache.exchange.export import Form
    from ....cache.exchange.imports import ImportReport
    from ...registry.registry import Registry

_KEY = re.compile(r"[0-9a-f]{32}")


@click.command("export", short_help="Write a feature to plain files.")
@click.argument("feature", metavar="FEATURE")
@click.argument("out", metavar="OUT")
@click.option("--format", "form", type=click.Choice(["hdf5", "npy"]),
              help="[default: as OUT ends, .h5, .hdf5 or .npy]")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace OUT where it is there already.")
@local_cache_option
def export(feature: str, out: str, form: Form | None, overwrite: bool, root: str | None) -> None:
    """Write FEATURE, all its arrays, to plain files that any tool can read.

    HDF5: one file with the arrays, their keys, and where each recording lay (origins). npy:
    OUT.npy with the arrays, OUT.csv with a line for each. FEATURE is a name, or NAME-ID with
    the first digits of the id that fusion cache info shows.

    \b
    fusion cache export mel mel.h5
    fusion cache export mel-3f2a mel.npy
    """
    from ....cache.exchange.export import export_feature, files_of, form_of
    from ....cache.store import local_cache
    from ....cache.upkeep.naming import find_feature
    from ...contracts.errors import ParameterError

    path = Path(out).expanduser()
    form = form or form_of(path)
    if form is None:
        raise ParameterError(
            f"{out} ends in none of .h5, .hdf5 and .npy.", hint="Say --format hdf5 or npy."
        )
    cache = local_cache(root)
    fingerprint = find_feature(cache, feature)
    number = export_feature(cache, fingerprint, path, form=form, overwrite=overwrite)
    files = files_of(path, form)
    click.echo(
        f"{_arrays(number, fingerprint)} written to "
        f"{' and '.join(map(str, files))} ({size(sum(file.stat().st_size for file in files))})"
    )


@click.command("import", short_help="Store features that another tool made.")
@click.argument("name", metavar="NAME")
@click.argument("source", metavar="SOURCE")
@click.option("--version", default="1", show_default=True, metavar="V",
              help="Another one for arrays that were made in another way.")  # fmt: skip
@click.option("--dataset", metavar="D", help="Dataset of an HDF5 file. [default: NAME]")
@click.option("--root", metavar="DIR",
              help="Where relative paths start. [default: the folder of SOURCE]")  # fmt: skip
@click.option("--dtype", metavar="T", help="Convert the arrays, for instance to float16.")
@click.option("--cache", "cache_root", metavar="DIR", help="Cache folder. [default: the user's]")
@plugin_options
@click.pass_context
def import_(
    ctx: click.Context, /, name: str, source: str, cache_root: str | None, **options: Any
) -> None:
    """Store features of any kind that another tool made, to be fused under NAME.

    SOURCE is one of: a table (.csv, .tsv) with a column path, the recording, and a column
    feature, a .npy file with one array; a .npy file of all arrays with a table of the same name
    beside it, in the same order; an HDF5 file with a dataset of all arrays, and a dataset
    paths. For parts of recordings there are the columns start and end, in seconds (HDF5:
    starts, ends).

    \b
    fusion cache import video clips.csv
    fusion cache import video video.h5 --root ~/recordings
    fusion run --data clips.csv --features mel,video

    All arrays must have one shape. Everything is checked before anything is stored; may be
    killed at any moment and called again.
    """
    from ....cache.exchange.imports import import_feature
    from ....cache.store import local_cache

    _check_name(name, registry_from(ctx))
    report = import_feature(local_cache(cache_root, must_exist=False), name, source, **options)
    click.echo(_summary(report))
    if report.unused:
        click.echo(f"columns not used: {', '.join(report.unused)}")
    if not _KEY.fullmatch(report.first_key):
        warn(
            f"The keys, such as {shortened(report.first_key)!r}, are no digests of recordings: "
            "fusion run will not find these arrays. Leave the keys out, and give the paths."
        )


def _check_name(name: str, registry: Registry) -> None:
    from ...contracts.errors import ParameterError
    from ...data.imported_features import name_problem

    problem = name_problem(name, registry)
    if problem is not None:
        hint = "Choose another name."
        if any(entry.name == name for entry in registry.entries("extractor")):
            hint += " An extractor's own features move by copying their folder between caches."
        raise ParameterError(f"Imported features can't be called {name!r}: {problem}", hint=hint)


def _summary(report: ImportReport) -> str:
    made = report.fingerprint
    text = f"{_arrays(report.stored, made)} stored as {made.name!r} version {made.version}"
    if report.present:
        text += f"; {report.present} were there already"
    if report.repeated:
        rows = count(report.repeated, "row repeats", "rows repeat")
        text += f"; {rows} a recording"
    return text


def _arrays(number: int, made: Fingerprint) -> str:
    return f"{count(number, 'array')} of shape {made.shape}, {made.dtype},"


COMMANDS: list[click.Command] = [export, import_]
