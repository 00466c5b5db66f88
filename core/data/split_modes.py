"""What no two parts of a split may share: the four ways to divide clips.

A mode says which group a clip belongs to; a group is never divided. Everything that is printed
about a split takes its words from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..contracts.data import Clip
from ..contracts.errors import SplitError, UnknownNameError

ModeName = Literal["speaker", "sentence", "corpus", "random"]
Group = tuple[str, str]

PARTS = ("train", "val", "test")
SENTENCE = "sentence"  # the attribute of a clip that says what is said in it


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to divide clips.

    Attributes
    ----------
    name : str
        What users type.
    unit, units : str
        What a group is called, one and several.
    group : callable
        Clip -> its group, a pair. Groups with the same first half are spread over all parts.
    speaker_independent : bool
        Whether no speaker can lie in two parts.
    min_folds : int
        Fewest folds. 3 where a fold of whole groups validates, too.
    group_validates : bool
        Whether whole groups validate where there are enough of them. Otherwise, speakers
        that are taken out of the training clips do.
    tested : str
        What the test figures are measured on, for the head of a table.
    warning : str
        What they are no evidence of; empty if they are what they seem.
    more : str
        What to do about too few groups.
    """

    name: ModeName
    unit: str
    units: str
    group: Callable[[Clip], Group]
    speaker_independent: bool
    min_folds: int
    group_validates: bool
    tested: str
    warning: str
    more: str


def speaker_of(clip: Clip) -> Group:
    """Two corpora may both have a speaker "1"."""
    return clip.corpus, clip.speaker


def sentence_of(clip: Clip) -> Group | None:
    """What is said, whoever says it; None where it is not known.

    Two corpora's sentences "1" are two sentences, and upper and lower case one.
    """
    said = clip.attributes.get(SENTENCE, "").strip().casefold()
    return (clip.corpus, said) if said else None


def corpus_of(clip: Clip) -> Group:
    """All corpora are of one kind: none is spread over the parts."""
    return "", clip.corpus


def clip_of(clip: Clip) -> Group:
    """Every clip for itself."""
    return clip.corpus, clip.name


def _known_sentence(clip: Clip) -> Group:
    group = sentence_of(clip)
    assert group is not None  # check_known comes first
    return group


MODES: dict[str, Mode] = {
    "speaker": Mode(
        "speaker",
        "speaker",
        "speakers",
        speaker_of,
        speaker_independent=True,
        min_folds=3,
        group_validates=True,
        tested="on speakers never heard",
        warning="",
        more="Add recordings of more speakers, or use --split random, which mixes speakers: "
        "its scores are speaker-dependent.",
    ),
    "sentence": Mode(
        "sentence",
        "sentence",
        "sentences",
        _known_sentence,
        speaker_independent=False,
        min_folds=2,
        group_validates=True,
        tested="on sentences never heard, SPEAKER-DEPENDENT",
        warning="Speaker-dependent: the test sentences are new, but their speakers were not kept "
        "out of training.",
        more="Add recordings of more sentences.",
    ),
    "corpus": Mode(
        "corpus",
        "corpus",
        "corpora",
        corpus_of,
        speaker_independent=True,
        min_folds=2,
        group_validates=False,
        tested="on corpora never heard, and so on new speakers",
        warning="",
        more="Name more corpora: repeat --data.",
    ),
    "random": Mode(
        "random",
        "clip",
        "clips",
        clip_of,
        speaker_independent=False,
        min_folds=3,
        group_validates=True,
        tested="SPEAKER-DEPENDENT",
        warning="Speaker-dependent: test speakers were heard in training.",
        more="Add recordings of more clips.",
    ),
}


def mode_of(name: str) -> Mode:
    """The mode of that name.

    Raises
    ------
    UnknownNameError
        If there is none.
    """
    if name not in MODES:
        raise UnknownNameError("split", name, MODES)
    return MODES[name]


def check_known(clips: Sequence[Clip], mode: Mode) -> None:
    """Raise SplitError if a clip's group is not known: only its sentence may be."""
    if mode.name != "sentence":
        return
    missing = [clip for clip in clips if sentence_of(clip) is None]
    if not missing:
        return
    corpora = ", ".join(sorted({clip.corpus for clip in missing}))
    first = f"{missing[0].corpus}/{missing[0].name}"
    raise SplitError(
        f"A split by sentence has to know what is said in every clip, and nothing says it of "
        f"{len(missing)} of {len(clips)}; {first} is the first (corpora without: {corpora}).",
        hint="A table says it in a column called sentence; fusion plugins show CORPUS tells "
        "which attributes a corpus has. Leave out the corpora that have none.",
    )


def count_groups(clips: Sequence[Clip], mode: Mode) -> int:
    """How many groups there are; clips whose group is not known are in none."""
    group = sentence_of if mode.name == "sentence" else mode.group
    return len({group(clip) for clip in clips} - {None})
