"""IEMOCAP: improvised and scripted dialogues, ten actors, ten emotions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...core.contracts.data import Clip, Corpus, Recording
from ...core.contracts.errors import CorpusError
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.emotions import SHARED
from ...core.toolkit.filenames import audio_names, readable
from ._metadata import first_files, folders_near, read_text, stem

_EMOTIONS = {
    "neu": "neutral", "ang": "angry", "sad": "sad", "hap": "happy", "exc": "excited",
    "fru": "frustrated", "fea": "fearful", "sur": "surprised", "dis": "disgust", "oth": "other",
}  # fmt: skip
# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
_LINE = re.compile(
    r"^\[[\d.]+ - [\d.]+\]\s+(?P<turn>Ses\d\d[FM]_\w+_[FM]\w{3})\s+(?P<emotion>\w{3})\s+"
    r"\[(?P<valence>[\d.]+),\s*(?P<activation>[\d.]+),\s*(?P<dominance>[\d.]+)\]",
    re.MULTILINE,
)
_TURN = re.compile(r"(?P<session>Ses\d\d)[FM]_(?P<scene>\w+?)_(?P<gender>[FM])\w{3}")
_DIALOGUE = re.compile(r"Ses\d\d[FM]_(?:impro|script)\w+")


@dataclass(frozen=True)
class _Turn:
    """Evaluation of one turn of a dialogue."""

    name: str
    emotion: str
    dimensions: dict[str, str]


class Iemocap(Corpus):
    """Interactive Emotional Dyadic Motion Capture database.

    Reads the turns ``SessionN/sentences/wav/DIALOGUE/TURN.wav`` with the labels in
    ``SessionN/dialog/EmoEvaluation/DIALOGUE.txt``. The speaker of ``Ses01F_impro01_M012`` is the
    man of session 1, ``Ses01M``. Turns without an agreement of the raters (xxx) are passed over,
    and so are the recordings of whole dialogues. Excited, frustrated, surprised and other are not
    among the six shared emotions. Attributes are ``scenario`` (improvised or scripted),
    ``dialogue``, ``valence``, ``activation`` and ``dominance`` (1 to 5).

    Parameters
    ----------
    path : Path
        Folder that contains the folders ``Session1`` to ``Session5``.
    excited : {"excited", "happy"}
        Label of the clips that are excited. Studies with four classes often count them as happy.

    References
    ----------
    C. Busso et al., IEMOCAP: interactive emotional dyadic motion capture database, Language
    Resources and Evaluation 42(4), 2008. https://doi.org/10.1007/s10579-008-9076-6
    """

    name = "iemocap"
    labels = {emotion: emotion for emotion in SHARED}  # noqa: RUF012

    def __init__(
        self, path: Path | None, *, excited: Literal["excited", "happy"] = "excited"
    ) -> None:
        super().__init__(path)
        self.emotions = {**_EMOTIONS, "exc": excited}

    @classmethod
    def detect(cls, path: Path) -> bool:
        return path.is_dir() and next(_evaluations(path), None) is not None

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        self.passed_over = {}
        turns = {turn.name: turn for file in _evaluations(self.path) for turn in _turns(file)}
        if not turns:
            raise CorpusError(
                f"{self.path} has no labels of IEMOCAP: Session1/dialog/EmoEvaluation/Ses*.txt."
            )

        def key(name: str) -> str | None:
            turn = stem(name)
            reason = self._reason(turn, turns)
            if reason:
                self.pass_over(readable(name), reason)
            return None if reason else turn

        names = audio_names(self.path, self.pass_over)
        files = first_files(self, names, key)
        for missing in sorted(turns.keys() - {stem(name) for name in names}):
            self.pass_over(missing, "label without a recording")
        for turn, name in files.items():
            yield self._clip(name, turns[turn])

    def _reason(self, name: str, turns: dict[str, _Turn]) -> str:
        """Return the reason for which a recording is passed over; empty to read the recording."""
        if name in turns:
            emotion = turns[name].emotion
            return "" if emotion in self.emotions else f"no agreement of the raters ({emotion})"
        if _TURN.fullmatch(name):
            return "not evaluated"
        dialogue = _DIALOGUE.fullmatch(name)
        return "recording of a whole dialogue" if dialogue else "not a file name of iemocap"

    def _clip(self, name: str, turn: _Turn) -> Clip:
        assert self.path is not None
        match = _TURN.fullmatch(turn.name)
        assert match is not None  # every turn of _turns matches
        scripted = match["scene"].startswith("script")
        return Clip(
            Recording(self.path / name),
            name,
            self.emotions[turn.emotion],
            match["session"] + match["gender"],
            self.name,
            attributes={
                "scenario": "scripted" if scripted else "improvised",
                "dialogue": turn.name.rpartition("_")[0],
                **turn.dimensions,
            },
        )


def _evaluations(root: Path) -> Iterator[Path]:
    """Yield the files of labels; the root may be a session, or contain the sessions' folder."""
    for folder in folders_near(root):
        yield from sorted(folder.glob("dialog/EmoEvaluation/Ses*.txt"))


def _turns(file: Path) -> Iterator[_Turn]:
    """Yield the turns of a file of labels."""
    for match in _LINE.finditer(read_text(file)):
        groups = match.groupdict()
        if _TURN.fullmatch(groups["turn"]):
            yield _Turn(groups.pop("turn"), groups.pop("emotion"), groups)


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Iemocap]
