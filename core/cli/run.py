"""``fusion run``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import plugin_options, refuse_with_resume, registry_from

if TYPE_CHECKING:
    from ..config import RunConfig
    from ..experiment import RunResult
    from ..registry import Registry


def data_options(function: Any) -> Any:
    """Which clips: shared by the commands that read corpora."""
    options = [
        click.option(
            "--data", multiple=True, metavar="[CORPUS=]PATH",
            help="A corpus: folder or table, detected or named. Repeat it to pool several. "
            "Without it, a generated demo corpus.",
        ),
        click.option(
            "--labels", default="shared", show_default=True, metavar="shared|native|A,B,...",
            help="Six shared emotions, the corpus's own classes, or a choice.",
        ),
        click.option(
            "--features", default="", metavar="A,B,...",
            help="Extractors, one modality each. [default: those that plugins list stars]",
        ),
        click.option(
            "--set", "settings", multiple=True, metavar="OWNER.NAME=VALUE",
            help="A parameter of a plugin, of branch.MODALITY or of train.",
        ),
        click.option(
            "--cache", metavar="DIR|URL",
            help="Cache folder, or another machine's cache to read from. [default: the user's]",
        ),
        click.option(
            "--dtype", "dtypes", multiple=True, metavar="[FEATURE=]DTYPE",
            help="Store features as float16 (half the bytes), float32 or float64.",
        ),
        click.option(
            "--jobs", type=click.IntRange(min=1), metavar="N",
            help="Processes at a time. [default: one per core]",
        ),
        click.option("--strict", is_flag=True, help="Stop at an unreadable recording."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@click.command("run")
@data_options
@click.option("--branch", "branches", multiple=True, metavar="MODALITY=NAME",
              help="The branch network of a modality.")  # fmt: skip
@click.option(
    "--strategy", default="", metavar="NAME", help="Fusion strategy. [default: the starred one]"
)
@click.option("--balance", "balancers", multiple=True, metavar="NAME",
              help="Balancer; repeat it to compose several. [default: none]")  # fmt: skip
@click.option("--folds", type=click.IntRange(min=2), metavar="K",
              help="Cross-validation: every clip is tested once. [default: one split]")  # fmt: skip
@click.option("--split", type=click.Choice(["speaker", "sentence", "corpus", "random"]),
              default="speaker", show_default=True,
              help="What no two parts share; sentence and random do share speakers.")  # fmt: skip
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of split and training.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Budget; the same as train.epochs.")
@click.option("--batch-size", type=click.IntRange(min=2), help="The same as train.batch_size.")
@click.option("--lr", type=float, help="Peak learning rate; the same as train.lr.")
@click.option("--tune", type=click.IntRange(min=2), default=None, metavar="N",
              help="Try N settings for each model, by validation. [default: none]")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, mps.")
@click.option("--tracker", "trackers", multiple=True, metavar="NAME",
              help="One more place for the run's events.")  # fmt: skip
@click.option("--verify", type=click.Choice(["open", "always"]), default="open",
              show_default=True, help="always checks every feature that is read.")  # fmt: skip
@click.option("--out", metavar="DIR", help="Run directory. [default: runs/DATE-METHODS]")
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted.")
@click.option("--require-gain", is_flag=True,
              help="Exit 1 when fused is below the best single modality on test.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("--quiet", is_flag=True, help="No progress, only the results.")
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Train every modality alone, the fused model and the ensemble, and compare them.

    All are trained under one budget, chosen on validation speakers, and measured once on
    speakers that were never heard. The model handed out is the one that validation chose.

    \b
    fusion run
    fusion run --strategy gated --balance gradscale
    fusion run --data ravdess=PATH --folds 6 --set train.epochs=120
    """
    if options["resume"]:
        refuse_with_resume(ctx, _WITH_RESUME, "run")
    from ..experiment import new_run_path, resume_experiment, run_experiment
    from .display import Display, print_result

    out = Path(options["resume"] or options["out"] or "")
    with Display(quiet=options["quiet"] or options["as_json"]) as display:
        try:
            if options["resume"]:
                result = resume_experiment(out, jobs=options["jobs"], observer=display)
            else:
                registry = registry_from(ctx)
                config = _config(options, registry)
                out = out if options["out"] else new_run_path(config, Path("runs"))
                result = run_experiment(
                    config, out, registry, jobs=options["jobs"], observer=display
                )
        except KeyboardInterrupt:
            if (out / "run.json").is_file():
                click.echo(f"\nGo on with: fusion run --resume {out}", err=True)
            raise
    if options["as_json"]:
        click.echo(json.dumps(_as_json(result), indent=1))
    else:
        print_result(result)
    if options["require_gain"] and result.gain < 0:
        click.echo("--require-gain: the fused model is below the best single modality.", err=True)
        return 1
    return 0


# What may be given together with --resume: everything else is in the run directory.
_WITH_RESUME = {"resume", "jobs", "require_gain", "as_json", "quiet"}


def _config(options: dict[str, Any], registry: Registry) -> RunConfig:
    from ..config import RunConfig
    from ..parameters import parse_settings
    from ..prepare import with_defaults

    settings = parse_settings(options["settings"])
    for name in ("epochs", "batch_size", "lr"):
        if options[name] is not None:
            settings.setdefault("train", {}).setdefault(name, str(options[name]))
    config = RunConfig(
        data=options["data"],
        labels=options["labels"],
        features=parse_features(options["features"]),
        branches=parse_branches(options["branches"]),
        strategy=options["strategy"],
        balancers=options["balancers"],
        settings=settings,
        split=options["split"],
        folds=options["folds"],
        seed=options["seed"],
        device=options["device"],
        plugins=registry.requests,
        trackers=options["trackers"],
        cache=options["cache"],
        strict=options["strict"],
        dtypes=parse_dtypes(options["dtypes"]),
        verify=options["verify"],
        tune=options["tune"] or 0,
    )
    return with_defaults(config, registry)


def parse_features(given: str) -> tuple[str, ...]:
    """``"mel, prosody"`` -> the names in it."""
    return tuple(name.strip() for name in given.split(",") if name.strip())


def parse_branches(given: tuple[str, ...]) -> dict[str, str]:
    """``("mel=crnn",)`` -> branch by modality."""
    from ..errors import ParameterError

    branches: dict[str, str] = {}
    for choice in given:
        modality, equals, branch = choice.partition("=")
        if not equals:
            raise ParameterError(f"--branch takes MODALITY=NAME, and was given {choice!r}.")
        branches[modality] = branch
    return branches


def parse_dtypes(given: tuple[str, ...]) -> dict[str, str]:
    """``("float32", "mel=float16")`` -> dtype by feature, the one for all under ``"*"``."""
    from ..prepare import EVERY

    split = (choice.rpartition("=") for choice in given)
    return {feature or EVERY: dtype for feature, _, dtype in split}


def _as_json(result: RunResult) -> dict[str, Any]:
    return {
        "run": str(result.path),
        "synthetic": result.info["synthetic"],
        "split": result.info["split"]["mode"],
        "tune": result.info["config"].get("tune", 0),
        "trainings": result.info.get("trainings"),
        "speaker_independent": result.info["split"]["speaker_independent"],
        **result.results.to_json(),
    }
