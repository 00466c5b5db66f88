"""EMO-DB: acted German speech, ten speakers, seven emotions."""

from __future__ import annotations

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.emotions import SHARED
from ...core.toolkit.filenames import FilenameCorpus


class EmoDB(FilenameCorpus):
    """Berlin Database of Emotional Speech.

    Files are named speaker, text, emotion, version, for instance ``wav/03a01Fa.wav``; the
    emotion is the first letter of its German name (W Wut, L Langeweile, E Ekel, A Angst,
    F Freude, T Trauer, N neutral). Bored is not one of the six shared emotions. Attributes
    ``sentence`` and ``version`` are the codes of the file names.

    Parameters
    ----------
    path : Path
        Folder of the recordings.

    References
    ----------
    F. Burkhardt et al., A database of German emotional speech, Interspeech 2005.
    """

    name = "emodb"
    labels = {emotion: emotion for emotion in SHARED}  # noqa: RUF012
    emotions = {  # noqa: RUF012
        "w": "angry", "l": "bored", "e": "disgust", "a": "fearful", "f": "happy", "t": "sad",
        "n": "neutral",
    }  # fmt: skip
    pattern = (
        r"(?P<speaker>03|08|09|1[0-6])(?P<sentence>[ab]\d\d)(?P<emotion>[WLEAFTN])"
        r"(?P<version>[a-z])"
    )


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [EmoDB]
