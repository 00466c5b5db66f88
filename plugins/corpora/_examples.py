"""Clips of containers with free column names: roles of columns, speakers, times and names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...cache.exchange.columns import column_names, plain, roles_of
from ...cache.exchange.times import parse_seconds, seconds_text
from ...core.contracts.data import Clip, ColumnChoice, Corpus, Recording
from ...core.contracts.errors import CorpusError, UnknownNameError
from ...core.toolkit.parts import PARTS, is_numbered, part_of
from ...core.toolkit.patterns import SpeakerPattern

ALIASES = column_names()
_LIST_LENGTH = 200  # letters of a list of columns in a message


@dataclass(frozen=True)
class Example:
    """One example of a container, before its columns have roles.

    Attributes
    ----------
    cells : mapping of str to str
        Text by column; empty cells are left out.
    where : str
        Location of the example, for messages: ``"clips.json, entry 'a1'"``.
    name : str
        Name of the example in its container.
    file : Path
        The recording.
    fallback : str
        Name to use if several examples are called `name`; empty means `name`.
    split : str or None
        Part of the split that the container's own name states.
    """

    cells: Mapping[str, str]
    where: str
    name: str
    file: Path
    fallback: str = ""
    split: str | None = None


class Roles:
    """Column of a container by role, chosen by the user or recognised by its name.

    Parameters
    ----------
    columns : iterable of str
        Columns of the container.
    choice : ColumnChoice
        The user's choice.

    Raises
    ------
    UnknownNameError
        If a column that the user has chosen does not exist.
    """

    def __init__(self, columns: Iterable[str], choice: ColumnChoice) -> None:
        ignored = {plain(name) for name in choice.ignored}
        self.columns = [c for c in dict.fromkeys(columns) if plain(c) not in ignored]
        self.used: dict[str, str] = {}
        try:
            positions = roles_of(self.columns, ALIASES, choice)
        except KeyError as error:
            raise UnknownNameError("column", str(error.args[0]), self.columns) from None
        self._by_role = {role: self.columns[position] for role, position in positions.items()}

    def use(self, role: str) -> str | None:
        """Return the column of a role and note that it is used; None if no column fits."""
        if role in self._by_role:
            self.used[role] = self._by_role[role]
        return self.used.get(role)

    def listed(self) -> str:
        """Return the names of the columns for a message."""
        return listed(self.columns)


def listed(names: Iterable[str]) -> str:
    """Return names for a message, cut after a few lines."""
    text = ", ".join(names) or "none"
    return text if len(text) <= _LIST_LENGTH else text[:_LIST_LENGTH] + " ..."


def read_clips(
    corpus: Corpus, examples: Iterable[Example], *, speaker: SpeakerPattern | None, hint: str = ""
) -> list[Clip]:
    """Return the clips of a container's examples; report the examples that do not become clips.

    Parameters
    ----------
    corpus : Corpus
        The corpus, whose `columns`, `columns_used` and `passed_over` are used.
    examples : iterable of Example
        The examples, in a stable order.
    speaker : SpeakerPattern or None
        Expression that finds the speaker in the name of an example, instead of a column.
    hint : str
        Advice for the case that no example can be used.

    Raises
    ------
    CorpusError
        If no column has the label, a time is wrong, two clips have one name, or no
        example can be used.
    """
    examples = list(examples)
    roles = Roles((column for e in examples for column in e.cells), corpus.columns)
    if examples and roles.use("label") is None:
        raise CorpusError(
            f"{corpus.path}: no column is known to be the label. Columns: {roles.listed()}.",
            hint="Name the column: --column label=COLUMN",
        )
    for role in ("start", "end", "duration", "split", "fold", "transcript"):
        roles.use(role)
    if speaker is None:
        roles.use("speaker")
    split = None if "split" in corpus.columns.names else roles.used.get("split")
    if split is not None and is_numbered(e.cells.get(split, "") for e in examples):
        corpus.columns_used["not a split"] = roles.used.pop("split")
    corpus.columns_used.update(roles.used)
    # columns_used also has the column of the recording, if the corpus has one.
    return make_clips(corpus, examples, corpus.columns_used, speaker=speaker, hint=hint)


def make_clips(
    corpus: Corpus,
    examples: Sequence[Example],
    columns: Mapping[str, str],
    *,
    speaker: SpeakerPattern | None,
    hint: str = "",
) -> list[Clip]:
    """Return the clips of examples whose columns are known, as :func:`read_clips` does.

    Parameters
    ----------
    columns : mapping of str to str
        Column by role. Other columns of the examples become attributes.
    """
    attributes = _attributes(corpus, columns, [c for e in examples for c in e.cells])
    parts = _parts(examples, columns, corpus)
    clips: list[tuple[Example, Clip]] = []
    for example, part in zip(examples, parts, strict=True):
        cell = {role: example.cells.get(column, "") for role, column in columns.items()}
        start, end = _span(cell, example)
        needs_speaker = speaker is None and "speaker" in columns
        if reason := _refusal(example, cell, start, end, needs_speaker=needs_speaker):
            corpus.pass_over(example.name, reason)
            continue
        clip = Clip(
            Recording(example.file, start, end),
            example.name + span_suffix(start, end),
            cell["label"],
            _speaker(example, cell.get("speaker", ""), speaker),
            corpus.name,
            split=part,
            fold=cell.get("fold") or None,
            attributes={attributes[c]: t for c, t in example.cells.items() if c in attributes},
        )
        clips.append((example, clip))
    if not clips:
        raise no_clips(corpus, hint)
    return _uniquely_named(clips)


def _attributes(
    corpus: Corpus, columns: Mapping[str, str], present: Iterable[str]
) -> dict[str, str]:
    """Return the name of the attribute for each column that holds an attribute.

    A column that the user has chosen for a role without meaning for clips (``sentence``) gives an
    attribute with the name of the role.
    """
    chosen = {c: role for role, c in corpus.columns.names.items() if role not in ALIASES}
    if "transcript" in columns:
        chosen[columns["transcript"]] = "transcript"
    attribute_columns = {*chosen, columns.get("not a split", "")}
    used = {*columns.values(), *corpus.columns.ignored} - attribute_columns
    return {column: chosen.get(column, column) for column in present if column not in used}


def _refusal(
    example: Example,
    cell: Mapping[str, str],
    start: float,
    end: float | None,
    *,
    needs_speaker: bool,
) -> str | None:
    """Return why an example does not become a clip; None for a complete example."""
    if not example.file.is_file():
        return "the file does not exist"
    if not cell.get("label"):
        return "no label"
    if needs_speaker and not cell.get("speaker"):
        return "no speaker"
    return "ends before it starts" if start < 0 or (end is not None and end <= start) else None


def no_clips(corpus: Corpus, hint: str = "") -> CorpusError:
    """Return the error for a container without a usable example, with the reasons."""
    reasons = "; ".join(
        f"{reason}: {len(items)}, for example {items[0]}"
        for reason, items in corpus.passed_over.items()
    )
    return CorpusError(
        f"{corpus.path} has no clip that can be used. {reasons or 'It has no examples'}.",
        hint=hint or None,
    )


def speaker_pattern(text: str, corpus: str) -> SpeakerPattern | None:
    """Return the expression of a corpus's parameter ``speaker``; None if it is empty."""
    return SpeakerPattern(text, f"{corpus}.speaker") if text else None


