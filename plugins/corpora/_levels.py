"""Meaning of folder levels: which level names the class, the speaker and the split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.contracts.errors import CorpusError
from ...core.toolkit.emotions import is_emotion, to_shared
from ...core.toolkit.parts import part_of

_SHOWN = 4


@dataclass(frozen=True)
class Levels:
    """Positions in the folders of a file, counted from 0 at the folder below the root.

    Attributes
    ----------
    label : int
        Position of the class.
    speaker : int or None
        Position of the speaker, if a folder names the speaker; a file may have no folder at this
        position.
    split : int or None
        Position of train, val or test, if the folders prescribe a split.
    """

    label: int
    speaker: int | None
    split: int | None


def find_levels(
    root: Path,
    folders: Sequence[Sequence[str]],
    label: int = 0,
    speaker: int = 0,
    *,
    find_speaker: bool = True,
) -> Levels:
    """Return the meaning of the levels of a folder tree.

    Parameters
    ----------
    root : Path
        Root of the tree, for error messages.
    folders : sequence of sequence of str
        Names of the folders of each file, from the root down.
    label, speaker : int
        Level of the class and of the speaker as the user chose them, counted from 1; 0 finds the
        level by the names of the folders.
    find_speaker : bool
        Whether the speaker is the name of a folder; if False, ``speaker`` of the result is None.

    Raises
    ------
    CorpusError
        If the names allow several meanings, or a chosen level does not exist.
    """
    depth = max(map(len, folders), default=0)
    for parameter, chosen in (("label_level", label), ("speaker_level", speaker)):
        if chosen > depth:
            raise CorpusError(
                f"folder.{parameter}={chosen}, but the folders in {root} have {depth} levels."
            )
    names = [{parts[i] for parts in folders if len(parts) > i} for i in range(depth)]
    tree = _Tree(root, folders, names)
    split = 0 if tree.is_split(0) and 1 not in (label, speaker) else None
    label_index = label - 1 if label else tree.label(split, speaker - 1)
    if not find_speaker:
        return Levels(label_index, None, split)
    return Levels(label_index, speaker - 1 if speaker else tree.speaker(label_index, split), split)


class _Tree:
    """Names of the folders at each level of a tree."""

    def __init__(
        self, root: Path, folders: Sequence[Sequence[str]], names: Sequence[set[str]]
    ) -> None:
        self.root, self.folders, self.names = root, folders, names

    def reached(self, level: int) -> float:
        """Return the share of the files that have a folder at a level."""
        return sum(len(parts) > level for parts in self.folders) / len(self.folders)

    def is_split(self, level: int) -> bool:
        """Return True if all files are below folders called train, val or test."""
        if level >= len(self.names) or len(self.names[level]) < 2:
            return False
        return self.reached(level) == 1 and all(part_of(name) for name in self.names[level])

    def names_emotions(self, level: int) -> bool:
        """Return True if at least half of the names of a level are different emotions."""
        names = self.names[level]
        emotions = [name for name in names if is_emotion(name)]
        different = {to_shared(name) or name.casefold() for name in emotions}
        return len(different) > 1 and 2 * len(emotions) >= len(names) and self.reached(level) >= 0.5

    def label(self, split: int | None, speaker: int) -> int:
        """Return the level of the class, other than the level of the split and `speaker`."""
        free = [i for i in range(len(self.names)) if i not in (split, speaker)]
        levels = [i for i in free if self.names_emotions(i)]
        if len(levels) > 1:
            raise self._ambiguous(levels, "class", "label_level")
        return (levels or free or [0 if split is None else split + 1])[0]

    def speaker(self, label: int, split: int | None) -> int:
        """Return the level of the speaker: above the class if there is one, else below."""
        above = [
            i for i in range(label)
            if i != split and not self.is_split(i) and len(self.names[i]) > 1
        ]  # fmt: skip
        below = next((i for i in range(label + 1, len(self.names)) if not self.is_split(i)), None)
        if not above:
            return label + 1 if below is None else below
        if below is not None and len(self.names[below]) > 1 and self.reached(below) == 1:
            above.append(below)
        if len(above) > 1:
            raise self._ambiguous(above, "speaker", "speaker_level")
        return above[0]

    def _ambiguous(self, levels: Sequence[int], meaning: str, parameter: str) -> CorpusError:
        described = " and ".join(f"level {i + 1} ({self._shown(i)})" for i in levels)
        return CorpusError(
            f"Several levels of the folders in {self.root} could be the {meaning}: {described}.",
            hint="Choose the right level: "
            + " or ".join(f"--set folder.{parameter}={i + 1}" for i in levels),
        )

    def _shown(self, level: int) -> str:
        names = sorted(self.names[level])
        return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
