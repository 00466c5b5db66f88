# Never edit: written against contract version 1. What breaks here breaks the plugins of others.
# ruff: noqa: RUF012
"""A corpus of NumPy files, ``SPEAKER_LABEL_NUMBER.npy``."""

from collections.abc import Iterable
from pathlib import Path

from fusion import Clip, Corpus, Recording, hookimpl

api_version = 1


class Arrays(Corpus):
    """Arrays in files.

    Parameters
    ----------
    suffix : str
        What the files end in.
    """

    name = "v1_arrays"
    version = "3"
    labels = {"glad": "happy", "blue": "sad"}
    priority = 20

    def __init__(self, path: Path | None, *, suffix: str = ".npy") -> None:
        super().__init__(path)
        self.suffix = suffix

    @classmethod
    def detect(cls, path: Path) -> bool:
        return path.is_dir() and any(path.glob("*_glad_*.npy"))

    def clips(self) -> Iterable[Clip]:
        assert self.path is not None
        for file in sorted(self.path.glob(f"*{self.suffix}")):
            speaker, label, number = file.stem.split("_")
            yield Clip(
                recording=Recording(file),
                name=file.name,
                label=label,
                speaker=speaker,
                corpus=self.name,
                attributes={"number": number},
            )


@hookimpl
def fusion_corpora():
    return [Arrays]