def _speaker(example: Example, cell: str, pattern: SpeakerPattern | None) -> str:
    if pattern is None:
        return cell
    try:
        return pattern.find(example.name)
    except CorpusError as error:
        raise CorpusError(f"{example.where}: {error.message}") from None


def _parts(
    examples: Sequence[Example], columns: Mapping[str, str], corpus: Corpus
) -> list[str | None]:
    """Return the part of a split of each example: from the column, else from the container.

    The parts that the container's names state count only if every example has one, and training
    and test both occur: a data set whose only part is called train prescribes no split.
    """
    if "split" in columns:
        return [_part(e.cells.get(columns["split"], ""), e) for e in examples]
    parts = [example.split for example in examples]
    prescribed = None not in parts and {"train", "test"} <= {*parts}
    return parts if prescribed and "split" not in corpus.columns.ignored else [None] * len(parts)


def _part(text: str, example: Example) -> str | None:
    if not text:
        return example.split
    if part_of(text) is None:
        raise CorpusError(
            f"{example.where}: the split {text!r} is unknown. Accepted: {', '.join(PARTS)}.",
            hint="If the column is no split: --ignore-column COLUMN; another column: --column "
            "split=COLUMN",
        )
    return part_of(text)


def _span(cell: Mapping[str, str], example: Example) -> tuple[float, float | None]:
    """Return start and end of an example in seconds; a duration counts only with a start."""
    start, end, duration = (seconds(cell.get(r, ""), example) for r in ("start", "end", "duration"))
    if start is not None and end is None and duration is not None:
        end = start + duration
    return start or 0.0, end


def seconds(text: str, example: Example) -> float | None:
    """Return a time as a number of seconds, from ``3.5``, ``00:00:03.5`` or ``0 days 00:00:03.5``.

    Returns
    -------
    float or None
        None for an empty text and for ``NaT``.

    Raises
    ------
    CorpusError
        If the text is not a finite time.
    """
    try:
        return parse_seconds(text)
    except ValueError:
        raise CorpusError(
            f"{example.where}: {text!r} is not a time.",
            hint="Accepted are seconds (3.795) and clock times (00:00:03.795).",
        ) from None


def span_suffix(start: float, end: float | None) -> str:
    """Return the suffix that makes the names of parts of one file unique, to a microsecond."""
    if not start and end is None:
        return ""
    return f"@{seconds_text(start)}-{'' if end is None else seconds_text(end)}"


def _uniquely_named(clips: Sequence[tuple[Example, Clip]]) -> list[Clip]:
    """Return the clips, with the fallback name where several clips have one name."""
    counts = Counter(clip.name for _, clip in clips)
    named: list[Clip] = []
    places: dict[str, str] = {}
    for example, clip in clips:
        name = clip.name
        if counts[name] > 1 and example.fallback:
            suffix = span_suffix(clip.recording.start, clip.recording.end)
            name = example.fallback + suffix
        if name in places:
            raise CorpusError(
                f"Two clips are called {name!r}: {places[name]}, and {example.where}.",
                hint="Give several clips of one file a start and an end.",
            )
        places[name] = example.where
        named.append(replace(clip, name=name))
    return named
