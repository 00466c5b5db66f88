"""SAVEE: acted speech, four male speakers, seven emotions."""

from __future__ import annotations

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.emotions import SHARED
from ...core.toolkit.filenames import FilenameCorpus


class Savee(FilenameCorpus):
    """Surrey Audio-Visual Expressed Emotion database.

    Both published layouts are read: one folder per speaker (``AudioData/DC/a01.wav``), and all
    files in one folder (``DC_a01.wav``). The speakers are DC, JE, JK and KL. Surprised is not one
    of the six shared emotions. Attribute ``sentence`` is the number in the file name; sentences 01
    to 03 are the same for all emotions.

    Parameters
    ----------
    path : Path
        Folder of the recordings.

    References
    ----------
    S. Haq, P. J. B. Jackson, Multimodal Emotion Recognition, in: Machine Audition, 2010.
    http://kahlan.eps.surrey.ac.uk/savee/
    """

    name = "savee"
    labels = {emotion: emotion for emotion in SHARED}  # noqa: RUF012
    emotions = {  # noqa: RUF012
        "a": "angry", "d": "disgust", "f": "fearful", "h": "happy", "n": "neutral", "sa": "sad",
        "su": "surprised",
    }  # fmt: skip
    pattern = r"(?P<speaker>DC|JE|JK|KL)[/_](?P<emotion>sa|su|[adfhn])(?P<sentence>\d\d)"


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Savee]
