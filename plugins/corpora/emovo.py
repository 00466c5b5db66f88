"""EMOVO: acted Italian speech, six actors, seven emotions."""

from __future__ import annotations

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.emotions import SHARED
from ...core.toolkit.filenames import FilenameCorpus


class Emovo(FilenameCorpus):
    """EMOVO, an Italian emotional speech database.

    Files are named emotion-speaker-sentence, for instance ``f1/dis-f1-b1.wav``; the emotion is the
    beginning of its Italian name (dis disgusto, gio gioia, pau paura, rab rabbia, sor sorpresa, tri
    tristezza, neu neutro). The speakers are f1 to f3 and m1 to m3. Surprised is not one of the six
    shared emotions. Attribute ``sentence`` is the code of the file name: b (short), l (long), n
    (nonsense) or d (question), and a number.

    Parameters
    ----------
    path : Path
        Folder of the recordings.

    References
    ----------
    G. Costantini et al., EMOVO Corpus: an Italian emotional speech database, LREC 2014.
    https://aclanthology.org/L14-1478/
    """

    name = "emovo"
    labels = {emotion: emotion for emotion in SHARED}  # noqa: RUF012
    emotions = {  # noqa: RUF012
        "dis": "disgust", "gio": "happy", "neu": "neutral", "pau": "fearful", "rab": "angry",
        "sor": "surprised", "tri": "sad",
    }  # fmt: skip
    pattern = (
        r"(?P<emotion>dis|gio|neu|pau|rab|sor|tri)-(?P<speaker>[fm][1-3])-(?P<sentence>[bdln]\d)"
    )


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [Emovo]
