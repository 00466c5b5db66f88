"""``fusion cache why``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import open_run, plugin_options, registry_from
from ..options import json_option
from ..output import echo_json

if TYPE_CHECKING:
    from ....cache.fingerprint import JSON
    from ....cache.upkeep.differences import Absent, Difference
    from ...workflows.cache_status import Reason, RunReasons

_SHOWN = 3  # names of clips


@click.command("why", short_help="Why something is found in it or not.")
@click.argument("target", metavar="CLIP|RUN")
@click.option("--features", default="", metavar="A,B,...", help="[default: as fusion run]")
@click.option("--set", "settings", multiple=True, metavar="OWNER.NAME=VALUE",
              help="A parameter of an extractor.")  # fmt: skip
@click.option("--dtype", "dtypes", multiple=True, metavar="[FEATURE=]DTYPE",
              help="As in fusion run.")  # fmt: skip
@click.option("--cache", metavar="DIR|URL",
              help="Cache folder, or another machine's cache to look in, too. "
              "[default: the user's, or the run's]")  # fmt: skip
@json_option()
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, target: str, as_json: bool, **options: Any) -> int:
    """Why the features of a recording, or of a run, are found in the cache or not.

    For what is not found it names the field that differs from the nearest stored entry: a
    parameter, a version, a library, the content of the recording. CLIP is a recording, a part
    of one (PATH#t=START,END) or a key. Exits 1 where something is not found.

    \b
    fusion cache why speech.wav --features mel --set mel.hop=160
    fusion cache why runs/20260101-120000-gated
    """
    if (Path(target) / "run.json").is_file():
        found = _of_run(ctx, target, options)
        reasons, changed, absent = found.reasons, found.changed, found.absent
    else:
        reasons, changed, absent = _of_clip(ctx, target, options), {}, {}
    if as_json:
        echo_json({**_plain(reasons, changed), "absent": absent})
    else:
        for feature, fields in changed.items():
            click.echo(f"{feature} would be made another way today than when the run was made:")
            _echo_differences(fields, "then", "today")
        for reason in reasons:
            _echo(reason)
        for feature, count in absent.items():
            click.echo(f"{click.style(feature, bold=True)}: {_clips(count)} no {feature}")
    return 0 if all(reason.answer.kind == "found" for reason in reasons) else 1


def _of_clip(ctx: click.Context, target: str, options: dict[str, Any]) -> list[Reason]:
    from ...runs.request import requested_config
    from ...workflows.cache_status import why_clip

    registry = registry_from(ctx)
    return why_clip(requested_config({"data": (), **options}, registry), registry, target)


def _clips(count: int) -> str:
    return "1 clip has" if count == 1 else f"{count} clips have"


def _of_run(ctx: click.Context, target: str, options: dict[str, Any]) -> RunReasons:
    from ...contracts.errors import UserError
    from ...workflows.cache_status import why_run

    given = [name for name in ("features", "settings", "dtypes") if options[name]]
    if given:
        raise UserError(
            "A run knows its own features and parameters; they can't be given again.",
            hint="Leave out --features, --set and --dtype, or ask about a recording.",
        )
    return why_run(open_run(ctx, target), options["cache"])


def _echo(reason: Reason) -> None:
    answer = reason.answer
    color = "green" if answer.kind == "found" else "yellow"
    title = click.style(reason.feature, bold=True) + " of " + _listed(reason.names) + ": "
    where = f", at {answer.url}" if answer.url else ""
    click.echo(title + click.style(_SAID[answer.kind] + where, fg=color))
    if answer.kind == "content":
        click.echo(f"    stored for {answer.origin}: {answer.key}")
    elif answer.kind == "recording" and answer.differences:
        click.echo(f"    nor has {answer.place} this recording, the nearest of this name")
    elif answer.place and len(reason.names) == 1:
        click.echo(f"    {answer.place}")
        if answer.origin not in ("", str(Path(reason.names[0]).absolute())):
            click.echo(f"    made of {answer.origin}, which had the same content")
    _echo_differences(answer.differences, "stored", "asked for")


_SAID = {
    "found": "found",
    "fingerprint": "not found; this recording's was made another way",
    "content": "not found; the recording has another content than when it was stored",
    "recording": "not found; never computed for this recording",
    "feature": "not found; the cache holds nothing of this feature",
}


def _echo_differences(fields: tuple[Difference, ...], stored: str, wanted: str) -> None:
    for one in fields:
        click.echo(f"    {one.field}: {stored} {_value(one.stored)}, {wanted} {_value(one.wanted)}")


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
    """A side that does not have the field is left out: null is a value."""
    from ....cache.upkeep.differences import ABSENT

    return [{k: v for k, v in asdict(one).items() if v is not ABSENT} for one in fields]
