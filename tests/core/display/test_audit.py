"""Audits on a terminal."""

from pathlib import Path
from types import SimpleNamespace

from fusion.core.display.audit import AuditDisplay, print_audit
from fusion.core.runs.outcome.results import ModelResult
from fusion.core.runs.run import Run
from fusion.core.toolkit.intervals import Comparison, Interval
from fusion.core.workflows.audit_results import Audit, Column, Leakage


def column(split, uar=0.6, known=40, speakers=8):
    interval = Interval(uar, uar - 0.1, uar + 0.1, 0.95, speakers)
    models = tuple(
        ModelResult(name, interval, interval, uar, 0.625, (uar,)) for name in ("mel", "fused")
    )
    received = 0 if split == "speaker" else 30
    leak = Leakage(40, received, 10, known, 40, 0)
    apart = split in ("speaker", "corpus")
    return Column(split, Run(Path("runs") / split), 3, 100, leak, models, apart)


def audit(*columns, refused=None, synthetic=False, flattery=None, **more):
    columns = columns or (column("random", 0.8), column("speaker"))
    return Audit(columns, refused or {}, flattery or {}, True, synthetic, **more)


def cells(lines, name):
    (line,) = (line for line in lines if line.strip().startswith(name))
    return line.strip().removeprefix(name).split("  ")


def row(lines, name):
    return [cell.strip() for cell in cells(lines, name) if cell.strip()]


def test_splits_are_columns(printed):
    lines = printed(print_audit, audit(), Path("audits/x"))
    assert any(line.split() == ["random", "speaker"] for line in lines)
    assert row(lines, "speakers are") == ["not kept apart", "kept apart"]
    tested, validated = [line.split() for line in lines if line.split()[:1] == ["fused"]]
    assert tested == ["fused", "80.0", "[70.0,", "90.0]", "60.0", "[50.0,", "70.0]"]
    assert validated == ["fused", "62.5", "62.5"]
    assert row(lines, "test speakers") == ["8", "8"]
    assert row(lines, "their speaker") == ["30 (75 %)", "0 (0 %)"]
    assert row(lines, "their sentence") == ["10 (25 %)", "10 (25 %)"]


def test_unknown_sentences_are_not_shown_as_zero(printed):
    lines = printed(print_audit, audit(column("speaker", known=0)), Path("x"))
    assert row(lines, "their sentence") == ["not known"]


def test_the_sentences_of_an_audit_and_the_paths_of_its_files(printed):
    flattery = {"fused": Comparison(0.2, 0.1, 0.3, 0.01, 8, 0.95)}
    result = audit(flattery=flattery, synthetic=True, adapt="speaker")
    lines = printed(print_audit, result, Path("audits/x"))
    assert any("flatters fused by 20.0 [10.0, 30.0]" in line for line in lines)
    assert any(line.startswith("The recordings are synthetic:") for line in lines)
    assert any(line.strip() == "UAR (%) by model and split, speaker-adapted" for line in lines)
    assert lines[-2:] == [
        "all figures: audits/x/audit.json, audit.csv",
        "run directories in audits/x: random, speaker",
    ]


def test_one_speaker_has_no_interval(printed):
    lines = printed(print_audit, audit(column("speaker", speakers=1)), Path("x"))
    assert any(line.split() == ["fused", "60.0", "(one", "speaker)"] for line in lines)


def test_markup_and_control_characters_are_plain_text(printed, nasty):
    name, shown = nasty
    lines = printed(print_audit, audit(refused={"corpus": f"No {name}."}), Path(name))
    assert f"left out: corpus: No {shown}." in lines
    assert f"all figures: {shown}/audit.json, audit.csv" in lines


def test_the_start_of_a_split_and_a_finished_split_are_shown(printed, nasty):
    name, shown = nasty
    display = AuditDisplay()
    plan = SimpleNamespace(config=SimpleNamespace(cache=None))
    display.say_corpora = display.say_split = lambda plan: display._say("told")
    planned = SimpleNamespace(first=plan, plans={"random": plan, "speaker": plan},
                              refused={"corpus": name})  # fmt: skip

    def show():
        display.audited(planned)
        display.split_begins("random", plan, finished=True)
        display.split_begins("speaker", plan, finished=False)

    assert printed(show, err=True) == [
        "told", "splits    random, speaker", f"          left out corpus: {shown}",
        "", "random: finished before", "", "speaker", "told",
    ]  # fmt: skip
