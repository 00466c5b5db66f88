"""Account of a corpus: what became of each file and row that was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..contracts import Clip
from .corpora import Dataset

_SHOWN = 6  # maximum number of reasons that are printed one by one


@dataclass(frozen=True, slots=True)
class Intake:
    """Files and rows of one corpus, each counted once.

    Attributes
    ----------
    corpus : str
        Name of the corpus.
    clips : int
        Clips that a run uses.
    by_label : mapping of str to int
        Clips left out because of their label, by label.
    passed_over : mapping of str to int
        Files and rows that did not become clips, by reason.
    unreadable : int
        Clips left out because their recordings can't be read or have none of the features.
    first : mapping of str to str
        First file or row that was passed over, by reason; may be empty.
    columns : mapping of str to str
        Columns of a table that were used, by role.
    """

    corpus: str
    clips: int
    by_label: Mapping[str, int] = field(default_factory=dict)
    passed_over: Mapping[str, int] = field(default_factory=dict)
    unreadable: int = 0
    first: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Number of all files and rows."""
        return self.clips + self.left_out

    @property
    def left_out(self) -> int:
        """Number of files and rows that the run does not use."""
        by_reason = sum(self.by_label.values()) + sum(self.passed_over.values())
        return by_reason + self.unreadable

    def summary(self) -> str:
        """Return the numbers as a sentence, which add up to the number of files and rows."""
        parts = [
            (self.clips, "used as clips"),
            (sum(self.by_label.values()), "left out by label"),
            (sum(self.passed_over.values()), "passed over"),
            (self.unreadable, "unreadable"),
        ]
        listed = ", ".join(f"{number} {outcome}" for number, outcome in parts if number)
        return f"{self.corpus}: {self.total} files and rows: {listed}"

    def details(self, all_in: str = "") -> list[str]:
        """Return one line for the labels, one for each reason, and one for the columns.

        `all_in` is the name of the file that holds all reasons, if there is one.
        """
        lines = []
        if self.by_label:
            listed = ", ".join(f"{label} {n}" for label, n in self.by_label.items())
            lines.append(f"left out by label: {listed}")
        reasons = _largest_first(self.passed_over)
        # A single reason that remains takes no more space than a line that counts it.
        shown = _SHOWN if len(reasons) > _SHOWN + 1 else len(reasons)
        for reason, number in reasons[:shown]:
            first = self.first.get(reason)
            lines.append(f"passed over: {reason} {number}" + (f", first: {first}" if first else ""))
        more = reasons[shown:]
        if more:
            number = sum(n for _, n in more)
            listed = f", all listed in {all_in}" if all_in else ""
            lines.append(f"passed over: {len(more)} more reasons {number}{listed}")
        if self.columns:
            listed = ", ".join(f"{role} = {name}" for role, name in self.columns.items())
            lines.append(f"columns: {listed}")
        return lines

    def rows(self) -> list[tuple[str, str, int]]:
        """Return the account as rows of a table: corpus, what became of the items, and number."""
        return [
            (self.corpus, "used as clips", self.clips),
            *(
                (self.corpus, f"left out by label: {label}", n)
                for label, n in self.by_label.items()
            ),
            *(
                (self.corpus, f"passed over: {reason}", n)
                for reason, n in _largest_first(self.passed_over)
            ),
            *([(self.corpus, "unreadable", self.unreadable)] if self.unreadable else []),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the account, without the first items, for ``json.dump``."""
        return {
            "corpus": self.corpus,
            "total": self.total,
            "clips": self.clips,
            "left_out_by_label": dict(self.by_label),
            "passed_over": dict(self.passed_over),
            "unreadable": self.unreadable,
            "columns": dict(self.columns),
        }


def _largest_first(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda reason: -reason[1])


def intake_of(dataset: Dataset, used: Iterable[Clip] | None = None) -> list[Intake]:
    """Return the account of each corpus of a data set.

    Parameters
    ----------
    dataset : Dataset
        Data set as it was read.
    used : iterable of Clip, optional
        Clips of the data set whose features exist; the others are unreadable. By default all.
    """
    read = count_by_corpus(dataset.clips)
    clips = read if used is None else count_by_corpus(used)
    passed_over = passed_over_counts(dataset)
    return [
        Intake(
            corpus,
            clips[corpus],
            dataset.dropped.get(corpus, {}),
            passed_over.get(corpus, {}),
            read[corpus] - clips[corpus],
            {
                reason: items[0]
                for reason, items in dataset.passed_over.get(corpus, {}).items()
                if items
            },
            dataset.columns.get(corpus, {}),
        )
        for corpus in dataset.corpora
    ]


def count_by_corpus(clips: Iterable[Clip]) -> Counter[str]:
    """Return the number of clips of each corpus."""
    return Counter(clip.corpus for clip in clips)


def unreadable_counts(dataset: Dataset, used: Iterable[Clip]) -> dict[str, int]:
    """Return the number of clips of the data set that are not in `used`, by corpus."""
    counts = count_by_corpus(dataset.clips)
    counts.subtract(count_by_corpus(used))
    return {corpus: number for corpus, number in counts.items() if number}


def passed_over_counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Return the number of items that were passed over, by corpus and reason."""
    return {
        corpus: {reason: len(items) for reason, items in reasons.items()}
        for corpus, reasons in dataset.passed_over.items()
    }


def unnamed_items(
    counts: Mapping[str, Mapping[str, int]],
) -> dict[str, dict[str, list[str]]]:
    """Return as many items without a name as `counts` holds; the inverse of counting items."""
    return {
        corpus: {reason: [""] * number for reason, number in reasons.items()}
        for corpus, reasons in counts.items()
    }


def intake_lines(intakes: Sequence[Intake], all_in: str = "") -> list[str]:
    """Return the lines to print: the sums of corpora that leave something out, and details.

    `all_in` is the name of the file that holds all reasons, if there is one.
    """
    lines: list[str] = []
    for intake in intakes:
        if intake.left_out:
            lines.append(intake.summary())
        indent = "  " if intake.left_out else f"{intake.corpus}: "
        lines += [f"{indent}{detail}" for detail in intake.details(all_in)]
    return lines
