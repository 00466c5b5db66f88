"""Split modes: by speaker, by sentence, by corpus, at random, and as a corpus prescribes.

A mode assigns each clip to a group, and a split never divides a group. The texts that describe a
split in tables and messages are defined here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..contracts.data import Clip
from ..contracts.errors import SplitError, UnknownNameError

ModeName = Literal["speaker", "sentence", "corpus", "random", "published"]
Group = tuple[str, str]

PARTS = ("train", "val", "test")
SENTENCE = "sentence"  # attribute of a clip that holds the spoken sentence


@dataclass(frozen=True, slots=True)
class Mode:
    """Split mode: one way to divide clips.

    Attributes
    ----------
    name : str
        Name of the mode on the command line.
    unit, units : str
        Word for a group, singular and plural.
    group : callable
        Function that returns a clip's group, a pair. Groups with the same first item are spread
        over all parts.
    speaker_independent : bool
        Whether no test speaker can be in training. False for a mode that depends on the clips:
        :func:`mode_of_splits` returns the mode of actual splits.
    min_folds : int
        Smallest number of folds: 3 if a fold of whole groups is needed for validation, else 2.
    group_validates : bool
        Whether whole groups form the validation part if there are enough groups. Otherwise some
        training speakers form it.
    tested : str
        Phrase for the title of a table: the clips on which test figures are measured.
    warning : str
        Limit of the test figures, as a sentence; empty for speaker-independent modes.
    more : str
        Hint for too few groups.
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
    """Return corpus and speaker as a group, because two corpora may both have a speaker "1"."""
    return clip.corpus, clip.speaker


def sentence_of(clip: Clip) -> Group | None:
    """Return corpus and sentence of a clip as a group; None if the sentence is unknown.

    Equal sentences of two corpora are different groups. Upper and lower case are not distinguished.
    """
    sentence = clip.attributes.get(SENTENCE, "").strip().casefold()
    return (clip.corpus, sentence) if sentence else None


def corpus_of(clip: Clip) -> Group:
    """Return the group of a clip in a split by corpus: an empty string, and its corpus."""
    return "", clip.corpus


def clip_of(clip: Clip) -> Group:
    """Return corpus and name of a clip as a group, so that each group has one clip."""
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
        tested="on held-out speakers",
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
        tested="on held-out sentences, SPEAKER-DEPENDENT",
        warning="Speaker-dependent: the test sentences are held out of training, but their "
        "speakers are not.",
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
        tested="on held-out corpora, and so on held-out speakers",
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
        warning="Speaker-dependent: test speakers also occur in training.",
        more="Add recordings of more clips.",
    ),
    "published": Mode(
        "published",
        "speaker",
        "speakers",
        speaker_of,
        speaker_independent=False,
        min_folds=3,
        group_validates=True,
        tested="published split, SPEAKER-DEPENDENT",
        warning="Speaker-dependent: in the published split, test speakers also occur in training "
        "or validation.",
        more="Add recordings of more speakers.",
    ),
}
# The published split of a corpus that keeps its test speakers apart.
_PUBLISHED_APART = replace(
    MODES["published"],
    speaker_independent=True,
    tested="published split, on held-out speakers",
    warning="",
)


def mode_of(name: str) -> Mode:
    """Return the split mode called `name`.

    Raises
    ------
    UnknownNameError
        If the mode does not exist.
    """
    if name not in MODES:
        raise UnknownNameError("split", name, MODES)
    return MODES[name]


def mode_of_splits(name: str, speaker_independent: bool) -> Mode:
    """Return the split mode called `name`, with the texts that describe actual splits.

    Parameters
    ----------
    speaker_independent : bool
        Whether the splits keep test speakers out of training and validation. The value matters for
        ``"published"``; the other modes determine it.

    Raises
    ------
    UnknownNameError
        If the mode does not exist.
    """
    mode = mode_of(name)
    return _PUBLISHED_APART if name == "published" and speaker_independent else mode


def check_known(clips: Sequence[Clip], mode: Mode) -> None:
    """Raise SplitError if a split by sentence is requested and a clip's sentence is unknown."""
    if mode.name != "sentence":
        return
    missing = [clip for clip in clips if sentence_of(clip) is None]
    if not missing:
        return
    corpora = ", ".join(sorted({clip.corpus for clip in missing}))
    first = f"{missing[0].corpus}/{missing[0].name}"
    raise SplitError(
        f"A split by sentence needs the sentence of every clip, but {len(missing)} of {len(clips)} "
        f"clips have none. First of these clips: {first}. Corpora without sentences: {corpora}.",
        hint="Leave out the corpora without sentences, or add sentences: in a table, to a column "
        "called sentence. fusion plugins show CORPUS lists the attributes of a corpus.",
    )


def count_groups(clips: Sequence[Clip], mode: Mode) -> int:
    """Return the number of groups of clips; a clip with an unknown sentence belongs to no group."""
    group = sentence_of if mode.name == "sentence" else mode.group
    return len({group(clip) for clip in clips} - {None})
