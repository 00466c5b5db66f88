"""ESD: acted English and Mandarin speech, twenty speakers, five emotions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.filenames import FilenameCorpus, most_match

_EMOTIONS = ("neutral", "angry", "happy", "sad", "surprise")  # in the order of the file numbers
_PARTS = ("train", "test", "evaluation")
_SENTENCES = 350
_FIRST_ENGLISH = 11


class Esd(FilenameCorpus):
    """Emotional Speech Database.

    Files are named speaker and number, for instance ``0011/Angry/0011_000351.wav``. The published
    folders ``train``, ``test`` and ``evaluation`` below the emotion may be present. Without folders
    of emotions, the emotion follows from the number: every speaker says the same 350 sentences in
    five emotions (neutral 1 to 350, then angry, happy, sad, surprise). Speakers 0001 to 0010 speak
    Mandarin, 0011 to 0020 English. Surprise is not one of the six shared emotions. Attributes are
    ``sentence``, ``language``, and ``part``, the published part of a clip. All speakers are in all
    parts, so the parts are not used as the split.

    Parameters
    ----------
    path : Path
        Folder of the recordings.
    language : {"both", "english", "mandarin"}
        Language of the recordings to read.

    References
    ----------
    K. Zhou et al., Seen and unseen emotional style transfer for voice conversion with a new
    emotional speech dataset, ICASSP 2021. https://doi.org/10.1109/ICASSP39728.2021.9413391
    """

    name = "esd"
    labels = {emotion: emotion for emotion in _EMOTIONS if emotion != "surprise"}  # noqa: RUF012
    pattern = r"(?P<speaker>00(?:0[1-9]|1\d|20))_(?P<number>\d{6})"

    def __init__(
        self, path: Path | None, *, language: Literal["both", "english", "mandarin"] = "both"
    ) -> None:
        super().__init__(path)
        self.language = language

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Return True if most recordings match and are in a folder of an emotion or the speaker."""
        if not path.is_dir():
            return False

        def certain(file: Path) -> bool:
            groups = cls.parse(file.absolute().with_suffix("").as_posix())
            return bool(groups) and bool(groups["emotion"] or groups["folder"] == groups["speaker"])

        return most_match(path, certain)

    @classmethod
    def parse(cls, path: str) -> dict[str, str]:
        groups = super().parse(path)
        if not groups:
            return {}
        folders = ["", "", *path.lower().split("/")[:-1]]
        part = folders.pop() if folders[-1] in _PARTS else ""
        emotion = folders[-1] if folders[-1] in _EMOTIONS else ""
        return {**groups, "emotion": emotion, "part": part, "folder": folders[-1]}

    def unwanted(self, groups: Mapping[str, str]) -> str:
        if not groups["emotion"] and not 0 < int(groups["number"]) <= _SENTENCES * len(_EMOTIONS):
            return "emotion unknown"
        language = _language(groups)
        return "" if self.language in ("both", language) else language

    def key(self, groups: Mapping[str, str]) -> tuple[str, ...]:
        return groups["speaker"], groups["number"]

    def label(self, groups: Mapping[str, str]) -> str:
        if groups["emotion"]:
            return groups["emotion"]
        return _EMOTIONS[(int(groups["number"]) - 1) // _SENTENCES]

    def attributes(self, groups: Mapping[str, str]) -> dict[str, str]:
        language = _language(groups)
        sentence = (int(groups["number"]) - 1) % _SENTENCES + 1
        part = {"part": groups["part"]} if groups["part"] else {}
        return {"sentence": f"{language}-{sentence:03}", "language": language, **part}


def _language(groups: Mapping[str, str]) -> str:
    return "english" if int(groups["speaker"]) >= _FIRST_ENGLISH else "mandarin"


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Esd]
