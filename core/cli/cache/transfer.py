"""Commands ``fusion cache export`` and ``fusion cache import``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...display.plain_text import echo
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
              help="File format. [default: by the ending of OUT: .h5, .hdf5 or .npy]")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@local_cache_option
def export(feature: str, out: str, form: Form | None, overwrite: bool, root: str | None) -> None:
    """Write all arrays of FEATURE to plain files that any tool can read.

    hdf5 writes one file with the arrays, their keys, and the paths of the recordings (origins).
    npy writes OUT.npy with the arrays and OUT.csv with one line per array. FEATURE is a name, or
    NAME-ID with the first digits of the id that fusion cache info shows.

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
            f"The format of {out} is unknown: the name ends in none of .h5, .hdf5 and .npy.",
            hint="Add --format hdf5 or --format npy.",
        )
    cache = local_cache(root)
    fingerprint = find_feature(cache, feature)
    number = export_feature(cache, fingerprint, path, form=form, overwrite=overwrite)
    files = files_of(path, form)
    echo(
        f"{_arrays(number, fingerprint)} written to "
        f"{' and '.join(map(str, files))} ({size(sum(file.stat().st_size for file in files))})"
    )


@click.command("import", short_help="Store features that another tool computed.")
@click.argument("name", metavar="NAME")
@click.argument("source", metavar="SOURCE")
@click.option("--version", default="1", show_default=True, metavar="V",
              help="Version of the feature; change it when the arrays are computed in another "
              "way.")  # fmt: skip
@click.option("--dataset", metavar="D",
              help="Dataset of an HDF5 file that holds the arrays. [default: NAME]")  # fmt: skip
@click.option("--root", metavar="DIR",
              help="Folder that relative paths start from. [default: the folder of "
              "SOURCE]")  # fmt: skip
@click.option("--column", "columns", multiple=True, metavar="ROLE=NAME",
              help="Column of the table for a role: path, feature, start, end, key, group or row. "
              "May be repeated.")  # fmt: skip
@click.option("--ignore-column", "ignored", multiple=True, metavar="NAME",
              help="Column of the table that is not read. May be repeated.")  # fmt: skip
@click.option("--dtype", metavar="T", help="Convert the arrays, for instance to float16.")
@click.option("--cache", "cache_root", metavar="DIR",
              help="Cache folder. [default: the user's cache]")  # fmt: skip
@plugin_options
@click.pass_context
def import_(
    ctx: click.Context, /, name: str, source: str, cache_root: str | None, **options: Any
) -> None:
    """Store features that another tool computed, as the modality NAME.

    SOURCE is one of three:

    \b
    a table (CSV, TSV, JSON lines, parquet, Excel) with the columns
        path (the recording) and feature (a .npy file with one array)
    a .npy file of all arrays, with a table of the same name beside it
        that lists the recordings in the same order
    an HDF5 file with a dataset of all arrays and a dataset paths

    For parts of recordings, add the columns start and end (HDF5: the datasets starts and ends).

    \b
    fusion cache import video clips.csv
    fusion cache import video video.h5 --root ~/recordings
    fusion run --data clips.csv --features mel,video

    All arrays must have the same shape. Everything is checked before anything is stored. The
    command may be killed at any moment and repeated.
    """
    from ....cache.exchange.imports import import_feature
    from ....cache.store import local_cache
    from ...runs.request import parse_pairs

    _check_name(name, registry_from(ctx))
    options["columns"] = parse_pairs("--column", options["columns"])
    report = import_feature(local_cache(cache_root, must_exist=False), name, source, **options)
    echo(_summary(report))
    if report.unused:
        echo(f"columns not used: {', '.join(report.unused)}")
    if not _KEY.fullmatch(report.first_key):
        warn(
            f"fusion run will not find these arrays: their keys, such as "
            f"{shortened(report.first_key)!r}, are not digests of recordings. Leave out the keys "
            "and give the paths of the recordings."
        )


def _check_name(name: str, registry: Registry) -> None:
    from ...contracts.errors import ParameterError
    from ...data.imported_features import name_problem

    problem = name_problem(name, registry)
    if problem is not None:
        hint = "Choose another name."
        if any(entry.name == name for entry in registry.entries("extractor")):
            hint += (
                " To move the features of an extractor to another cache, copy their folder from "
                "cache to cache."
            )
        raise ParameterError(f"Imported features can't be called {name!r}: {problem}", hint=hint)


def _summary(report: ImportReport) -> str:
    feature = report.fingerprint
    text = f"{_arrays(report.stored, feature)} stored as {feature.name!r} version {feature.version}"
    if report.present:
        text += f"; {report.present} were stored already"
    if report.repeated:
        rows = count(report.repeated, "row repeats", "rows repeat")
        text += f"; {rows} a recording"
    return text


def _arrays(number: int, feature: Fingerprint) -> str:
    return f"{count(number, 'array')} of shape {feature.shape}, {feature.dtype},"


COMMANDS: list[click.Command] = [export, import_]
