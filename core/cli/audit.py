"""Command ``fusion audit``."""

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
@click.option("--splits", default="", metavar="random,speaker,sentence,corpus,published",
              help="Splits to compare. [default: the first four that the clips allow]")  # fmt: skip
@click.option("--out", metavar="DIR",
              help="Folder for the runs; an existing folder of the same audit is resumed. "
              "[default: audits/DATE]")  # fmt: skip
@outcome_options("results")
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Train and test one model under several splits, to measure how much leakage inflates scores.

    \b
    random    clips are drawn at random, as in many papers; speakers are shared
    speaker   training, validation and test share no speaker
    sentence  training, validation and test share no sentence, but share speakers
    corpus    a whole corpus is held out for testing
    published the split that the corpus prescribes (only if named)

    Reports by how many points of UAR the random split inflates each score, and how many test
    clips have their speaker, sentence, corpus or identical recording in training. To resume an
    interrupted audit, repeat the command with the same --out; finished runs are kept.

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
        resumable(out / REQUEST, f"repeat the command with --out {out}"),
    ):
        splits = parse_features(options["splits"])
        audit = run_audit(
            config, out, registry, splits=splits, jobs=options["jobs"], observer=display
        )
    if options["as_json"]:
        echo_json({"audit": str(out), **audit.to_json()})
    else:
        print_audit(audit, out)
    return 0
