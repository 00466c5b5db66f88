"""Column names of tables as corpora and tools write them, and the roles of the columns."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# Names by role, without case and punctuation: "Split_Set", "split set" and "splitset" are equal.
# Sources: pandas, audformat, Hugging Face, SpeechBrain, NeMo, EmoBox, nkululeko, MSP-Podcast,
# MELD, Common Voice and CREMA-D, besides plain words.
KNOWN: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "filepath", "wav", "wavpath", "wavfile", "wavname",
             "audio", "audiopath", "audiofile", "audiofilepath", "audiofilename", "recording",
             "recordingpath", "sound", "soundfile", "clippath", "fname"),
    "label": ("label", "labels", "emotion", "emotions", "emo", "emotionlabel", "emolabel", "class",
              "classname", "emoclass", "emotionclass", "labeltext", "category", "cls"),
    "speaker": ("speaker", "speakers", "spk", "spkr", "speakerid", "speakername", "spkid", "spkrid",
                "actor", "actorid", "subject", "subjectid", "participant", "participantid",
                "talker", "clientid"),
    "split": ("split", "splits", "splitset", "partition", "subset", "set"),
    "fold": ("fold", "folds", "foldid"),
    "start": ("start", "starttime", "begin", "begintime", "onset", "offset"),
    "end": ("end", "endtime", "stop", "stoptime"),
    "duration": ("duration", "length", "dur"),
    "name": ("name", "key", "id", "clip", "clipid", "index", "segment", "segmentid",
             "utteranceid", "uttid"),
    "transcript": ("transcript", "transcription", "text", "txt", "rawtext", "utterance", "words"),
}  # fmt: skip

# A column without a name holds the row numbers of a data frame (pandas.DataFrame.to_csv).
_UNNAMED = re.compile(r"unnamed\d*|level\d+|index\d+")


def plain(name: str) -> str:
    """Return a column's name in lower case, without blanks and punctuation."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


def column_names(*roles: str) -> dict[str, tuple[str, ...]]:
    """Return the recognised column names of some roles, or of all roles, by role."""
    return {role: KNOWN[role] for role in roles or KNOWN}


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """Columns of a table as the user chose them.

    Attributes
    ----------
    names : mapping of str to str
        Name of a column in the table, by role: ``{"label": "EmoClass"}``.
    ignored : tuple of str
        Columns that are not read.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def roles_of(
    header: Sequence[str], aliases: Mapping[str, Sequence[str]], chosen: ColumnChoice
) -> dict[str, int]:
    """Return the position of the column of each role.

    The user's choice comes first, then the role's own name, then the other names in their order.

    Parameters
    ----------
    header : sequence of str
        Names of the columns in the table; an ignored column has an empty name.
    aliases : mapping of str to sequence of str
        Accepted names by role.

    Raises
    ------
    KeyError
        If the user chose a column that the table does not have.
    """
    plain_names = [plain(name) for name in header]
    roles: dict[str, int] = {}
    for role, name in chosen.names.items():
        positions = [i for i, own in enumerate(header) if own.strip() == name.strip()]
        positions = positions or _find(plain_names, [name])
        if not positions:
            raise KeyError(name)
        roles[role] = positions[0]
    assigned = set(roles.values())
    for role, names in aliases.items():
        if role in roles:
            continue
        free = [i for i in _find(plain_names, [role, *names]) if i not in assigned]
        if free:
            roles[role] = free[0]
            assigned.add(free[0])
    return roles


def _find(plain_names: Sequence[str], names: Iterable[str]) -> list[int]:
    """Return the positions of the first of `names` that occurs."""
    for name in names:
        wanted = plain(name)
        positions = [i for i, own in enumerate(plain_names) if own and own == wanted]
        if positions:
            return positions
    return []


def without_index(header: Sequence[str], ignored: Collection[str]) -> list[str]:
    """Return the names of the columns; columns that are not read have an empty name.

    Not read are the columns that the user ignores, and the row numbers of a data frame: columns
    without a name, and columns called ``Unnamed: 0``.
    """
    refused = {plain(name) for name in ignored}
    return [
        "" if plain(name) in refused or _UNNAMED.fullmatch(plain(name)) else name.strip()
        for name in header
    ]
