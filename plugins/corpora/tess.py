"""TESS: acted speech, two female speakers, seven emotions."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.emotions import SHARED
from ...core.toolkit.filenames import FilenameCorpus


class Tess(FilenameCorpus):
    """Toronto Emotional Speech Set.

    Files are named speaker_word_emotion, for instance ``OAF_angry/OAF_back_angry.wav``; the two
    speakers are OAF (older) and YAF (younger). Two speakers are too few for a split by speaker, so
    combine TESS with other corpora. ``ps`` is pleasant surprise, which is not one of the six
    shared emotions. Attribute ``sentence`` is the word.

    Parameters
    ----------
    path : Path
        Folder of the recordings.

    References
    ----------
    M. K. Pichora-Fuller, K. Dupuis, University of Toronto, 2010.
    https://doi.org/10.5683/SP2/E8H2MF
    """

    name = "tess"
    labels = {emotion: emotion for emotion in SHARED}  # noqa: RUF012
    emotions = {  # noqa: RUF012
        "angry": "angry", "disgust": "disgust", "fear": "fearful", "happy": "happy",
        "neutral": "neutral", "ps": "surprised", "sad": "sad",
    }  # fmt: skip
    # Some published file names lack a letter of the speaker, e.g. OA_bite_neutral.
    pattern = (
        r"(?P<speaker>[OY]AF?)_(?P<sentence>[a-z]+)"
        r"_(?P<emotion>angry|disgust|fear|happy|neutral|ps|sad)"
    )

    def speaker(self, groups: Mapping[str, str]) -> str:
        return groups["speaker"][:2].upper() + "F"


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Tess]
