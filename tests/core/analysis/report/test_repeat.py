"""The command line that repeats a run."""

import shlex
from dataclasses import replace

import click
from report_pages import change
from small_runs import SMALL

from fusion.core.analysis.report.repeat import command_line, facts
from fusion.core.analysis.report.run_data import read_run
from fusion.core.cli import cli
from fusion.core.cli.run import command
from fusion.core.registry.registry import Registry
from fusion.core.runs.plan import plan_without_split
from fusion.core.runs.request import config_from
from fusion.core.runs.run import Run


def asked(line, registry):
    """Return the plan of ``fusion run`` with these arguments, without the split."""
    group = click.Context(cli, obj={"plugins": (), "strict": False})
    parsed = command.make_context("run", line, parent=group)
    return plan_without_split(config_from(parsed.params, registry), registry)


def test_the_command_line_asks_for_the_same_run(made, tmp_path):
    """Parsing the command line gives the configuration that the run stored."""
    table = tmp_path / "clips.csv"
    table.write_text("path,label,speaker\na.wav,happy,s0\nb.wav,sad,s1\n")
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    registry = Registry()
    plan = asked(["--data", str(table), "--cache", str(tmp_path / "cache"), "--strategy", "gated",
                  "--balance", "gradscale", "--epochs", "3", *SMALL], registry)  # fmt: skip
    read = read_run(Run.open(made()))
    run = replace(read, record=replace(read.record, config=plan.config, model=plan.spec))
    for known in (registry, None):
        line = shlex.split(command_line(run, known))
        assert asked(line[2:], registry).config.to_json() == plan.config.to_json()
    short = command_line(run, registry)
    assert "--epochs 3" in short and "mel.n_mels=16" in short and "optimizer" not in short
    assert all(option in short for option in SMALL if option.startswith("train."))


def test_facts_name_seeds_splits_features_and_versions(run):
    change(run / "run.json", created="long ago", versions={"numpy": "2"}, machine={"cpu": "x"})
    read = read_run(Run.open(run))
    found = dict(facts(read))
    (digest,) = read.record.split.digests
    assert found == {
        "run directory": str(run), "created": "long ago", "seed of weights and batch order": "0",
        "seed of the split": "0", "split, fold 0": digest, "feature a": "0" * 32,
        "feature b": "0" * 32, "numpy": "2", "cpu": "x",
    }  # fmt: skip
    config = replace(read.config, seed=7, split_seed=5)
    found = dict(facts(replace(read, record=replace(read.record, config=config))))
    assert (found["seed of weights and batch order"], found["seed of the split"]) == ("7", "5")
