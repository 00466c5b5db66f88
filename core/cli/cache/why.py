"""Command ``fusion cache why``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...display.plain_text import echo, printable
from .. import open_run, plugin_options, registry_from
from ..options import json_option
from ..output import echo_json

if TYPE_CHECKING:
    from ....cache.fingerprint import JSON
    from ....cache.upkeep.differences import Absent, Difference
    from ...workflows.cache_status import Reason, RunReasons

_SHOWN = 3  # maximum number of clip names that are listed


@click.command("why", short_help="Explain cache hits and misses.")
@click.argument("target", metavar="CLIP|RUN")
@click.option("--features", default="", metavar="A,B,...",
              help="Extractors to check. [default: those of fusion run]")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="OWNER.NAME=VALUE",
              help="Set a parameter of an extractor.")  # fmt: skip
@click.option("--dtype", "dtypes", multiple=True, metavar="[FEATURE=]DTYPE",
              help="Dtype of the stored features, as in fusion run.")  # fmt: skip
@click.option("--cache", metavar="DIR|URL",
              help="Cache folder, or URL of another machine's cache to search as well. "
              "[default: the cache of the run, or of the user]")  # fmt: skip
@json_option()
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, target: str, as_json: bool, **options: Any) -> int:
    """Explain why the features of a recording, or of a run, are in the cache or not.

    For each cache miss, prints what differs from the nearest stored entry: a parameter, a
    version, a library, or the content of the recording. CLIP is a recording, a part
    of a recording (PATH#t=START,END), or a key. Exits with 1 if a feature is missing.

    \b
    fusion cache why speech.wav --features mel --set mel.hop=160
    fusion cache why runs/20260101-120000-gated
    """
    if (Path(target) / "run.json").is_file():
        result = _reasons_of_run(ctx, target, options)
        reasons, changed, absent = result.reasons, result.changed, result.absent
    else:
        reasons, changed, absent = _reasons_of_clip(ctx, target, options), {}, {}
    if as_json:
        echo_json({**_plain(reasons, changed), "absent": absent})
    else:
        for feature, fields in changed.items():
            echo(f"{feature} would be computed differently now than when the run was made:")
            _echo_differences(fields, "then", "now")
        for reason in reasons:
            _echo(reason)
        for feature, count in absent.items():
            name = printable(feature)
            click.echo(f"{click.style(name, bold=True)}: {_clips(count)} no {name}")
    return 0 if all(reason.answer.kind == "found" for reason in reasons) else 1


def _reasons_of_clip(ctx: click.Context, target: str, options: dict[str, Any]) -> list[Reason]:
    from ...runs.request import requested_config
    from ...workflows.cache_status import why_clip

    registry = registry_from(ctx)
    return why_clip(requested_config({"data": (), **options}, registry), registry, target)


def _clips(count: int) -> str:
    return "1 clip has" if count == 1 else f"{count} clips have"


def _reasons_of_run(ctx: click.Context, target: str, options: dict[str, Any]) -> RunReasons:
    from ...contracts.errors import UserError
    from ...workflows.cache_status import why_run

    if any(options[name] for name in ("features", "settings", "dtypes")):
        raise UserError(
            f"--features, --set and --dtype can't be given with the run {target}, which stores "
            "its own.",
            hint="Leave these options out, or name a recording instead of a run.",
        )
    return why_run(open_run(ctx, target), options["cache"])


def _echo(reason: Reason) -> None:
    answer = reason.answer
    color = "green" if answer.kind == "found" else "yellow"
    names = printable(f" of {_listed(reason.names)}: ")
    title = click.style(printable(reason.feature), bold=True) + names
    source = f", at {answer.url}" if answer.url else ""
    click.echo(title + click.style(printable(_TEXTS[answer.kind] + source), fg=color))
    if answer.kind == "content":
        echo(f"    stored for {answer.origin}: {answer.key}")
    elif answer.kind == "recording" and answer.differences:
        echo(f"    the nearest feature of this name, {answer.place}, also lacks the recording")
    elif answer.place and len(reason.names) == 1:
        echo(f"    {answer.place}")
        if answer.origin not in ("", str(Path(reason.names[0]).absolute())):
            echo(f"    computed from {answer.origin}, a recording with the same content")
    _echo_differences(answer.differences, "stored", "requested")


_TEXTS = {
    "found": "found",
    "fingerprint": "not found; the stored array of this recording was computed differently",
    "content": "not found; the content of the recording has changed since it was stored",
    "recording": "not found; never computed for this recording",
    "feature": "not found; the cache holds no array of this feature",
}


def _echo_differences(fields: tuple[Difference, ...], stored: str, wanted: str) -> None:
    for field in fields:
        echo(f"    {field.field}: {stored} {_value(field.stored)}, {wanted} {_value(field.wanted)}")


def _value(value: JSON | Absent) -> str:
    from ....cache.upkeep.differences import ABSENT

    return str(value) if value is ABSENT else json.dumps(value)


def _listed(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return names[0]
    more = f", ... ({len(names)} clips)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _plain(reasons: list[Reason], changed: dict[str, tuple[Difference, ...]]) -> dict[str, Any]:
    return {
        "reasons": [
            {
                "feature": reason.feature,
                "clips": list(reason.names),
                **asdict(reason.answer),
                "differences": _plain_differences(reason.answer.differences),
            }
            for reason in reasons
        ],
        "changed": {name: _plain_differences(fields) for name, fields in changed.items()},
    }


def _plain_differences(fields: tuple[Difference, ...]) -> list[dict[str, Any]]:
    """Return the differences as dicts; leave out absent values, because null would be a value."""
    from ....cache.upkeep.differences import ABSENT

    return [{k: v for k, v in asdict(field).items() if v is not ABSENT} for field in fields]
