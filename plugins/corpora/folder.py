"""A folder per class: any recordings, sorted into folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...core.contracts.data import Clip, Corpus, Recording
from ...core.contracts.errors import CorpusError
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.filenames import audio_files, some_audio_files
from ...core.toolkit.patterns import SpeakerPattern

_HINT = (
    "Scores count only on speakers that were not trained on, so each clip needs its speaker: put "
    "a folder per speaker into each class's folder, or say where the file name has it "
    r"(--set folder.speaker='spk(\d+)', a regular expression), or write a table (CSV with path, "
    "label, speaker)."
)


class Folder(Corpus):
    """Recordings in a folder per class: ``root/CLASS/SPEAKER/file`` or ``root/CLASS/file``.

    The class is the name of the folder below the root, matched to the shared emotions by their
    common spellings; ``--labels native`` keeps the names as they are. Pooled folders are one
    corpus: speakers of equal name count as one, so give different people different names.

    Parameters
    ----------
    path : Path
        The root.
    speaker : str
        Regular expression, searched in each file's path below the root; its group (the one
        called ``speaker``, if there are several) is the speaker. Empty: the folder below the
        class is the speaker.
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
                    f"{file} lies in no class's folder.",
                    hint=f"A recording's class is its folder: {self.path}/CLASS/{relative}",
                )
            label, name = relative.parts[0], relative.as_posix()
            yield Clip(Recording(file), name, label, self._speaker_of(relative), self.name)

    def _speaker_of(self, relative: Path) -> str:
        if self._speaker is not None:
            return self._speaker.find(relative.as_posix())
        if len(relative.parts) > 2:
            return relative.parts[1]
        raise CorpusError(f"Nothing says who speaks in {relative}.", hint=_HINT)


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Folder]
