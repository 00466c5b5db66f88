"""AESDD: acted Greek speech, six actors, five emotions."""

from __future__ import annotations

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.emotions import SHARED
from ...core.toolkit.filenames import FilenameCorpus


class Aesdd(FilenameCorpus):
    """Acted Emotional Speech Dynamic Database.

    Files are named emotion, utterance and actor, for instance ``anger/a03 (4).wav``; the emotion is
    the first letter (a anger, d disgust, f fear, h happiness, s sadness), and the actor is the
    number in brackets. The names of the folders are ignored. A letter after the bracket is a
    further take. Attributes ``sentence`` and ``take`` are the codes of the file names.

    Parameters
    ----------
    path : Path
        Folder of the recordings.

    References
    ----------
    N. Vryzas et al., Speech emotion recognition for performance interaction, Journal of the Audio
    Engineering Society 66(6), 2018. https://doi.org/10.17743/jaes.2018.0036
    """

    name = "aesdd"
    labels = {emotion: emotion for emotion in SHARED}  # noqa: RUF012
    emotions = {"a": "angry", "d": "disgust", "f": "fearful", "h": "happy", "s": "sad"}  # noqa: RUF012
    pattern = r"(?P<emotion>[adfhs])(?P<sentence>\d\d) ?\((?P<speaker>\d)\)(?P<take>[a-z]?)"


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Aesdd]
