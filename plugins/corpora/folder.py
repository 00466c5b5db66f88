"""A folder per class."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...core.contracts.data import Clip, Corpus, Recording
from ...core.contracts.hooks import hookimpl
from ...core.corpora import audio_files, first_audio_files, speaker_pattern
from ...core.errors import CorpusError


class Folder(Corpus):
    """A folder per class: ``happy/anna/clip1.wav``, or ``happy/clip1.wav`` and a pattern.

    The first folder is the class. The second is the speaker, unless `speaker` says how to read
    the speaker from the path. Without speakers nothing can be said about people who were never
    heard, so they must be known.

    Parameters
    ----------
    path : Path
        The folder that holds the classes' folders.
    speaker : str
        Regular expression searched for in the path below `path`; its first group is the
        speaker: ``--set 'folder.speaker=/(s\\d+)_'``.
    """

    name = "folder"
    priority = 0

    def __init__(self, path: Path | None, *, speaker: str = "") -> None:
        super().__init__(path)
        self.pattern = speaker_pattern(speaker, "folder.speaker")

    @classmethod
    def detect(cls, path: Path) -> bool:
        files = first_audio_files(path) if path.is_dir() else []
        deep = [file for file in files if len(file.relative_to(path).parts) >= 2]
        return len(files) > 0 and len(deep) == len(files)

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        files = [f for f in audio_files(self.path) if len(f.relative_to(self.path).parts) >= 2]
        return [self._clip(file, file.relative_to(self.path)) for file in files]

    def _clip(self, file: Path, below: Path) -> Clip:
        return Clip(
            Recording(file), below.as_posix(), below.parts[0], self._speaker(below), self.name
        )

    def _speaker(self, below: Path) -> str:
        if self.pattern is not None:
            found = self.pattern.search("/" + below.as_posix())
            if found is None:
                raise CorpusError(
                    f"The pattern of folder.speaker finds no speaker in {below.as_posix()!r}.",
                    hint="It is searched for in the path below the corpus, beginning with '/'.",
                )
            return found.group(1)
        if len(below.parts) >= 3:
            return below.parts[1]
        raise CorpusError(
            f"The speaker of {below.as_posix()} is not known, and without speakers a split can't "
            "keep the ones it tests out of training.",
            hint="Put a folder per speaker below each class (happy/anna/clip.wav), or say where "
            "the speaker stands in the path (--set 'folder.speaker=/(s\\d+)_'), or use a table.",
        )


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Folder]
