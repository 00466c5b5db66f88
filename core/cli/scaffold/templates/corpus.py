"""A corpus: recordings in a folder per speaker, the emotion in the file's name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from fusion import Clip, Corpus, ParameterError, Recording, hookimpl
from fusion.core.contracts.errors import CorpusError
from fusion.core.toolkit.filenames import audio_files, most_match

api_version = 1


class MyPlugin(Corpus):
    """A folder per speaker: ``root/SPEAKER/EMOTION_NUMBER.wav``.

    ::

        root/
            anna/joy_01.wav
            anna/anger_01.wav
            ben/joy_01.wav

    Emotions are joy, anger, sadness, fear, disgust and neutral, in any case. Formats are wav,
    flac, ogg and mp3. Files may lie deeper below the speaker's folder.

    Parameters
    ----------
    path : Path
        The root.
    part : int
        Which part of the file's name is the emotion, of those that underscores separate; from 1.
    """

    name = "my_plugin"
    # The corpus's own words -> the shared emotions. What is not here is left out and counted;
    # `--labels native` keeps all as they are.
    labels: ClassVar = {
        "joy": "happy",
        "anger": "angry",
        "sadness": "sad",
        "fear": "fearful",
        "disgust": "disgust",
        "neutral": "neutral",
    }

    def __init__(self, path: Path | None, *, part: int = 1) -> None:
        super().__init__(path)
        if part < 1:
            raise ParameterError(f"{self.name}.part must be 1 or more, and is {part}.")
        self.part = part

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Whether most recordings are called as this corpus's are, so `--data PATH` finds it."""
        return path.is_dir() and most_match(path, lambda file: _first(file) in cls.labels)

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None  # only a corpus that makes itself has none
        files = audio_files(self.path)  # sorted: the order has to be the same every time
        if not files:
            raise CorpusError(f"{self.path} holds no recordings.")
        for file in files:
            relative = file.relative_to(self.path)
            if len(relative.parts) < 2:
                raise CorpusError(
                    f"{file} lies in no speaker's folder.",
                    hint=f"Move it: {self.path}/SPEAKER/{relative}",
                )
            yield Clip(
                Recording(file),
                name=relative.as_posix(),
                label=self._label(file),
                speaker=relative.parts[0],
                corpus=self.name,
            )

    def _label(self, file: Path) -> str:
        words = file.stem.lower().split("_")
        if len(words) < self.part:
            raise CorpusError(
                f"{file}: its name has {len(words)} parts, and the emotion is part {self.part}.",
                hint=f"Parts stand between underscores; see --set {self.name}.part=1",
            )
        return words[self.part - 1]


def _first(file: Path) -> str:
    return file.stem.lower().split("_")[0]


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [MyPlugin]
