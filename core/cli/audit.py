"""``fusion audit``."""

from __future__ import annotations

from typing import Any

import click

from ..runs.request import config_from, parse_features
from . import plugin_options, registry_from
from .options import data_options, method_options, outcome_options, training_options
from .output import dated_folder, echo_json, resumable


@click.command("audit")
@data_options
@training_options
@method_options
@click.option("--splits", default="", metavar="random,speaker,sentence,corpus",
              help="Which splits. [default: all that the clips allow]")  # fmt: skip
@click.option("--out", metavar="DIR",
              help="Where the runs go; the same again goes on. [default: audits/DATE]")  # fmt: skip
@outcome_options("results")
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Measure one model under several splits, to read a published figure for what it is.

    \b
    random    clips are drawn whoever speaks: what many papers report
    speaker   no speaker is in two parts
    sentence  no sentence is in two parts; speakers are
    corpus    a whole corpus is tested, and never heard in training

    Says by how many points the random split flatters each model, and how many test clips have
    their speaker, sentence, corpus or very recording in training. Interrupted, the same command
    with the same --out goes on; what is finished is not repeated.

    \b
    fusion audit --data PATH --folds 6 --out audits/mine
    fusion audit --data PATH --data PATH2 --splits speaker,corpus
    """
    from ..display.audit import AuditDisplay, print_audit
    from ..workflows.audit import REQUEST, run_audit

    registry = registry_from(ctx)
    config = config_from(options, registry)
    out = dated_folder(options["out"], "audits")
    with (
        AuditDisplay(quiet=options["quiet"] or options["as_json"]) as display,
        resumable(out / REQUEST, f": the same command and --out {out}"),
    ):
        splits = parse_features(options["splits"])
        found = run_audit(
            config, out, registry, splits=splits, jobs=options["jobs"], observer=display
        )
    if options["as_json"]:
        echo_json({"audit": str(out), **found.to_json()})
    else:
        print_audit(found, out)
    return 0
