"""Account of a corpus: every file and row is counted once, by what became of it."""

from __future__ import annotations

from typing import Any

from made_clips import clip

from fusion.core.contracts import Clip, Corpus
from fusion.core.data.corpora import Dataset, load_dataset
from fusion.core.data.intake import (
    Intake,
    intake_lines,
    intake_of,
    passed_over_counts,
    unnamed_items,
)
from fusion.core.data.sources import Source


def dataset(**changes: object) -> Dataset:
    clips = (clip("a", "1", "sad"), clip("a", "2", "sad"), clip("b", "1", "happy"))
    given: dict[str, Any] = {
        "dropped": {"a": {"bored": 2}},
        "passed_over": {"b": {"not a recording (.txt)": ["r.txt", "s.txt"], "no label": ["row 3"]}},
        "columns": {"a": {"label": "EmoClass", "speaker": "SpkrID"}},
        **changes,
    }
    return Dataset(clips, ("happy", "sad"), corpora=("a", "b"), **given)


def test_each_item_is_counted_once() -> None:
    a, b = intake_of(dataset())
    assert (a.total, a.clips, a.left_out, a.unreadable) == (4, 2, 2, 0)
    assert (b.total, b.clips, b.left_out) == (4, 1, 3)
    used = dataset().clips[1:]  # the recording of one clip can't be read
    a, b = intake_of(dataset(), used)
    assert (a.total, a.clips, a.unreadable, b.unreadable) == (4, 1, 1, 0)
    assert a.summary() == "a: 4 files and rows: 1 used as clips, 2 left out by label, 1 unreadable"


def test_the_lines_show_reasons_with_their_first_item_and_the_columns() -> None:
    assert intake_lines(intake_of(dataset())) == [
        "a: 4 files and rows: 2 used as clips, 2 left out by label",
        "  left out by label: bored 2",
        "  columns: label = EmoClass, speaker = SpkrID",
        "b: 4 files and rows: 1 used as clips, 3 passed over",
        "  passed over: not a recording (.txt) 2, first: r.txt",
        "  passed over: no label 1, first: row 3",
    ]
    assert intake_lines(intake_of(dataset(dropped={}, passed_over={}))) == [
        "a: columns: label = EmoClass, speaker = SpkrID"
    ]
    assert intake_lines(intake_of(dataset(dropped={}, passed_over={}, columns={}))) == []


def test_many_reasons_are_shortened_and_still_counted() -> None:
    reasons = {f"reason {n}": n for n in range(1, 10)}
    lines = Intake("c", 1, passed_over=reasons).details("run.json")
    assert lines[0] == "passed over: reason 9 9" and len(lines) == 7
    assert lines[-1] == "passed over: 3 more reasons 6, all listed in run.json"
    assert (
        intake_lines([Intake("c", 1, passed_over=reasons)])[-1] == "  passed over: 3 more reasons 6"
    )


def test_a_single_remaining_reason_is_shown_itself() -> None:
    reasons = {f"reason {n}": n for n in range(1, 8)}
    lines = Intake("c", 1, passed_over=reasons).details("run.json")
    assert lines == [f"passed over: reason {n} {n}" for n in range(7, 0, -1)]


def test_rows_and_json_hold_every_number() -> None:
    a, b = intake_of(dataset(), dataset().clips[1:])
    assert a.rows() == [("a", "used as clips", 1), ("a", "left out by label: bored", 2),
                        ("a", "unreadable", 1)]  # fmt: skip
    assert sum(number for *_, number in b.rows()) == b.total
    assert b.to_json() == {
        "corpus": "b", "total": 4, "clips": 1, "left_out_by_label": {},
        "passed_over": {"not a recording (.txt)": 2, "no label": 1}, "unreadable": 0,
        "columns": {},
    }  # fmt: skip


def test_items_without_names_give_the_same_counts() -> None:
    counts = passed_over_counts(dataset())
    assert counts == {"b": {"not a recording (.txt)": 2, "no label": 1}}
    again = dataset(passed_over=unnamed_items(counts))
    assert passed_over_counts(again) == counts
    assert intake_lines(intake_of(again))[4] == "  passed over: not a recording (.txt) 2"


class Picky(Corpus):
    """Corpus that passes over files."""

    name, needs_path = "picky", False

    def clips(self) -> list[Clip]:
        self.pass_over("notes.txt", "not a recording (.txt)")
        self.pass_over("x.aiff", "unknown format (.aiff)")
        self.pass_over("y.aiff", "unknown format (.aiff)")
        self.columns_used["label"] = "EmoClass"
        return [clip("picky", "1", label) for label in ("sad", "happy", "bored")]


def test_what_a_corpus_passes_over_is_accounted_for() -> None:
    (intake,) = intake_of(load_dataset([Source("picky", None)], {"picky": Picky}))
    assert intake.total == 6 and intake.clips == 2
    assert intake.by_label == {"bored": 1}
    assert intake.passed_over == {"not a recording (.txt)": 1, "unknown format (.aiff)": 2}
    assert intake.first["unknown format (.aiff)"] == "x.aiff"
    assert intake.columns == {"label": "EmoClass"}
