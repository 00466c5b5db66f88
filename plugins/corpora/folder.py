"""Corpus of any recordings that are sorted into one folder per class."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...core.contracts.data import Clip, Corpus, Recording
from ...core.contracts.errors import CorpusError
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.filenames import audio_files, some_audio_files
from ...core.toolkit.patterns import SpeakerPattern

_HINT = (
    "Each clip needs a speaker, because scores are only valid on held-out speakers. Create one "
    "folder per speaker in each class's folder, or give a regular expression that finds the "
    r"speaker in the file name (--set folder.speaker='spk(\d+)'), or write a table (CSV with "
    "path, label, speaker)."
)


class Folder(Corpus):
    """Recordings in one folder per class: ``root/CLASS/SPEAKER/file`` or ``root/CLASS/file``.

    The name of the folder below the root is the class. Common spellings are mapped to the shared
    emotions; ``--labels native`` keeps the names unchanged. Pooled folders are one corpus:
    speakers with the same name count as one person, so give different people different names.

    Parameters
    ----------
    path : Path
        The root folder.
    speaker : str
        Regular expression that is searched in each file's path below the root. The match of its
        group (of the group called ``speaker``, if there are several) is the speaker. If empty, the
        folder below the class is the speaker.
    """

    name = "folder"
    priority = 0

    def __init__(self, path: Path | None, *, speaker: str = "") -> None:
        super().__init__(path)
        self._speaker = SpeakerPattern(speaker, "folder.speaker") if speaker else None

    @classmethod
    def detect(cls, path: Path) -> bool:
        if not path.is_dir():
            return False
        parts = [file.relative_to(path).parts for file in some_audio_files(path)]
        return len({part[0] for part in parts}) > 1 and all(len(part) > 1 for part in parts)

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        for file in audio_files(self.path):
            relative = file.relative_to(self.path)
            if len(relative.parts) == 1:
                raise CorpusError(
                    f"{file} is not in the folder of a class.",
                    hint=f"Move the recording to {self.path}/CLASS/{relative}; the folder's name "
                    "is the class.",
                )
            label, name = relative.parts[0], relative.as_posix()
            yield Clip(Recording(file), name, label, self._speaker_of(relative), self.name)

    def _speaker_of(self, relative: Path) -> str:
        if self._speaker is not None:
            return self._speaker.find(relative.as_posix())
        if len(relative.parts) > 2:
            return relative.parts[1]
        raise CorpusError(f"The speaker of {relative} is unknown.", hint=_HINT)


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Folder]
