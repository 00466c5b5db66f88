"""Diagnoses on a terminal."""

from __future__ import annotations

import io
from typing import Any

from fusion.core.analysis.diagnosis import Diagnosis, Finding
from fusion.core.display.console import SafeConsole
from fusion.core.display.findings import one_line, print_diagnosis

NASTY = "[/bold]\x1b[31m"


def finding(severity: Any = "severe", **more: Any) -> Finding:
    passed = {"says": "Its rank is 1.2.", "rule": "rank < 0.05", "modality": "mel", **more}
    return Finding("dead_branch", severity, **passed)


def printed(*findings: Finding, signs: Any = None, caveats: tuple[str, ...] = ()) -> list[str]:
    console = SafeConsole(file=io.StringIO(), width=120, highlight=False)
    print_diagnosis(Diagnosis(findings, signs or {"mel": {"norm": 4.0}}, {}, caveats), console)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_a_finding_with_its_rule_its_remedy_and_its_command() -> None:
    passed = finding(items=("one.wav", "two.wav"), remedy="Look.", command="fusion repair r")
    lines = printed(passed)
    start = next(i for i, line in enumerate(lines) if line.startswith("severe"))
    assert lines[start : start + 6] == [
        "severe    Dead branch of mel",
        "          Its rank is 1.2.",
        "          rule: rank < 0.05",
        "          see: one.wav, two.wav",
        "          remedy: Look.",
        "          fusion repair r",
    ]


def test_empty_fields_have_no_line() -> None:
    lines = printed(finding("mild", modality=None))
    assert "mild      Dead branch" in lines
    assert not any("see:" in line or "remedy:" in line for line in lines)


def test_signs_have_a_column_if_any_modality_has_the_figure() -> None:
    lines = printed(signs={"mel": {"val_uar": 0.5, "weight": 0.25}, "": {"val_uar": 0.625}})
    head = next(i for i, line in enumerate(lines) if line.split() == ["probe,", "val", "weight"])
    assert lines[head + 1].split() == ["mel", "50.0%", "0.25"]
    assert lines[head + 2].split() == ["fused", "62.5%"]


def test_no_finding_and_caveats_are_reported() -> None:
    lines = printed(caveats=("Trainings of 20 steps are not judged.",))
    assert "No rule found a fault." in lines
    assert "Trainings of 20 steps are not judged." in lines


def test_markup_and_control_characters_in_names_are_plain_text() -> None:
    lines = printed(
        finding(says=f"Clips of {NASTY}.", items=(f"{NASTY}.wav",), modality=NASTY,
                remedy=f"Listen to {NASTY}.", command=f"fusion repair {NASTY}"),
        signs={NASTY: {"norm": 1.0}}, caveats=(NASTY,),
    )  # fmt: skip
    assert sum("[/bold]?[31m" in line for line in lines) == 7
    assert not any("\x1b" in line for line in lines)


def test_long_sentences_are_wrapped_with_indentation() -> None:
    lines = printed(finding(says="word " * 60))
    output = [line for line in lines if line.endswith("word")]
    assert len(output) == 4 and all(line.startswith(10 * " " + "word") for line in output)
    assert max(map(len, output)) <= 96


def test_findings_in_one_line() -> None:
    console = SafeConsole(file=io.StringIO(), width=200)
    console.print(one_line([finding(), finding("mild", modality=None)]))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert output == "Dead branch of mel (severe), Dead branch (mild)\n"
    assert one_line([]) == ""
