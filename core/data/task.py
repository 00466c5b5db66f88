"""Name of the task that a run measures, plain or speaker-adapted, for tables and messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from ..contracts.data import Clip
from ..contracts.errors import CorpusError, UnknownNameError
from .split_modes import Mode, speaker_of

AdaptName = Literal["none", "speaker"]
ADAPTS: tuple[AdaptName, ...] = ("none", "speaker")
NAME = "speaker-adapted"
SENTENCE = (
    "Speaker-adapted: features were standardised by the unlabelled clips of each speaker, "
    "test speakers included."
)


def task_name(adapt: str) -> str:
    """Return ``"speaker-adapted"``, or an empty string for a run without adaptation."""
    return NAME if adapt == "speaker" else ""


def task_sentence(adapt: str) -> str:
    """Return a sentence that names the task; an empty string for a run without adaptation."""
    return SENTENCE if adapt == "speaker" else ""


def with_task(adapt: str, text: str) -> str:
    """Return `text` after the sentence that names the task, if there is such a sentence."""
    return " ".join(filter(None, (task_sentence(adapt), text)))


def measured_on(mode: Mode, adapt: str) -> str:
    """Return a phrase for the clips of the scores: ``"on held-out speakers, speaker-adapted"``.

    Parameters
    ----------
    mode : Mode
        Split mode of the run (:func:`~fusion.core.data.split_modes.mode_of_splits`).
    """
    return ", ".join(filter(None, (mode.tested, task_name(adapt))))


def check_adapt(adapt: str, clips: Sequence[Clip]) -> None:
    """Raise if clips can't be standardised by the other clips of their speaker.

    Raises
    ------
    UnknownNameError
        If the adaptation does not exist.
    CorpusError
        If every clip of a corpus has a different speaker, or all clips have the same speaker.
    """
    if adapt not in ADAPTS:
        raise UnknownNameError("adaptation (adapt)", adapt, ADAPTS)
    if adapt == "none":
        return
    counts = Counter(speaker_of(clip) for clip in clips)
    for corpus in sorted({clip.corpus for clip in clips}):
        own = [count for (name, _), count in counts.items() if name == corpus]
        if max(own) == 1:
            raise CorpusError(
                "--adapt speaker needs several clips of each speaker, but in the corpus "
                f"{corpus!r} each of the {len(own)} clips has a different speaker.",
                hint="Name the speakers (in a table's column speaker, or with "
                "--set table.speaker=PATTERN), or leave out --adapt.",
            )
    if len(counts) == 1:
        corpus, speaker = next(iter(counts))
        raise CorpusError(
            "--adapt speaker needs several speakers, but all clips are of one speaker: "
            f"{speaker!r} in the corpus {corpus!r}.",
            hint="Leave out --adapt: with one speaker it would change nothing.",
        )


def adapted_line(clips: Sequence[Clip]) -> str:
    """Return the line that names the task at the start of a run, with clip counts by speaker."""
    counts = Counter(speaker_of(clip) for clip in clips)
    single = sum(count == 1 for count in counts.values())
    fewest, most = min(counts.values()), max(counts.values())
    clips_each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    text = (
        f"{NAME}: features are standardised by the unlabelled clips of each speaker, test speakers "
        f"included ({clips_each} clips per speaker)"
    )
    return f"{text}; {single} of {len(counts)} speakers have one clip" if single else text
